"""What a fault test sees from outside of a run, and how it ends one: no hook in the product, no sleeping for luck."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from lab.access import clients_on
from lab.environment import ENVIRONMENT
from lab.fleet import Lab
from lab.host import Host
from lab.processes import Process, find
from rechain.generation import Side
from rechain.phase import Phase
from tasks.repository.rotation_yaml import read_rotation
from tests.plugins.desk import Desk
from tests.processes import descendants

_POLL_S = 0.03
_LIMIT_S = 240


class Moment(StrEnum):
    """A moment of a move, as it can be seen in the repository and on the hosts."""

    WRITTEN = "after the repository's write"
    FIRST_HOST = "after the first host"
    UNRECORDED = "before the phase is recorded"


class Victim(StrEnum):
    """What SIGKILL hits."""

    RUN = "the run's process group"
    TREE = "the run with all that it started, Ansible and the canary too"


def wait_until(
    condition: Callable[[], bool], what: str, program: subprocess.Popen[str] | None = None, limit_s: float = _LIMIT_S
) -> None:
    """Wait for something that a program must bring about while it runs."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert program is None or program.poll() is None, f"it ended before {what}: {_said(program)}"
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(_POLL_S)


def start_and_wait(desk: Desk, phase: Phase, moment: Moment, *options: str) -> subprocess.Popen[str]:
    """Start a refresh and return it, still running, at a moment of its move to a phase."""
    program = desk.start("refresh", ENVIRONMENT, "--yes", *(options or ("--until", phase.value)))
    try:
        wait_for(desk.lab, program, phase, moment)
    except BaseException:
        if program.poll() is None:
            kill(program, Victim.TREE)
        raise
    return program


def wait_for(lab: Lab, program: subprocess.Popen[str], phase: Phase, moment: Moment) -> None:
    """Wait until a run is at a moment of its move to a phase."""
    root = lab.repository.root

    def is_written() -> bool:
        rotation = read_rotation(root, ENVIRONMENT)
        return rotation.target is phase and rotation.intent is None

    wait_until(is_written, f"{phase}: {moment}", program)
    if moment is Moment.WRITTEN:
        return
    wanted = lab.repository.deployed()
    enough = 1 if moment is Moment.FIRST_HOST else len(lab.hosts)
    wait_until(lambda: len(hosts_with(lab, wanted)) >= enough, f"{phase}: {moment}", program)


def hosts_with(lab: Lab, wanted: dict[str, dict[str, str]]) -> list[str]:
    """The hosts that hold everything that a certs.yml has for them."""
    return [host.name for host in lab.hosts if _holds(host, wanted)]


def kill(program: subprocess.Popen[str], victim: Victim) -> list[Process]:
    """End a run with SIGKILL, from outside.

    Returns:
        What it had started: Ansible and the canary, which must notice by themselves that they are alone.
    """
    os.kill(program.pid, signal.SIGSTOP)  # it starts nothing while its family is listed
    family = [process for process in map(find, descendants(program.pid)) if process]
    if victim is Victim.TREE:
        for process in family:
            process.send(signal.SIGKILL)
    os.killpg(program.pid, signal.SIGKILL)
    drain(program)
    return family


def freeze(program: subprocess.Popen[str], root: Path) -> None:
    """Stop a run in its tracks, as a machine that hangs does, at an instant in which it does not hold the repository.

    What it has started itself goes on. `os.killpg(program.pid, signal.SIGCONT)` wakes it.
    """

    def is_frozen() -> bool:
        os.killpg(program.pid, signal.SIGSTOP)
        wait_until(lambda: _state(program.pid) == "T", "the run stands still")
        if _is_free(root / "rechain" / ENVIRONMENT):
            return True
        os.killpg(program.pid, signal.SIGCONT)
        return False

    wait_until(is_frozen, "the run lets go of the repository", program)


def claims(lab: Lab) -> set[int]:
    """The numbers of every claim that ever installed anything on a host."""
    return {json.loads(line)["claim"] for host in lab.hosts for line in ledger(host).splitlines()}


def drain(program: subprocess.Popen[str]) -> str:
    """Wait for the end of a program that was started; what it said on stderr."""
    return program.communicate(timeout=_LIMIT_S)[1]


def ledger(host: Host) -> str:
    """What a host wrote down about installations."""
    path = host.state_directory / "ledger.jsonl"
    return path.read_text("utf-8") if path.exists() else ""


def generations(root: Path) -> dict[str, str]:
    """The bundles of every generation that was ever issued or adopted, by folder."""
    folders = (root / "rechain" / ENVIRONMENT).glob("generation-*")
    return {folder.name: _bundles((folder / "certs.yml").read_text("utf-8")) for folder in folders}


def _bundles(text: str) -> str:
    """The lines of both `chain` entries."""
    kept, inside = [], False
    for line in text.splitlines():
        if line.startswith("    ") and not line.startswith("     "):
            inside = line.strip().startswith("chain:")
        if inside:
            kept.append(line.strip())
    return "\n".join(kept)


def _holds(host: Host, wanted: dict[str, dict[str, str]]) -> bool:
    server, client = wanted[Side.SERVER], wanted[Side.CLIENT]
    files = [
        (host.server_directory / "server.crt", server[host.name]),
        (host.server_directory / "root.crt", client["chain"]),
    ]
    for name in clients_on(host.name):
        directory = host.client_directory(name)
        files += [(directory / "postgresql.crt", client[name]), (directory / "root.crt", server["chain"])]
    return all(path.read_text("ascii").split() == text.split() for path, text in files)


def _is_free(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]


def _said(program: subprocess.Popen[str]) -> str:
    return drain(program)[-2000:]
