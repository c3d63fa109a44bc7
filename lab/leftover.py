"""The marker of a lab: what it started and where, so that it can always be ended, after a SIGKILL too."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from lab.errors import LabError
from lab.machines import end_machine
from lab.network import remove_network
from lab.processes import Process, find, works_in
from lab.program import finish

MARKER = "lab.json"
REPOSITORY = "repo"
SSH = "ssh"
PASSWORD = "vault-password"  # noqa: S105  # the name of its file
_PREFIX = "rechain-lab-"
_ORIGIN = "origin.json"
_SERVER_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)  # PostgreSQL's fast and immediate shutdown, then none
_PARENT = Path("/var/tmp")  # noqa: S108  # as root the servers' user must be able to enter it; mkdtemp names it


def make_directory(state: Path, parent: Path | None = None) -> Path:
    """Make the hosts' directory and the marker that names it, before anything is started there."""
    state.mkdir(parents=True, exist_ok=True)
    default = _PARENT if _PARENT.is_dir() else Path(tempfile.gettempdir())
    _sweep(parent or default)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent or default)).resolve()
    directory.chmod(0o755)
    _write(state / MARKER, {"schema": 1, "directory": str(directory), "programs": []})
    _write(directory / _ORIGIN, {"marker": str((state / MARKER).resolve()), "owner": _self()})
    return directory


def record(state: Path, program: Process) -> None:
    """Add a program to the marker."""
    marker = _read(state / MARKER)
    programs = [*marker.get("programs", []), asdict(program)]  # type: ignore[misc]  # a list by what _write wrote
    _write(state / MARKER, {**marker, "programs": programs})


def is_there(state: Path) -> bool:
    """Whether a lab was started from this state directory and has not been ended."""
    return (state / MARKER).exists()


def end(state: Path) -> bool:
    """End what the marker names and remove the hosts' directory and the marker. Returns whether there was one.

    Raises:
        LabError: The marker can't be read, or a server would not end.
    """
    if not is_there(state):
        return False
    marker = _read(state / MARKER)
    for program in marker["programs"]:  # type: ignore[attr-defined]
        finish(Process(**program))
    directory = Path(str(marker["directory"]))
    if directory.is_dir() and directory.name.startswith(_PREFIX):
        _end_hosts(directory)
    (state / MARKER).unlink()
    return True


def clear(state: Path) -> None:
    """Remove the repository, the password and the journals of an earlier lab, so that the next one starts clean.

    Raises:
        LabError: There is a repository that no lab made.
    """
    repository, password = state / REPOSITORY, state / PASSWORD
    if repository.exists() and not password.exists():
        raise LabError(
            str(repository), "is in the way and was not made by the lab", "move it, or use another directory"
        )
    if repository.exists():
        shutil.rmtree(repository)
    password.unlink(missing_ok=True)
    for journal in state.glob("*.jsonl"):
        for suffix in (".jsonl", ".json", ".err"):
            journal.with_suffix(suffix).unlink(missing_ok=True)


def _sweep(parent: Path) -> None:
    """End our own labs whose owner was killed and whose marker was removed with its directory: nobody else would."""
    for directory in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError, LabError):  # another sweeps too, or it was just ended: then there is nothing to do
            if _is_lost(directory / _ORIGIN):
                _end_hosts(directory)


def _is_lost(origin: Path) -> bool:
    if origin.stat().st_uid != os.geteuid():
        return False
    told = _read(origin)
    owner = Process(**told["owner"])  # type: ignore[arg-type]  # a mapping by what _write wrote
    return not owner.lives() and not Path(str(told["marker"])).exists()


def _end_hosts(directory: Path) -> None:
    for host in directory.glob("*/"):
        end_machine(host)
    remove_network(directory)
    for data in directory.glob("*/data"):
        _end_server(data)
    shutil.rmtree(directory)


def _end_server(data: Path) -> None:
    try:
        pid = int((data / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return
    postmaster = find(pid)
    if postmaster is None or not works_in(pid, data):
        return  # the file is old: its pid belongs to nobody, or to somebody else
    postmaster.end(_SERVER_SIGNALS, timeout_s=20)
    if postmaster.lives():
        raise LabError(str(data), f"its server (pid {pid}) does not end", "look at its log and end it by hand")


def _self() -> dict[str, int]:
    own = find(os.getpid())
    return asdict(own) if own else {}


def _read(path: Path) -> dict[str, object]:
    try:
        marker: dict[str, object] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(str(path), f"can't be read: {error}", "end its servers by hand, then remove it") from None
    return marker


def _write(path: Path, content: dict[str, object]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    fresh.replace(path)
