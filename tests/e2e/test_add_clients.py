"""Strategy add-clients on a live fleet: new clients log in everywhere, and nothing else moves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lab.environment import BACKUP, ENVIRONMENT, EXTERNAL
from lab.fleet import Lab
from lab.login import Identity, log_in
from lab.watch import summarise
from rechain.generation import Side
from tests.plugins.desk import Desk

MANAGED, OUTSIDE = "pgexport", "rapportage"


def _add_to_spec(lab: Lab, *names: str) -> None:
    path = lab.repository.root / "config" / f"chainsmith_{ENVIRONMENT}.yml"
    spec = yaml.safe_load(path.read_text("utf-8"))
    spec["intermediates"][1]["clients"] += names
    path.write_text(yaml.safe_dump(spec, sort_keys=False), "utf-8")
    with lab.primary.server.connect() as session:
        for name in names:
            session.execute(f'create role "{name}" login'.encode())


def _manage(lab: Lab, name: str) -> Identity:
    """Let the inventory say that a client's files are on the primary."""
    directory = lab.primary.client_directory(name)
    directory.parent.mkdir()
    lab.account.own(directory.parent, 0o755)
    inventory = yaml.safe_load(lab.repository.inventory.read_text("utf-8"))
    variables = inventory["all"]["children"]["hacluster"]["hosts"][lab.primary.name]
    variables["rechain_clients"].append({"name": name, "cert_dir": str(directory), "owner": lab.account.name})
    lab.repository.inventory.write_text(yaml.safe_dump(inventory, sort_keys=False), "utf-8")
    return Identity(name, lab.primary.name, str(directory))


def _files(lab: Lab) -> dict[str, str]:
    """Every certificate and key on the hosts, by path, and the digest of its content."""
    kept = [lab.directory / host.name / part for host in lab.hosts for part in ("pki", "home")]
    paths = [path for folder in kept for path in folder.rglob("*") if path.suffix in {".crt", ".key"}]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if ".rechain" not in str(path)}


def _started(lab: Lab) -> list[object]:
    seen: list[object] = []
    for host in lab.hosts:
        with host.server.connect() as session:
            seen.append(session.execute("select pg_postmaster_start_time()").fetchone())
    return seen


def _log_in_everywhere(desk: Desk, managed: Identity) -> None:
    """The new clients, from a host's files and from the repository's."""
    lab = desk.lab
    assert all(log_in(managed, endpoint).ok for endpoint in lab.endpoints)
    logins = [one for one in desk.json("verify", ENVIRONMENT)["logins"] if one["client"] in (MANAGED, OUTSIDE)]
    assert {one["verdict"] for one in logins} == {"logged_in"}
    assert len(logins) == 2 * len(lab.endpoints)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_an_adopted_environment_gains_clients_under_a_chain_of_their_own(new_desk: Callable[..., Desk]) -> None:
    """Chainsmith kept no CA key: a further client root joins the servers' bundle, and nobody present is disturbed."""
    desk = new_desk()
    lab = desk.lab
    before, started, deployed = _files(lab), _started(lab), lab.repository.deployed()
    watcher = lab.run_watcher()
    _add_to_spec(lab, MANAGED, OUTSIDE)
    managed = _manage(lab, MANAGED)

    report = desk.refresh("--strategy", "add-clients")

    assert (report["outcome"], report["strategy"], report["canary"]["failed"]) == ("done", "add-clients", 0)
    assert report["canary"]["attempted"] > 0
    _log_in_everywhere(desk, managed)
    lab.finish(watcher)
    seen = summarise(lab.journal("watch"))
    assert seen.failures == ()
    assert seen.attempted > 50
    after = _files(lab)
    bundles = {str(host.server_directory / "root.crt") for host in lab.hosts}
    assert {path for path in before if before[path] != after[path]} == bundles
    assert {Path(path).parent.parent.name for path in after.keys() - before.keys()} == {MANAGED}
    assert _started(lab) == started
    now = lab.repository.deployed()
    assert all(now[Side.CLIENT][name] == pem for name, pem in deployed[Side.CLIENT].items() if name != "chain")
    assert now[Side.SERVER] == deployed[Side.SERVER]

    again = desk.refresh("--strategy", "add-clients")
    assert again["canary"]["failed"] == 0
    assert lab.repository.deployed() == now
    assert _files(lab) == after


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_known_intermediate_signs_and_only_the_new_client_s_files_appear(new_desk: Callable[..., Desk]) -> None:
    """In a chain of our own the client intermediate's key is known: bundles stay as they are, byte for byte."""
    desk = new_desk()
    lab = desk.lab
    desk.refresh("--strategy", "downtime")
    lab.owner.install_bundle()
    lab.owner.take_delivery()
    before, started, deployed = _files(lab), _started(lab), lab.repository.deployed()
    watcher = lab.run_watcher()
    _add_to_spec(lab, MANAGED, OUTSIDE)
    managed = _manage(lab, MANAGED)

    refused = desk.run("refresh", ENVIRONMENT, "--strategy", "add-clients", "--client", "nobody", "--yes", expect=2)
    assert "has no client 'nobody'" in refused.stderr
    desk.refresh("--strategy", "add-clients", "--client", MANAGED)
    assert MANAGED in lab.repository.deployed()[Side.CLIENT]
    assert OUTSIDE not in lab.repository.deployed()[Side.CLIENT]
    assert desk.refresh("--strategy", "add-clients")["canary"]["failed"] == 0

    _log_in_everywhere(desk, managed)
    lab.finish(watcher)
    assert summarise(lab.journal("watch")).failures == ()
    after, now = _files(lab), lab.repository.deployed()
    assert {path: after[path] for path in before} == before
    assert {Path(path).parent.parent.name for path in after.keys() - before.keys()} == {MANAGED}
    assert now[Side.CLIENT]["chain"] == deployed[Side.CLIENT]["chain"]
    assert _started(lab) == started
    assert {EXTERNAL, BACKUP} <= now[Side.CLIENT].keys()
