"""The programs of a session: started with a log of their own, watched, and ended so that none is left."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deployments.surroundings import MARK, PROJECT
from lab.processes import Process, find
from rechain.errors import RechainError

_COMMAND_S = 300
_END_S = 15.0
_LAST = 300


class UpError(RechainError):
    """A session could not be started, or a part of it ended by itself."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that runs until it is ended.

    Attributes:
        name: What to call it.
        log: Where it writes.
    """

    name: str
    log: Path
    _child: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its pid."""
        return self._child.pid

    def check(self) -> None:
        """Raises UpError when it has ended, with the last thing that it said."""
        if self._child.poll() is not None:
            raise UpError(f"the {self.name}", f"ended by itself: {last_line(self.log)}", f"see {self.log}")

    def end(self) -> None:
        """Ask it to end and wait; by force when that takes too long."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._child.poll() is None:
                self._child.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(_END_S)


def start(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Program:
    """Start a program in the project's directory, in a session of its own: Ctrl-C is for the one who started it."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, env=environment, cwd=PROJECT, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    return Program(name, log, child)


def run(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Run a command to its end. Raises UpError, with the last thing that it said."""
    with log.open("ab") as output:
        try:
            code = subprocess.run(
                command, env=environment, cwd=PROJECT, start_new_session=True, timeout=_COMMAND_S, check=False,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UpError(name, f"did not end within {_COMMAND_S} s", f"see {log}") from None
    if code != 0:
        raise UpError(name, f"exit code {code}: {last_line(log)}", f"see {log}")


def end_all(state: Path) -> None:
    """End every program that carries the mark of this session's directory, whoever its parent is now.

    A worker starts runs in sessions of their own, and a session whose programs were all killed left some behind.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = tuple(marked(state))
        for process in left:
            process.send(number)
        for process in left:
            process.wait(_END_S)


def last_line(log: Path) -> str:
    """The last thing that a program said."""
    lines = log.read_text("utf-8", "replace").split("\n") if log.exists() else []
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:_LAST] if said else "it said nothing"


def marked(state: Path) -> Iterator[Process]:
    """The programs that carry the mark of a session's directory, but for this one."""
    mark = f"{MARK}={state}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        process = find(int(entry.name))
        with suppress(OSError):  # it is gone, or somebody else's
            is_ours = mark in (entry / "environ").read_bytes().split(b"\0")
            if process and is_ours and process.pid != os.getpid():
                yield process
