"""Many at once, as in a large team: Prefect on PostgreSQL, two workers, twenty scans and three refreshes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from lab.environment import ENVIRONMENT
from lab.fleet import Lab
from lab.watch import summarise
from rechain.phase import Phase
from tasks.repository.rotation_yaml import read_rotation
from tests.plugins.team import Team, until

_NIGHTLY, _SCAN = "scan-expiry/nightly", "scan-expiry/environment"
_REFRESH = "refresh-with-minimal-impact/refresh"
_SCANS, _LIMIT, _LIMIT_S = 20, 4, 1200
_ANSIBLE_VAULT = Path(sys.executable).with_name("ansible-vault")


@pytest.mark.timeout(3000)
def test_twenty_scans_and_three_refreshes_at_once(
    new_lab: Callable[..., Lab], new_team: Callable[..., Team], prefect_database: str, tmp_path: Path
) -> None:
    """None is lost, none runs twice, no limit is passed, both workers work, and no client notices."""
    labs = [new_lab(f"lab-{number}") for number in range(3)]
    _share_password(labs)
    watchers = [lab.run_watcher(interval_ms=500) for lab in labs]
    team = new_team(labs[0], {"PREFECT_SERVER_DATABASE_CONNECTION_URL": prefect_database})
    for worker in ("one", "two"):
        team.start_worker(worker)
    many = _many_environments(labs[0], tmp_path / "many")

    with _most_at_once(team, _SCAN) as most:
        night = team.start(_NIGHTLY, {"repository": str(many), "notify": False})
        refreshes = [
            team.run(_REFRESH, repository=str(lab.repository.root), plan_only=False, until=Phase.OVERLAP.value)
            for lab in labs
        ]
        for run in (night, *refreshes):
            team.wait(run, "Completed", limit_s=_LIMIT_S)
        scans = until(lambda: _all_ended(team), "every scan has ended", _LIMIT_S)

    assert Counter(one["parameters"]["environments"][0] for one in scans) == dict.fromkeys(_names(), 1)
    assert {one["state_name"] for one in scans} == {"Completed"}
    everything = [*scans, *map(team.look, (night, *refreshes))]
    assert {one["run_count"] for one in everything} == {1}
    assert {len(_begun(team, one["id"])) for one in everything} == {1}
    assert 1 < most.value <= _LIMIT
    taken = {worker: _taken(team, worker) for worker in ("one", "two")}
    assert all(taken.values())
    assert set(taken["one"]) | set(taken["two"]) == {one["id"] for one in everything}
    for lab, watcher in zip(labs, watchers, strict=True):
        rotation = read_rotation(lab.repository.root, ENVIRONMENT)
        assert (rotation.phase, rotation.next, rotation.claim) == (Phase.OVERLAP, 2, None)
        lab.finish(watcher)
        assert summarise(lab.journal("watch")).failures == ()


class _Most:
    """The most runs of a deployment that were seen running at one instant."""

    value = 0


@contextmanager
def _most_at_once(team: Team, deployment: str) -> Iterator[_Most]:
    most, end = _Most(), threading.Event()

    def look() -> None:
        while not end.wait(1):
            with suppress(HTTPError):  # a server that is busy; there is a next look
                most.value = max(most.value, sum(one["state_type"] == "RUNNING" for one in team.runs(deployment)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        end.set()
        thread.join()


def _share_password(labs: list[Lab]) -> None:
    """Workers have one vault password: that of the first fleet."""
    first = labs[0].repository.password_file
    for lab in labs[1:]:
        own = lab.repository.password_file
        files = ["--vault-password-file", str(own), "--new-vault-password-file", str(first)]
        command = [str(_ANSIBLE_VAULT), "rekey", *files, str(lab.repository.vault)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        own.write_bytes(first.read_bytes())


def _names() -> list[str]:
    return [f"env{number:02}" for number in range(_SCANS)]


def _many_environments(lab: Lab, root: Path) -> Path:
    shutil.copytree(lab.repository.root, root, symlinks=True)
    for name in _names():
        shutil.copytree(root / "environments" / ENVIRONMENT, root / "environments" / name, symlinks=True)
    shutil.rmtree(root / "environments" / ENVIRONMENT)
    return root


def _all_ended(team: Team) -> list[dict[str, Any]] | None:
    runs = team.runs(_SCAN)
    ended = all(one["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") for one in runs)
    return runs if ended and len(runs) >= _SCANS else None


def _begun(team: Team, run: str) -> list[dict[str, Any]]:
    """Each time that a run began to run."""
    states: list[dict[str, Any]] = team.get(f"flow_run_states/?flow_run_id={run}")
    return [state for state in states if state["name"] == "Running"]


def _taken(team: Team, worker: str) -> list[str]:
    """The runs that a worker says it took; one that has to wait for a slot is taken again, by whichever worker."""
    return re.findall(r"submitting flow run '([0-9a-f-]+)'", (team.home / f"{worker}.log").read_text("utf-8"))
