"""A team's Prefect: a server of its own with everything deployed, and workers on one environment repository."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lab.environment import ENVIRONMENT
from lab.fleet import Lab
from tests.places import ask
from tests.plugins.desk import Desk, wait_for_server
from tests.processes import descendants

_PROJECT = Path(__file__).parents[2]
_PROGRAMS = Path(sys.executable).parent
LIMIT_S = 420
T = TypeVar("T")


@dataclass
class Team:
    """A server, which can be ended and started again on the same database, and any number of workers.

    Attributes:
        lab: The fleet.
        home: Prefect's directory, and what its programs said.
        port: The server's port on 127.0.0.1.
        variables: What server and workers find in their environment.
    """

    lab: Lab
    home: Path
    port: int
    variables: dict[str, str]
    _programs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def api(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def ui(self) -> str:
        """The UI's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def desk(self) -> Desk:
        """The command line of somebody of this team."""
        return Desk(self.lab, self._environment)

    def start_server(self) -> None:
        """Start the server, and wait until it answers."""
        server = self._start("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        wait_for_server(f"{self.api}/health", server)

    def deploy(self) -> None:
        """What an administrator does once: work pool, deployments, automations."""
        self._finish("prefect", "--no-prompt", "work-pool", "create", "rechain", "--type", "process")
        self._finish("prefect", "--no-prompt", "deploy", "--all")
        self._finish("rechain", "setup-prefect")

    def start_worker(self, name: str) -> None:
        """Start a worker."""
        self._start(name, "worker", "start", "--pool", "rechain", "--name", name)

    def end(self, name: str) -> None:
        """End the server or a worker in an orderly way."""
        program = self._programs.pop(name)
        os.killpg(program.pid, signal.SIGTERM)
        program.wait(60)

    def kill(self, name: str) -> None:
        """End a worker and the runs that it started, with SIGKILL."""
        program = self._programs.pop(name)
        os.kill(program.pid, signal.SIGSTOP)  # it starts nothing while its family is listed
        for pid in [*descendants(program.pid), program.pid]:
            with suppress(ProcessLookupError):  # a run that has just ended
                os.kill(pid, signal.SIGKILL)
        program.wait(60)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Let the runs of a worker stand still for as long as the block lasts, as on a machine that hangs."""
        family = descendants(self._programs[name].pid)
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End all, the server last."""
        for name in [*(one for one in self._programs if one != "server"), "server"]:
            if name in self._programs:
                self.end(name)

    def run(self, deployment: str, **parameters: Any) -> str:
        """Start a run of a deployment, named FLOW/DEPLOYMENT; its id."""
        return self.start(deployment, {"environment": ENVIRONMENT, **parameters})

    def start(self, deployment: str, parameters: Mapping[str, Any]) -> str:
        """Start a run of a deployment with these parameters and no others; its id."""
        found = self.get(f"deployments/name/{deployment}")
        made = ask(f"{self.api}/deployments/{found['id']}/create_flow_run", {"parameters": dict(parameters)})
        return str(made["id"])

    def look(self, run: str) -> dict[str, Any]:
        """A run as the API tells it."""
        found: dict[str, Any] = self.get(f"flow_runs/{run}")
        return found

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """Every run of a deployment, named FLOW/DEPLOYMENT."""
        wanted = {"deployment_id": {"any_": [self.get(f"deployments/name/{deployment}")["id"]]}}
        found: list[dict[str, Any]] = ask(f"{self.api}/flow_runs/filter", {"flow_runs": wanted, "limit": 200})
        return found

    def wait(self, run: str, *states: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """Wait until a run is in one of some states, by name; another end than those is reported at once."""

        def reached() -> dict[str, Any] | None:
            found = self.look(run)
            ended = found["state_type"] in ("FAILED", "CRASHED", "CANCELLED", "COMPLETED")
            is_wanted = found["state_name"] in states
            assert is_wanted or not ended, f"{found['state']['name']}: {found['state']['message']}\n{self.logs(run)}"
            return found if is_wanted else None

        return until(reached, f"{' or '.join(states)} of {run}", limit_s)

    def answer(self, run: str, decision: str) -> None:
        """Answer a waiting run's form."""
        form = {"decision": decision, "who": "a.dba", "reason": "its owner says so"}
        done = ask(f"{self.api}/flow_runs/{run}/resume", {"run_input": form})
        assert done["status"] == "ACCEPT", done

    def artifacts(self, run: str) -> list[dict[str, Any]]:
        """Everything that a run put on its page."""
        found: list[dict[str, Any]] = ask(
            f"{self.api}/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}, "limit": 200}
        )
        return found

    def logs(self, run: str) -> str:
        """What a run logged."""
        lines = ask(f"{self.api}/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200})
        return "\n".join(line["message"] for line in lines)

    def ask(self, path: str, body: object) -> Any:
        """One POST to the API."""
        return ask(f"{self.api}/{path}", body)

    def get(self, path: str) -> Any:
        """One GET of the API."""
        with urllib.request.urlopen(f"{self.api}/{path}", timeout=60) as answer:  # noqa: S310  # our own server
            return json.loads(answer.read())

    @property
    def _environment(self) -> dict[str, str]:
        own = {
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "rechain",
            "RECHAIN_STATE_DIR": str(self.home / "runs"),
        }
        return {**os.environ, **own, **self.lab.repository.variables, **self.variables}

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.log").open("ab") as log:
            program = subprocess.Popen(
                [str(_PROGRAMS / "prefect"), "--no-prompt", *arguments],
                env=self._environment, cwd=_PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._programs[name] = program
        return program

    def _finish(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(_PROGRAMS / program), *arguments],
            env=self._environment, cwd=_PROJECT, capture_output=True, text=True, timeout=LIMIT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} {arguments}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def new_team(tmp_path: Path) -> Iterator[Callable[..., Team]]:
    """Starts a server on a lab, deployed to and set up; workers are started by the test: `new_team(lab, {...})`."""
    with ExitStack() as teams:

        def start(lab: Lab, variables: Mapping[str, str] | None = None) -> Team:
            home = tmp_path / "prefect"
            home.mkdir(mode=0o700)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            team = Team(lab, home, port, dict(variables or {}))
            teams.callback(team.close)
            team.start_server()
            team.deploy()
            return team

        yield start


def until(look: Callable[[], T | None], what: str, limit_s: float = LIMIT_S) -> T:
    """Look until there is something."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.3)
    raise AssertionError(f"not within {limit_s} s: {what}")
