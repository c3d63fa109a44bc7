"""Runs that things happen to: started, watched until the first host has its set, and heard to their end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from lab.environment import ENVIRONMENT
from rechain.phase import Phase
from tests.faults.seen import Victim, kill
from tests.plugins.desk import Desk

_LIMIT_S = 300


@contextmanager
def a_run(desk: Desk, phase: Phase) -> Iterator[subprocess.Popen[str]]:
    """A refresh up to a phase; ended by force when it takes too long, or when its test fails."""
    with desk.start("refresh", ENVIRONMENT, "--yes", "--until", phase.value) as program:
        limit = Timer(_LIMIT_S, program.kill)
        limit.start()
        try:
            yield program
        finally:
            limit.cancel()
            if program.poll() is None:
                kill(program, Victim.TREE)


def wait_for_the_first(program: subprocess.Popen[str], host: str) -> None:
    """Until the first host has its set, and its services have proven it."""
    assert program.stderr is not None
    said = []
    for line in program.stderr:
        said.append(line)
        if f"{host}: installed" in line or f"{host}: unchanged" in line:
            return
    raise AssertionError("".join(said))


def heard(program: subprocess.Popen[str]) -> tuple[str, int]:
    """What a run says from here on up to its end, and its exit code."""
    assert program.stderr is not None
    said = program.stderr.read()
    return said, program.wait(30)
