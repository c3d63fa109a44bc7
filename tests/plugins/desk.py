"""A database administrator's desk: the command line on a real fleet, with one Prefect server for the whole run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.environment import ENVIRONMENT, EXTERNAL
from lab.fleet import Lab

WAITING = 4
_RECHAIN = Path(sys.executable).with_name("rechain")
_PREFECT = Path(sys.executable).with_name("prefect")
_TIMEOUT_S = 480


@dataclass(frozen=True)
class Desk:
    """Runs rechain as a person would, on one lab."""

    lab: Lab
    environment: dict[str, str]

    def run(
        self, *arguments: str, expect: int | None = 0, repo: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; `expect` is the exit code that it must have, None for any."""
        done = subprocess.run(
            [str(_RECHAIN), *arguments],
            env=self._environment(repo),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert expect is None or done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *arguments: str, repo: Path | None = None) -> subprocess.Popen[str]:
        """Start a command in a process group of its own, for tests that kill it."""
        return subprocess.Popen(
            [str(_RECHAIN), *arguments],
            env=self._environment(repo),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def json(self, *arguments: str, expect: int | None = 0) -> dict[str, Any]:
        """Run a command with --format json."""
        content: dict[str, Any] = json.loads(self.run(*arguments, "--format", "json", expect=expect).stdout)
        return content

    def refresh(self, *options: str, expect: int | None = 0) -> dict[str, Any]:
        """Run `refresh` once, without a question."""
        return self.json("refresh", ENVIRONMENT, "--yes", *options, expect=expect)

    def status(self) -> dict[str, Any]:
        """`rechain status`."""
        return self.json("status", ENVIRONMENT)

    def approve(self, gate: str, *, client: str = EXTERNAL) -> None:
        """Open a gate as its message says."""
        self.run("approve", ENVIRONMENT, gate, "--client", client, "--reason", "its owner says so")

    def trust(self) -> None:
        """The external owner installs the bundle, and the DBA notes it."""
        self.lab.owner.install_bundle()
        self.approve("external-trust")

    def to_phase(self, phase: str) -> None:
        """Bring a fresh rotation to a phase, opening the gates on the way."""
        if phase in ("issued", "overlap"):
            self.refresh("--until", phase)
            return
        self.refresh("--until", "servers", expect=WAITING)
        self.trust()
        self.refresh("--until", "clients" if phase == "retired" else phase)
        if phase == "retired":
            self.lab.owner.take_delivery()
            self.approve("clients")
            self.refresh()

    def _environment(self, repo: Path | None) -> dict[str, str]:
        return self.environment | ({"RECHAIN_REPO": str(repo)} if repo else {})


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One Prefect server for every command of the run, as a team has; the variables that point at it."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
    }
    server = subprocess.Popen(
        [str(_PREFECT), "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, **own},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_server(f"http://127.0.0.1:{port}/api/health", server)
        yield {**own, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


@pytest.fixture
def new_desk(new_lab: Callable[..., Lab], prefect_api: dict[str, str], tmp_path: Path) -> Callable[..., Desk]:
    """Makes a desk on a fleet of the test's own."""

    def make(**options: Any) -> Desk:
        lab = new_lab(**options)
        own = {**prefect_api, **lab.repository.variables, "RECHAIN_STATE_DIR": str(tmp_path / "runs")}
        return Desk(lab, {**os.environ, **own})

    return make


def wait_for_server(url: str, server: subprocess.Popen[bytes], limit_s: float = 120) -> None:
    """Wait until a Prefect server answers."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        assert server.poll() is None, "the Prefect server ended"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own server
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.3)
    pytest.fail("the Prefect server did not start")
