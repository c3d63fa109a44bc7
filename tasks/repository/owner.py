"""Who owns a claim: `user@machine:pid:start`, so that an owner on the same machine can be known dead."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path

_START_FIELD = 19  # field 22 of /proc/PID/stat, counted after the command's name; see proc(5)


def this_owner() -> str:
    """The owner string of this process."""
    return f"{person()}@{socket.gethostname()}:{os.getpid()}:{_started(os.getpid()) or 0}"


def is_known_dead(owner: str) -> bool:
    """Whether a claim's owner certainly runs no more; False for one on another machine, which can't be known."""
    who, _, rest = owner.rpartition("@")
    machine, *process = rest.rsplit(":", 2)
    if not who or machine != socket.gethostname() or len(process) != len(("pid", "start")):
        return False
    pid, started = process
    if not (pid.isdigit() and started.isdigit()) or _started(os.getpid()) is None:
        return False
    return _started(int(pid)) != int(started)


def _started(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None when it is gone, ended unreaped, or there is no /proc."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else int(fields[_START_FIELD - 1])


def person() -> str:
    """Who runs this process, for what a person is asked about later."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())  # a user id without a name, as in containers
