"""A session of `make up`: the lab's fleet, a Prefect server with everything deployed on it, and a worker."""

from __future__ import annotations

import secrets
import sys
import time
import urllib.request
from pathlib import Path

from deployments.programs import Program, UpError, end_all, last_line, run, start
from deployments.surroundings import of_a_session, of_a_worker, of_the_server
from lab.environment import EXTERNAL
from lab.fleet import Lab
from lab.host import Host
from lab.processes import Process, find

_POOL = "rechain"
_HEALTHY_S = 300
_LOOK_S = 0.5
_RESTART_S = 60
_PROGRAMS = Path(sys.executable).parent
_PREFECT = (str(_PROGRAMS / "prefect"), "--no-prompt")
_RECHAIN = str(_PROGRAMS / "rechain")


class Session:
    """What runs, and where it writes.

    Args:
        state: Directory of logs, of Prefect's data and of what the worker remembers.
        port: The server's port on 127.0.0.1.
        lab: The fleet, prepared.

    Attributes:
        login: What the API wants, NAME:PASSWORD, another one in each session.
    """

    def __init__(self, state: Path, port: int, lab: Lab) -> None:
        self.state, self.port, self.lab = state, port, lab
        self.login = f"rechain:{secrets.token_urlsafe(12)}"
        self._variables = of_a_session(state, port, self.login)
        self._of_worker = of_a_worker(self._variables, lab.repository.variables, state)
        self._programs: list[Program] = []
        self._application: Process | None = None
        self._down_since: dict[str, float] = {}

    def start_server_and_fleet(self) -> None:
        """Start both at once, each takes some ten seconds. Raises UpError or LabError."""
        command = (*_PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        server = start("server", command, of_the_server(self._variables), self.state / "server.log")
        self._programs.append(server)
        self.lab.start()
        self._application = self.lab.run_application()
        self._wait_for(server)

    def deploy(self) -> None:
        """Make the work pool, the deployments, and what `rechain setup-prefect` makes. Raises UpError."""
        environment, log = self._of_worker, self.state / "deploy.log"
        run("work-pool create", (*_PREFECT, "work-pool", "create", _POOL, "--type", "process"), environment, log)
        run("deploy", (*_PREFECT, "deploy", "--all"), environment, log)
        run("setup-prefect", (_RECHAIN, "setup-prefect"), environment, log)

    def start_worker(self) -> None:
        """Start one worker of the pool."""
        command = (*_PREFECT, "worker", "start", "--pool", _POOL, "--name", "worker-1")
        self._programs.append(start("worker", command, self._of_worker, self.state / "worker.log"))

    def watch(self) -> None:
        """Watch until a part ends by itself, which raises UpError, or somebody interrupts."""
        while True:
            self._check()
            time.sleep(_LOOK_S)

    def end(self) -> None:
        """End the worker first, for it has something to tell the server; then all that is left."""
        for program in reversed(self._programs):
            program.end()
        end_all(self.state)

    def _wait_for(self, server: Program) -> None:
        deadline = time.monotonic() + _HEALTHY_S
        while not self._is_healthy():
            server.check()
            if time.monotonic() > deadline:
                raise UpError("the server", f"does not answer: {last_line(server.log)}", f"see {server.log}")
            time.sleep(_LOOK_S)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/health", timeout=5) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004  # HTTP's OK
        except OSError:
            return False

    def _check(self) -> None:
        for program in self._programs:
            program.check()
        if self._application and not self._application.lives():
            raise UpError(f"the application {EXTERNAL}", "ended by itself", f"see {self.lab.journal(EXTERNAL)}")
        for host in self.lab.hosts:
            self._check_host(host)

    def _check_host(self, host: Host) -> None:
        """A run may restart a host's server, so it may be down for a while."""
        if _serves(host):
            self._down_since.pop(host.name, None)
        elif time.monotonic() - self._down_since.setdefault(host.name, time.monotonic()) > _RESTART_S:
            raise UpError(host.name, "its PostgreSQL server ended by itself", f"see {host.server.log}")


def _serves(host: Host) -> bool:
    try:
        pid = int((host.server.data / "postmaster.pid").read_text("ascii").split("\n", 1)[0])
    except (OSError, ValueError):
        return False
    return find(pid) is not None
