"""Sessions of `make up` for tests: started, read until they say their address, and looked for afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deployments.programs import end_all, marked
from deployments.surroundings import PROJECT
from lab import leftover
from lab.leftover import is_there
from tests.plugins.slack_stub import closed_port


@dataclass(frozen=True)
class Session:
    """A session of `make up`.

    Attributes:
        state: Its directory.
        port: Its server's port.
        process: The program that a person ends with Ctrl-C.
        said: Its lines so far.
    """

    state: Path
    port: int
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    @property
    def login(self) -> str:
        """What it said that the API wants, once it has told its address."""
        return next(line.split()[-1] for line in self.said if "password" in line)

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it runs, server, worker, runs or fleet."""
        return not list(marked(self.state)) and not is_there(self.state / "lab")

    def wait_for_address(self) -> None:
        """Read until it tells its address and what to press."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("  Logs:"):
                return
        raise AssertionError("".join(self.said))

    def end(self, number: int, timeout_s: float = 60) -> str:
        """Send it a signal, and what it says until it has ended."""
        self.process.send_signal(number)
        return self.rest(timeout_s)

    def rest(self, timeout_s: float = 60) -> str:
        """What it says until it has ended."""
        return self.process.communicate(timeout=timeout_s)[0]


@contextmanager
def session(state: Path, port: int | None = None, around: Sequence[str] = ()) -> Iterator[Session]:
    """Start one; at the end of the block nothing of it is left, whatever happened.

    Args:
        state: Its directory.
        port: Its server's port; None for a free one.
        around: A command that runs the command which comes after it.
    """
    chosen = closed_port() if port is None else port
    command = [*around, sys.executable, "-m", "deployments.up", "--port", str(chosen), "--state", str(state)]
    with subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield Session(state, chosen, process)
        finally:
            if process.poll() is None:
                process.kill()
            end_all(state)
            leftover.end(state / "lab")
