"""What a host remembers: the highest claim it has seen, what is not proven yet, who took what, and a ledger.

Public facts only.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from tasks.playbooks.module_utils.rechain_pem import Refused
else:
    from ansible.module_utils.rechain_pem import Refused

_LEDGER_LINES = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class ClaimRefused(Refused):
    """A newer run has been here; this one must not touch the host."""


class HostState:
    """The state directory of a host, of one environment.

    Args:
        directory: `rechain_state_dir`.
        environment: Name of the environment.
    """

    def __init__(self, directory: Path, environment: str) -> None:
        if not _NAME.fullmatch(environment):
            raise Refused(f"environment {environment!r} is no name")
        self._directory, self._environment = directory, environment

    @contextmanager
    def locked(self, timeout_s: float) -> Iterator[None]:
        """Hold the host's lock: one installation at a time, whoever started it. Raises Refused."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o755)
            descriptor = os.open(str(self._directory / "lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise Refused(f"rechain_state_dir {self._directory} can't be used: {error.strerror}") from None
        try:
            _lock(descriptor, timeout_s)
            yield
        finally:
            os.close(descriptor)

    def accept(self, claim: int, *, remember: bool = True) -> None:
        """Take a claim number, and remember it. Raises ClaimRefused when the host has seen a higher one."""
        path = self._directory / f"{self._environment}.json"
        highest = int(_read(path).get("claim", 0))
        if claim < highest:
            raise ClaimRefused(f"claim {claim} is refused: this host has seen claim {highest} of {self._environment}")
        if claim > highest and remember:
            _write(path, {"claim": claim})

    def pending(self, directory: Path) -> Mapping[str, Any] | None:
        """What an unproven switch of a directory left behind: `previous` version or None; None when all is proven."""
        return _read(self._marker("pending", directory)) or None

    def begin(self, directory: Path, previous: str | None) -> None:
        """Note, before a switch, that what is served is not proven."""
        _write(self._marker("pending", directory), {"directory": str(directory), "previous": previous})

    def end(self, directory: Path, taken: Mapping[str, str]) -> None:
        """Note that what is served is proven, and the digest of what each reader took who can't tell it himself."""
        known = self.taken(directory)
        if {**known, **taken} != known:  # of all environments: a directory is one place, whoever installs there
            _write(self._marker("taken", directory), {"directory": str(directory), "readers": {**known, **taken}})
        with suppress(FileNotFoundError):
            self._marker("pending", directory).unlink()

    def taken(self, directory: Path) -> Mapping[str, str]:
        """What readers of a directory were last seen to take: label to digest."""
        return dict(_read(self._marker("taken", directory)).get("readers") or {})

    def record(self, entry: Mapping[str, object]) -> None:
        """Add a line to the ledger."""
        path = self._directory / "ledger.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")  # noqa: UP017  # Python 3.8
        lines.append(json.dumps({"at": now, "environment": self._environment, **entry}))
        _replace(path, "\n".join(lines[-_LEDGER_LINES:]) + "\n")

    def _marker(self, what: str, directory: Path) -> Path:
        digest = hashlib.sha256(str(directory).encode("utf-8")).hexdigest()[:16]
        return self._directory / f"{what}-{digest}.json"


def _lock(descriptor: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Refused(f"another installation has held this host's lock for {timeout_s:.0f} s") from None
            time.sleep(0.1)
        else:
            return


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise Refused(f"{path} can't be read; a person must look at it") from None
    return dict(found)


def _write(path: Path, content: Mapping[str, object]) -> None:
    _replace(path, json.dumps(content) + "\n")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(str(path.parent), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
