"""Fixtures with environment repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.environments import Environment, make_environment, sealed


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
