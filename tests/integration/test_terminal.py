"""Who is asked and does not answer: one line, exit 2, nothing done."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environments import Environment, tree

_RECHAIN = Path(sys.executable).with_name("rechain")
_ASKING = [
    ("refresh", "acc"),
    ("refresh", "acc", "--strategy", "downtime"),
    ("rollback", "acc"),
    ("revoke", "acc", "applicatie", "--reason", "left"),
]


@pytest.mark.parametrize("arguments", _ASKING, ids=" ".join)
def test_ctrl_d_is_no_answer(environment: Environment, arguments: tuple[str, ...]) -> None:
    """On a real terminal, at the question."""
    before = tree(environment.root)
    ours, theirs = pty.openpty()
    os.write(ours, b"\x04")
    with os.fdopen(theirs, "rb") as terminal:
        done = subprocess.run(
            [str(_RECHAIN), *arguments, "--repo", str(environment.root)],
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    os.close(ours)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines() == [
        "rechain: nobody answered, so nothing was done (answer, or add --yes)",
    ]
    assert tree(environment.root) == before


def test_a_closed_standard_input_is_no_terminal(environment: Environment) -> None:
    """As under some schedulers."""
    command = f"exec {_RECHAIN} refresh acc --repo {environment.root} <&-"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == "rechain: there is no terminal to confirm on (add --yes)\n"
