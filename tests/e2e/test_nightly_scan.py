"""The nightly scan as it runs in production: deployed, scheduled, started by a worker, a run for each environment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lab.environment import ENVIRONMENT
from lab.fleet import Lab
from tests.places import ask

_PROJECT = Path(__file__).parents[2]
_PREFECT = Path(sys.executable).with_name("prefect")
_OTHER = "other"
_LIMIT_S = 240
T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """A Prefect server with everything deployed, and a worker on a repository of two environments."""

    api: str

    def ask(self, what: str, **body: Any) -> Any:
        """One question to the API."""
        return ask(f"{self.api}/{what}", body)

    def runs(self, name: str, state: str) -> list[dict[str, Any]]:
        """Runs of a name in a state."""
        wanted = {"name": {"any_": [name]}, "state": {"type": {"any_": [state]}}}
        found: list[dict[str, Any]] = self.ask("flow_runs/filter", flow_runs=wanted)
        return found


@pytest.fixture
def team(prefect_api: dict[str, str], lab_fleet: Lab, tmp_path: Path) -> Iterator[Team]:
    """What `make up` sets up, on the lab's environment and a second one like it."""
    root = Path(shutil.copytree(lab_fleet.repository.root, tmp_path / "repo", symlinks=True))
    shutil.copytree(root / "environments" / ENVIRONMENT, root / "environments" / _OTHER, symlinks=True)
    own = {"RECHAIN_REPO": str(root), "RECHAIN_STATE_DIR": str(tmp_path / "state")}
    environment = {**os.environ, **prefect_api, **lab_fleet.repository.variables, **own}
    for command in (["work-pool", "create", "rechain", "--type", "process"], ["deploy", "--all"]):
        subprocess.run(
            [str(_PREFECT), "--no-prompt", *command],
            env=environment, cwd=_PROJECT, check=True, timeout=_LIMIT_S, capture_output=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    worker = subprocess.Popen(
        [str(_PREFECT), "--no-prompt", "worker", "start", "--pool", "rechain"],
        env=environment, cwd=_PROJECT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Team(prefect_api["PREFECT_API_URL"])
    finally:
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(30)


@pytest.mark.timeout(1200)
def test_a_night_is_a_run_for_each_environment(team: Team) -> None:
    """The scheduler makes nightly runs; one of them, started now, starts two more, which publish what they find."""
    nightly = _until(lambda: team.ask("deployments/filter", deployments={"name": {"any_": ["nightly"]}}))[0]
    of_nightly = {"deployment_id": {"any_": [nightly["id"]]}}
    scheduled = _until(lambda: team.ask("flow_runs/filter", flow_runs=of_nightly))
    assert {run["state_type"] for run in scheduled} == {"SCHEDULED"}
    team.ask(f"deployments/{nightly['id']}/create_flow_run", name="tonight", state={"type": "SCHEDULED"})
    (tonight,) = _until(lambda: team.runs("tonight", "COMPLETED"))
    assert tonight["state"]["message"] == "started 2 runs, one for each environment"
    for name in (ENVIRONMENT, _OTHER):
        (run,) = _until(partial(team.runs, f"scan-{name}", "COMPLETED"))
        assert run["state"]["message"].startswith(f"OK: {name} OK: ")
        of_run = {"flow_run_id": {"any_": [run["id"]]}}
        kinds = {artifact["type"] for artifact in team.ask("artifacts/filter", artifacts=of_run)}
        assert kinds == {"table", "markdown", "image"}


def _until(look: Callable[[], T]) -> T:
    """Look until there is something."""
    deadline = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.5)
    raise AssertionError("nothing came")
