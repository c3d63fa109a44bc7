"""Processes known by pid and start time, so that a reused pid is never taken for an old one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine.

    Attributes:
        pid: Its pid.
        started: Its start in clock ticks since boot, as /proc tells it.
    """

    pid: int
    started: int

    def lives(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return _start(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self.lives():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def end(self, signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGKILL), timeout_s: float = 15) -> None:
        """End it: the first signal, and the next when it still lives after a while. Returns when it is gone."""
        for number in signals:
            self.send(number)
            if self.wait(timeout_s):
                return

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end. Returns whether it came in time."""
        deadline = time.monotonic() + timeout_s
        while self.lives():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True


def find(pid: int) -> Process | None:
    """The process that has this pid now."""
    started = _start(pid)
    return None if started is None else Process(pid, started)


def works_in(pid: int, directory: Path) -> bool:
    """Whether a process has this working directory: a postmaster stays in its data directory."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory.resolve()
    except OSError:
        return False


def _start(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    state, *numbers = text.rpartition(")")[2].split()  # the name before it may hold spaces
    return None if state in "ZX" else int(numbers[18])
