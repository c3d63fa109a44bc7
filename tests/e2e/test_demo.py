"""Must-show rows 1 and 2: the demo refreshes a live fleet without a failed login, and its control sees the outage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.demo import NEW_CLIENT
from lab.environment import SERVERS
from lab.login import read_journal
from lab.store import ETCD

_RECHAIN = Path(sys.executable).with_name("rechain")


def _demo(state: Path, prefect_api: dict[str, str], *options: str) -> tuple[str, dict[str, Any]]:
    done = subprocess.run(
        [str(_RECHAIN), "demo", "--state", str(state), *options],
        env={**os.environ, **prefect_api},
        capture_output=True,
        text=True,
        timeout=1000,  # two slow cores may be busy with another test
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads((state / "report.json").read_text())
    return done.stdout.strip().splitlines()[-1], report


@pytest.mark.timeout(1200)
def test_the_demo_tries_a_thousand_logins_and_none_fails(tmp_path: Path, prefect_api: dict[str, str]) -> None:
    """Phases in order, a hundred logins in each, retired material refused; the last line says it."""
    last, report = _demo(tmp_path / "demo", prefect_api)
    assert [phase["name"] for phase in report["phases"]] == ["issued", "overlap", "servers", "clients", "retired"]
    assert all(phase["attempted"] >= 100 and phase["failed"] == 0 for phase in report["phases"]), report["phases"]
    assert report["canary"]["attempted"] >= 1000
    assert report["canary"]["failed"] == 0
    assert report["retired_refused"] is True
    assert (report["schema"], report["outcome"], report["resting_phase"]) == (1, "done", "retired")
    assert last.startswith(f"{report['canary']['attempted']} logins were tried, none failed")


@pytest.mark.usefixtures("machines_fit")
@pytest.mark.timeout(1200)
def test_the_demo_on_machines_loses_no_login_on_any_path(tmp_path: Path, prefect_api: dict[str, str]) -> None:
    """Over SSH, by a deploy user with sudo; directly, through PgBouncer, through HAProxy, and to etcd."""
    last, report = _demo(tmp_path / "demo", prefect_api, "--hosts")
    assert [phase["name"] for phase in report["phases"]] == ["issued", "overlap", "servers", "clients", "retired"]
    assert (report["outcome"], report["canary"]["failed"]) == ("done", 0)
    assert last.startswith(f"{report['canary']['attempted']} logins were tried, none failed")
    visits = read_journal(tmp_path / "demo" / "watch.jsonl")
    assert [visit for visit in visits if not visit.ok] == []
    servers = {f"{name}:5432" for name in SERVERS}
    assert {visit.endpoint for visit in visits} == {*servers, "pool.demo:6432", "vip.demo:5000", ETCD}
    hosts = yaml.safe_load((tmp_path / "demo/repo/environments/demo/hosts").read_text())
    assert (hosts["all"]["vars"]["ansible_user"], hosts["all"]["vars"]["ansible_become"]) == ("deploy", True)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_demo_adds_a_client_and_no_login_fails(tmp_path: Path, prefect_api: dict[str, str]) -> None:
    """A team asks for a login and gets it, while everybody else goes on."""
    last, report = _demo(tmp_path / "demo", prefect_api, "--strategy", "add-clients")
    assert (report["strategy"], report["outcome"], report["outage"]) == ("add-clients", "done", None)
    assert report["canary"]["attempted"] > 0
    assert last.startswith(f"{report['canary']['attempted']} logins were tried, none failed")
    certs = yaml.safe_load((tmp_path / "demo/repo/environments/demo/group_vars/all/certs.yml").read_text())
    assert NEW_CLIENT in certs["certs"]["client"]


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_control_reports_the_logins_that_one_step_costs(tmp_path: Path, prefect_api: dict[str, str]) -> None:
    """Replacing everything at once fails logins, and the same canary counts them."""
    last, report = _demo(tmp_path / "demo", prefect_api, "--control")
    assert report["strategy"] == "downtime"
    assert report["canary"]["failed"] >= 10
    assert report["outage"]["seconds"] > 0
    assert f"{report['canary']['failed']} failed" in last
