"""A machine of the lab: namespaces with a network address and a root of their own, an overlay on this machine's.

It is as empty as a fresh virtual machine of this Debian: its own processes, its own /etc and /home, nothing of other
machines. What is meant to be seen from outside lies in one directory that both have at the same path. Everything ends
with its first process, whatever happens to the one who started it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.account import Account, scrubbed
from lab.errors import LabError
from lab.processes import Process, find

INIT = "init.json"
_TOOLS = ("ip", "unshare", "nsenter", "mount", "pivot_root")
_START_S = 20
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine.

    Attributes:
        name: Its host name.
        address: Its network address.
        directory: What it shares with this machine, at the same path.
        programs: Directories of programs that it may read, at the same path.
    """

    name: str
    address: str
    directory: Path
    programs: tuple[Path, ...] = ()

    def boot(self) -> None:
        """Start its first process, which makes its root; it has no network yet. Raises LabError."""
        with (self.directory / "init.log").open("wb") as log:
            starter = subprocess.Popen(
                [
                    "unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child=KILL",
                    sys.executable, "-m", "lab.machine_init", self.name, str(self.directory), *map(str, self.programs),
                ],
                cwd="/",
                env=scrubbed(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip
        _starters.append(starter)
        self._ends_with(find(starter.pid))  # whoever is killed from here on leaves behind what can be found
        self._ends_with(self._first_process(starter))

    def enter(self) -> list[str]:
        """What goes before a command so that it runs there, as root. Raises LabError when the machine is down."""
        first = first_process(self.directory)
        if first is None or not first.lives():
            raise LabError(self.name, "the machine does not run", f"see {self.directory / 'init.log'}")
        return ["nsenter", "--target", str(first.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"]

    def run(self, *command: str, given: str = "", timeout_s: float = 60) -> str:
        """Run a command there as root; what it wrote to standard output. Raises LabError when it fails."""
        arguments = [*self.enter(), *command]
        try:
            ended = subprocess.run(
                arguments,
                cwd="/",
                input=given,
                env=scrubbed(os.environ),
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LabError(self.name, f"{command[0]} did not end within {timeout_s:.0f} s", "look at it") from None
        if ended.returncode:
            raise LabError(self.name, f"{command[0]}: {(ended.stderr or ended.stdout).strip()}", "see the message")
        return ended.stdout

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of its own, of root. Raises LabError."""
        self.run("install", "-D", "-m", f"{mode:o}", "/dev/stdin", path, given=text)

    def _ends_with(self, process: Process | None) -> None:
        if process:
            (self.directory / INIT).write_text(json.dumps(asdict(process)), "utf-8")

    def _first_process(self, starter: subprocess.Popen[bytes]) -> Process:
        """The child of `unshare`, once it has its root."""
        children, deadline = Path(f"/proc/{starter.pid}/task/{starter.pid}/children"), time.monotonic() + _START_S
        while time.monotonic() < deadline and starter.poll() is None:
            pids = children.read_text("ascii").split()
            if pids and (first := find(int(pids[0]))) and (self.directory / "booted").exists():
                return first
            time.sleep(_POLL_S)
        starter.kill()
        log = (self.directory / "init.log").read_text("utf-8", "replace").strip()
        raise LabError(self.name, f"the machine does not start: {log[-300:]}", "try the lab without --hosts")


@dataclass(frozen=True, slots=True)
class Resident(Account):
    """An OS user of a machine: what it runs, runs there; its files are given to it from here."""

    machine: Machine

    def _there(self, arguments: Sequence[str], cwd: Path | None) -> Sequence[str]:
        user = ("setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups")
        return [*self.machine.enter(), "env", "-C", str(cwd or "/"), *user, "--", *arguments]

    def _switch(self) -> dict[str, object]:
        return {}


def first_process(directory: Path) -> Process | None:
    """The first process of the machine that shares a directory; None when none was started."""
    try:
        return Process(**json.loads((directory / INIT).read_text("utf-8")))
    except (OSError, ValueError):
        return None


def why_not() -> str | None:
    """Why this machine can hold no others, or None."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "machines of their own need Linux and root"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"machines of their own need {', '.join(missing)}" if missing else None


def missing_programs(programs: Sequence[str]) -> str | None:
    """Which programs of Debian's packages are missing for what runs on machines, or None."""
    missing = [name for name in programs if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None]
    return f"missing: {', '.join(missing)} (`make hosts` installs them)" if missing else None


# Kept until they have ended: Python warns about a child that is forgotten while it runs.
_starters: list[subprocess.Popen[bytes]] = []
