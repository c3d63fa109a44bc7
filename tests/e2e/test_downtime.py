"""Strategy downtime: it reports the outage that it caused, and works from expired chains and from none."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lab.environment import BACKUP, CLIENTS, ENVIRONMENT, SERVERS
from lab.fleet import Lab
from lab.login import log_in
from lab.watch import summarise
from rechain.phase import Phase
from rechain.rotation import beginning
from tasks.repository.rotation_yaml import read_rotation, write_rotation
from tests.faults.seen import Moment, Victim, generations, kill, start_and_wait
from tests.inventories import set_reload
from tests.plugins.desk import Desk
from tests.plugins.shifted_clock import environment_at, variables

_CLOCK = environment_at(Path(), datetime.now(UTC)).keys()
LONG_AGO = datetime.now(UTC) - timedelta(days=15 * 365)


def _log_in_all(lab: Lab) -> None:
    """Everybody on every endpoint, from the files on the hosts; the external owner takes its delivery first."""
    lab.owner.install_bundle()
    lab.owner.take_delivery()
    refused = [
        f"{identity.client} on {endpoint}: {entry.error}"
        for identity in lab.identities
        for endpoint in lab.endpoints
        if not (entry := log_in(identity, endpoint)).ok and identity.has_role
    ]
    assert refused == []


def _digests(lab: Lab) -> dict[str, str]:
    kept = [lab.directory / host.name / part for host in lab.hosts for part in ("pki", "home")]
    paths = [path for folder in kept for path in folder.rglob("*") if path.suffix in {".crt", ".key"}]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if ".rechain" not in str(path)}


@pytest.mark.timeout(1200)
def test_the_outage_that_is_reported_is_the_one_that_was(new_desk: Callable[..., Desk]) -> None:
    """Equal to what an independent watcher saw, within a second; then everybody logs in with new certificates."""
    desk = new_desk(canary_interval_ms=50)
    lab = desk.lab
    watched = [one for one in lab.identities if one.client not in ("applicatie", BACKUP)]
    watcher = lab.run_watcher(interval_ms=50, identities=watched)

    report = desk.refresh("--strategy", "downtime")

    lab.finish(watcher)
    failures = summarise(lab.journal("watch")).failures
    seen_s = (max(one.at_ms for one in failures) - min(one.at_ms for one in failures)) / 1000
    assert report["strategy"] == "downtime"
    assert report["resting_phase"] == "retired"
    assert abs(report["outage"]["seconds"] - seen_s) < 1, (report["outage"], seen_s)
    _log_in_all(lab)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_chain_that_has_expired_is_replaced(new_desk: Callable[..., Desk], faketime: Path) -> None:
    """Nobody can log in, replication is broken too; minimal impact refuses and names the way out."""
    with variables(environment_at(faketime, LONG_AGO)):
        desk = new_desk()
    desk = replace(desk, environment={name: value for name, value in desk.environment.items() if name not in _CLOCK})
    lab = desk.lab
    for host in lab.hosts:
        lab.restart(host)
    assert "certificate verify failed" in str(log_in(lab.identities[0], lab.endpoints[0]).error)
    refused = desk.run("refresh", ENVIRONMENT, "--yes", expect=2)
    assert "--strategy downtime" in refused.stderr

    report = desk.refresh("--strategy", "downtime")

    assert report["resting_phase"] == "retired"
    _log_in_all(lab)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_an_environment_without_certificates_gets_its_first(new_desk: Callable[..., Desk]) -> None:
    """Servers that can't even start are given their files, started, and proven.

    The first roll-out is killed: until one has ended, whatever is run goes on with generation 1 or says that it must
    be rolled out, and nothing is issued again. A fleet that got it by another playbook is believed once it was seen.
    """
    desk = new_desk()
    lab = desk.lab
    for host in reversed(lab.hosts):
        host.server.stop()
        for path in host.server_directory.iterdir():
            path.unlink()
        for client in (lab.directory / host.name / "home").iterdir():
            shutil.rmtree(client / ".postgresql")
    lab.repository.certs.unlink()
    lab.repository.vault.unlink()

    kill(start_and_wait(desk, Phase.RETIRED, Moment.WRITTEN, "--strategy", "downtime"), Victim.TREE)
    first = generations(lab.repository.root)
    assert set(first) == {"generation-1"}
    assert desk.json("generate", ENVIRONMENT)["next"] == 1
    for command in ("refresh", "rollback"):
        assert "--strategy downtime" in desk.run(command, ENVIRONMENT, "--yes", expect=2).stderr
    assert (desk.status()["phase"], desk.status()["target"]) == ("issued", "retired")

    report = desk.refresh("--strategy", "downtime")

    assert report["resting_phase"] == "retired"
    assert generations(lab.repository.root) == first
    assert set(lab.repository.deployed()["client"]) == {"chain", *CLIENTS}
    assert set(lab.repository.deployed()["server"]) == {"chain", *SERVERS}
    _log_in_all(lab)

    rested = read_rotation(lab.repository.root, ENVIRONMENT)
    write_rotation(lab.repository.root, ENVIRONMENT, beginning(rested, 1))  # as `generate` left it, then rolled out
    assert desk.refresh("--until", "issued")["resting_phase"] == "issued"
    assert (desk.status()["current"], desk.status()["next"]) == (1, 2)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_host_that_fails_half_way_leaves_everything_as_it_was(new_desk: Callable[..., Desk]) -> None:
    """Hosts before it get their previous sets back, and so does the repository; nobody is locked out."""
    desk = new_desk()
    lab = desk.lab
    before, certs = _digests(lab), lab.repository.certs.read_bytes()
    set_reload(lab, lab.hosts[2], "false")

    failed = desk.run("refresh", ENVIRONMENT, "--yes", "--strategy", "downtime", expect=1)

    assert SERVERS[2] in failed.stderr
    assert _digests(lab) == before
    assert lab.repository.certs.read_bytes() == certs
    assert desk.status()["phase"] == "issued"
    assert all(
        log_in(identity, endpoint).ok for identity in lab.identities if identity.has_role for endpoint in lab.endpoints
    )

    set_reload(lab, lab.hosts[2], lab.hosts[2].server.reload_command)
    assert desk.refresh("--strategy", "downtime")["resting_phase"] == "retired"
    _log_in_all(lab)
