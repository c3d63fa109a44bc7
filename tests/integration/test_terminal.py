"""Who is asked and does not answer: one line, exit 2, nothing done."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.processes import find
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


def test_ctrl_c_says_how_to_go_on(closed_environment: Environment, tmp_path: Path) -> None:
    """While a program runs for it, which is ended too."""
    script, asked = closed_environment.folder / "hosts", tmp_path / "asked"
    script.write_text(f"#!/bin/sh\necho $$ > {asked}\nexec sleep 300\n")
    script.chmod(0o755)
    command = [str(_RECHAIN), "verify", "acc", "--repo", str(closed_environment.root)]
    # A shell's background jobs ignore the signal, and so would what they start.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_ctrl_c) as running:  # noqa: PLW1509
        limit = time.monotonic() + 60
        while not (asked.exists() and asked.read_text().strip()):
            assert running.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert said == "rechain: interrupted; run the same command again to go on\n"
    assert running.returncode == 1
    while _runs(int(asked.read_text())):
        assert time.monotonic() < limit
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of one until its parent looks."""
    return find(pid) is not None


def _heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
