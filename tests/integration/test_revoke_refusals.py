"""What can't be revoked, and lists that can't be used: exit 2, one line, nothing changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.environment import ENVIRONMENT, EXTERNAL, SERVERS
from lab.fleet import Lab
from tests.environments import tree

_RECHAIN = Path(sys.executable).with_name("rechain")
_WHY = ("--reason", "left")


def _refused(lab: Lab, prefect_api: dict[str, str], *arguments: str) -> str:
    before = tree(lab.repository.root)
    done = subprocess.run(
        [str(_RECHAIN), *arguments],
        env={**os.environ, **prefect_api, **lab.repository.variables},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.rstrip().endswith(")")
    assert tree(lab.repository.root) == before
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere", EXTERNAL, *_WHY, "--yes"), "there is no environment 'nowhere'"),
        ((ENVIRONMENT, "nobody", *_WHY, "--yes"), "has no client 'nobody'"),
        ((ENVIRONMENT, SERVERS[0], *_WHY, "--yes"), "is a server, and clients read no lists"),
        ((ENVIRONMENT, "postgres", *_WHY, "--yes"), "is the role that sessions are read as"),
        ((ENVIRONMENT, EXTERNAL, *_WHY, "--generation", "9", "--yes"), "generation 9 is not in use"),
        ((ENVIRONMENT, EXTERNAL, "--reason", " ", "--yes"), "--reason: is empty"),
        ((ENVIRONMENT, EXTERNAL, *_WHY, "--yes"), "is not kept here, so its list can't be signed"),
    ],
)
def test_what_can_not_be_revoked(
    lab_fleet: Lab, prefect_api: dict[str, str], arguments: tuple[str, ...], says: str
) -> None:
    """Before anything is written: a name that is none, and a fleet that would not notice."""
    assert says in _refused(lab_fleet, prefect_api, "revoke", *arguments)


def test_lists_that_nobody_would_read_are_not_taken(
    lab_fleet: Lab, prefect_api: dict[str, str], tmp_path: Path
) -> None:
    """Whatever is in the file, servers that read no lists would not notice."""
    empty = tmp_path / "x.crl"
    empty.touch()
    unread = ("refresh-crls", ENVIRONMENT, "--crl", str(empty))
    assert "no service of it reads revocation lists" in _refused(lab_fleet, prefect_api, *unread)
