"""A whole rotation on a live fleet, by hand from the command line, with an organisation's own CA in the bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.environment import ENVIRONMENT, EXTERNAL, SERVERS
from lab.login import Identity, log_in
from lab.watch import summarise
from tasks.repository.certs_yaml import read_certs
from tests.plugins.desk import WAITING, Desk
from tests.run_pages import last_page

NEW = "rapportage"


@pytest.mark.timeout(1200)
def test_a_rotation_loses_no_login_and_keeps_its_gates_shut_until_there_is_evidence(
    new_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    """Adopted from chainsmith's Go style, through every gate, to `retired` and back: nobody fails to log in.

    An organisation's own CA stays trusted, a session on a current certificate keeps the gate shut and is named,
    silence of an external client keeps it shut too, evidence opens it, and from `retired` the old login works again.
    """
    desk = new_desk()
    lab = desk.lab
    foreign = lab.add_foreign_client()
    application = lab.run_application()
    watcher = lab.run_watcher(identities=[*lab.identities, foreign.identity])

    first = desk.refresh(expect=WAITING)
    assert first["resting_phase"] == "overlap", first["waiting_for"]
    assert _gates(first) == {("external-trust", EXTERNAL), ("external-trust", "Elders BV root")}
    _shows_what_waits(desk)
    foreign.install_bundle()
    desk.approve("external-trust", client="Elders BV root")
    desk.trust()

    second = desk.refresh(expect=WAITING)
    assert second["resting_phase"] == "clients", second["waiting_for"]
    assert {client for _, client in _gates(second)} == {EXTERNAL}
    told = " ".join(one["reason"] for one in second["waiting_for"])
    old_serial = _serial(desk)
    assert f"session of {EXTERNAL} from 127.0.0.1" in told
    assert old_serial in told

    lab.finish(application)
    silent = desk.refresh(expect=WAITING)
    assert "was not seen" in silent["waiting_for"][0]["reason"]

    retired = Identity(EXTERNAL, "retired", str(shutil.copytree(lab.owner.directory / "current", tmp_path / "retired")))
    lab.owner.take_delivery()
    application = lab.run_application()
    last = desk.refresh()
    assert last["retired_refused"] is True
    assert last["resting_phase"] == "retired"
    assert [phase["name"] for phase in last["phases"]] == ["issued", "overlap", "servers", "clients", "retired"]
    assert last["canary"]["failed"] == 0

    assert "unknown ca" in str(log_in(retired, lab.endpoints[0]).error)
    back = desk.json("rollback", ENVIRONMENT, "--yes")
    assert back["resting_phase"] == "clients"
    assert all(log_in(retired, endpoint).ok for endpoint in lab.endpoints), "the previous generation logs in again"
    certs = lab.repository.certs.read_text()
    assert "can't be walked back any further" in desk.run("rollback", ENVIRONMENT, "--yes", expect=2).stderr
    assert lab.repository.certs.read_text() == certs, "there are no keys for the previous leaves any more"
    desk.run("verify", ENVIRONMENT)
    _gains_a_client(desk)

    lab.finish(application)
    lab.finish(watcher)
    seen = summarise(lab.journal("watch"))
    assert seen.failures == ()
    assert {"auditor", EXTERNAL, "postgres", "avchecker", "pgquartz", "pgfga"} <= seen.clients
    assert seen.attempted > 200


def _shows_what_waits(desk: Desk) -> None:
    """The page of a run that ended at a gate: what was planned, where it rests, and how the gate opens."""
    page = last_page(desk.environment["PREFECT_API_URL"], f"refresh-{ENVIRONMENT}")
    assert page.types == {
        f"plan-{ENVIRONMENT}": "table",
        f"plan-{ENVIRONMENT}-notes": "markdown",
        f"progress-{ENVIRONMENT}": "progress",
        f"hosts-{ENVIRONMENT}": "table",
        f"logins-{ENVIRONMENT}": "table",
        f"canary-{ENVIRONMENT}": "image",
        f"report-{ENVIRONMENT}": "markdown",
    }
    plan = page.rows(f"plan-{ENVIRONMENT}")
    assert {row["phase"] for row in plan} == {"overlap", "servers", "clients", "retired"}
    assert {row["host"] for row in plan} >= set(SERVERS)
    assert page.artifacts[f"progress-{ENVIRONMENT}"]["data"] == 25
    assert f"rechain approve {ENVIRONMENT} external-trust --client {EXTERNAL}" in page.text(f"report-{ENVIRONMENT}")
    assert f"{ENVIRONMENT}: verify overlap" in page.tasks
    assert any(name.startswith(f"{ENVIRONMENT}: distribute overlap to ") for name in page.tasks)


def _gains_a_client(desk: Desk) -> None:
    """Its leaf is of the generation that is in use: the other one's keys are gone."""
    with desk.lab.primary.server.connect() as session:
        session.execute(f'create role "{NEW}" login'.encode())
    desk.run("config", "add-client", ENVIRONMENT, NEW)
    assert desk.refresh("--strategy", "add-clients")["canary"]["failed"] == 0
    logins = [one for one in desk.json("verify", ENVIRONMENT)["logins"] if one["client"] == NEW]
    assert [one["verdict"] for one in logins] == ["logged_in"] * len(desk.lab.endpoints)


def _gates(report: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["gate"], one["client"]) for one in report["waiting_for"]}


def _serial(desk: Desk) -> str:
    """The serial of the external client's certificate of generation 1."""
    kept = desk.lab.repository.root / "rechain" / ENVIRONMENT / "generation-1" / "certs.yml"
    return f"{read_certs(kept).clients[EXTERNAL].leaf.serial:x}"
