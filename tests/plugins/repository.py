"""Fixtures with environment repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.repository.rotation_yaml import write_rotation
from tests.environments import ISSUED, Environment, Shared, git, make_environment, sealed


@pytest.fixture
def vault_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A vault password file, named as Ansible's own variable says; no password of its own for CA keys."""
    path = tmp_path / "vault-password"
    path.write_text("correct horse battery staple\n")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(path))
    monkeypatch.delenv("RECHAIN_CA_VAULT_PASSWORD_FILE", raising=False)
    return path


@pytest.fixture
def environment(tmp_path: Path, vault_password: Path) -> Environment:
    """An environment as chainsmith made it, with a real vault."""
    return make_environment(tmp_path / "repository")


@pytest.fixture
def closed_environment(tmp_path: Path) -> Environment:
    """An environment whose vault nobody opens, for tests that only move files."""
    return make_environment(tmp_path / "repository", vault=sealed("first"))


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    """A remote with an adopted environment, generation 2 issued in the first of two clones, not yet pushed."""
    remote, ours, theirs = (tmp_path / name for name in ("remote.git", "ours", "theirs"))
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=dev", str(remote))
    make_environment(ours, vault=sealed("first"))
    git(ours, "init", "--quiet", "--initial-branch=dev")
    git(ours, "remote", "add", "origin", str(remote))
    git(ours, "add", "--all")
    git(ours, "commit", "--quiet", "-m", "As chainsmith made it")
    git(ours, "push", "--quiet", "origin", "dev")
    git(tmp_path, "clone", "--quiet", str(remote), str(theirs))
    for clone in (ours, theirs):
        write_rotation(clone, "acc", ISSUED)
    return Shared(remote, ours, theirs)


@pytest.fixture(params=["no Git", "no remote"])
def alone(request: pytest.FixtureRequest, closed_environment: Environment) -> Path:
    """A repository that is shared with nobody; inside of a clone that is none of ours."""
    root = closed_environment.root
    git(root.parent, "init", "--quiet")
    git(root.parent, "remote", "add", "origin", "https://example.invalid/not-ours.git")
    if request.param == "no remote":
        git(root, "init", "--quiet")
    return root
