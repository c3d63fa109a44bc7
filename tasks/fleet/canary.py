"""The canary: logins that run all through a rotation and count failures."""

from __future__ import annotations

import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from rechain.canary import Attempt, Segment, read_segment
from rechain.errors import VerificationFailed
from rechain.fleet import Fleet
from tasks.fleet.canary_process import THREADS
from tasks.fleet.watch import Watch, Watching, managed_watches, to_json
from tasks.repository.settings import Settings

_SUFFIX = ".jsonl"
_MOST_PER_S = 25
_TIMEOUT_S = 5.0
_START_S = 20.0


@dataclass(slots=True)
class Canary:
    """A canary that sings; a context manager that stops it.

    Attributes:
        directory: Where its recordings are.
        recording: The file it writes now.
    """

    directory: Path
    recording: Path
    _process: subprocess.Popen[bytes]
    _patience_s: float

    @property
    def pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """What it reads, and what it says."""
        return cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)

    def check(self) -> None:
        """Make sure that it still watches.

        Raises:
            VerificationFailed: It ended by itself, so nothing says whether logins worked.
        """
        if self._process.poll() is not None:
            raise _silent(self.recording, f"ended with status {self._process.returncode}")

    def stop(self) -> None:
        """Let the logins under way end, and end it. Does nothing when it has ended."""
        for pipe in self.pipes:
            # Whatever it reads is the word to stop: processes forked meanwhile may keep its end of the pipe open.
            with suppress(BrokenPipeError, ValueError):
                if pipe.writable():
                    pipe.write(b"\n")
                pipe.close()
        try:
            self._process.wait(self._patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        complaints = _complaints(self.recording)
        if complaints.exists() and not complaints.stat().st_size:
            complaints.unlink()

    def __enter__(self) -> Canary:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def start_canary(
    fleet: Fleet, settings: Settings, directory: Path, extra: Iterable[Watch] = (), *, timeout_s: float = _TIMEOUT_S
) -> Canary:
    """Start watching: every managed client whose files are on this machine, on every endpoint, and some more.

    Returns once everything was tried once: what fails then is listed as unwatched, with the reason, instead of being
    counted. Side effect: a process of its own, which ends with this one, and a file of public data a start. Not
    idempotent: two canaries count twice.

    Args:
        fleet: Whose managed clients and endpoints.
        settings: The database, and the time between two logins of one client. With many clients it is stretched, so
            that a fleet never sees more than 25 logins a second.
        directory: Where the recordings of this rotation are; made when it is not there.
        extra: Clients whose key is ours: external ones, and managed ones of hosts that are elsewhere.
        timeout_s: Limit for one login.

    Raises:
        VerificationFailed: Its process does not start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    watches = (*managed_watches(fleet), *extra)
    recording = directory / f"canary-{time.time_ns() // 1_000_000}-{os.getpid()}{_SUFFIX}"
    order = Watching(
        watches=watches,
        database=settings.verify.database,
        interval_ms=_interval_ms(settings.canary.interval_ms, watches),
        timeout_s=timeout_s,
        recording=str(recording.resolve()),
        parent=os.getpid(),
    )
    canary = Canary(directory, recording, _start(_complaints(recording)), timeout_s + _START_S)
    _order(canary, order)
    return canary


def read_segments(directory: Path) -> tuple[Segment, ...]:
    """Read every recording of a rotation, in the order of their start; while the canary sings, too."""
    texts = (path.read_text("utf-8") for path in sorted(directory.glob(f"canary-*{_SUFFIX}")))
    return tuple(segment for segment in map(read_segment, texts) if segment)


def read_attempts(directory: Path) -> Iterator[Attempt]:
    """Every login of a rotation, recording by recording."""
    return (attempt for segment in read_segments(directory) for attempt in segment.attempts)


def _interval_ms(wanted_ms: float, watches: Sequence[Watch]) -> float:
    clients = len({watch.client for watch in watches})
    return max(wanted_ms, 1000 * clients / _MOST_PER_S)


def _start(complaints: Path) -> subprocess.Popen[bytes]:
    """Start the process away from the terminal, whose Ctrl-C is for the run: the canary sees how that ends."""
    # -P: the working directory may be an Ansible repository, and those often have a directory `tasks`.
    arguments = [sys.executable, "-P", "-m", "tasks.fleet.canary_process"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    with complaints.open("wb") as stderr:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd="/",
            env=environment,
            start_new_session=True,
        )


def _order(canary: Canary, order: Watching) -> None:
    """Give the process its order and wait until everything was tried once."""
    stdin, stdout = canary.pipes
    patience_s = _START_S + order.timeout_s * math.ceil(len(order.watches) / THREADS)
    try:
        with suppress(BrokenPipeError):  # it ended at once: nothing to read will tell
            stdin.write(to_json(order).encode() + b"\n")
            stdin.flush()
        watches = select.select([stdout], [], [], patience_s)[0] and stdout.readline()
    except BaseException:
        canary.stop()
        raise
    if not watches:
        canary.stop()
        raise _silent(canary.recording, "did not start")


def _silent(recording: Path, what: str) -> VerificationFailed:
    complaints = _complaints(recording)
    said = complaints.read_text("utf-8", "replace").strip().rsplit("\n", 1)[-1] if complaints.exists() else ""
    return VerificationFailed("canary", f"{what}, so nobody watches the logins: {said}", f"see {complaints}")


def _complaints(recording: Path) -> Path:
    return recording.with_suffix(".log")
