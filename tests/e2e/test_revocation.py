"""Revocation on real servers: during a rotation and after it, and a list that would have ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from lab.environment import ENVIRONMENT, EXTERNAL
from lab.fleet import Lab
from lab.login import Identity, connect, log_in
from lab.watch import summarise
from rechain.crl import Crl, read_crls
from rechain.revocation import LIFETIME, sign, signers
from tasks.repository.generations import read_ca_keys, read_generation
from tasks.repository.revocations import keep_generation_crls, pem_of
from tests.plugins.desk import WAITING, Desk

LEAVER = "pgfga"


def _have_lists_read(lab: Lab) -> None:
    """The DBA says in the inventory that the servers judge by lists."""
    inventory = yaml.safe_load(lab.repository.inventory.read_text("utf-8"))
    for variables in inventory["all"]["children"]["hacluster"]["hosts"].values():
        variables["rechain_services"][0]["crl"] = "root.crl"
    lab.repository.inventory.write_text(yaml.safe_dump(inventory, sort_keys=False), "utf-8")


def _list_file(lab: Lab, number: int = 0) -> Path:
    return lab.hosts[number].server_directory / "root.crl"


def _set_servers(lab: Lab) -> None:
    """And sets ssl_crl_file, which is his to set."""
    for number, host in enumerate(lab.hosts):
        with host.server.connect() as session:
            session.execute(f"alter system set ssl_crl_file = '{_list_file(lab, number)}'".encode())
            session.execute("select pg_reload_conf()")


def _identities(lab: Lab, client: str, *, others: bool = False) -> list[Identity]:
    return [one for one in lab.identities if (one.client == client) is not others]


def _refused(lab: Lab, client: str) -> None:
    """Every server refuses every copy of a client's files, and says why."""
    tried = [log_in(one, endpoint) for one in _identities(lab, client) for endpoint in lab.endpoints]
    assert len(tried) >= len(lab.endpoints)
    assert all("certificate revoked" in (one.error or "") for one in tried), tried


def _log_in(lab: Lab, *clients: str) -> None:
    tried = [log_in(one, endpoint) for name in clients for one in _identities(lab, name) for endpoint in lab.endpoints]
    assert [one for one in tried if not one.ok] == []


def _lists_on_host(lab: Lab, number: int = 0) -> tuple[Crl, ...]:
    return read_crls(_list_file(lab, number).read_text("ascii"), "root.crl")


def _ending(lab: Lab, made: datetime) -> tuple[Crl, ...]:
    """The lists of the current generation as they would be if nobody had renewed them since a day."""
    root = lab.repository.root
    generation, keys = read_generation(root, ENVIRONMENT, 2), read_ca_keys(root, ENVIRONMENT, 2)
    return tuple(
        sign(authority, (), number=1, now=made, until=made + LIFETIME)
        for _, authority in signers(generation.client_bundle, keys)
    )


def _install_by_hand(lab: Lab, crls: tuple[Crl, ...]) -> None:
    keep_generation_crls(lab.repository.root, ENVIRONMENT, 2, crls)
    for number, host in enumerate(lab.hosts):
        _list_file(lab, number).write_text(pem_of(crls), "ascii")
        host.server.reload()


def _nights(desk: Desk) -> None:
    """A list that ends in ten days is renewed in time; one that has ended stops everybody, and is renewed too."""
    lab, now = desk.lab, datetime.now(UTC)
    _install_by_hand(lab, _ending(lab, now - timedelta(days=80)))
    assert desk.run("refresh-crls").stdout == f"new lists in: {ENVIRONMENT}\n"
    for number in range(len(lab.hosts)):
        lists = _lists_on_host(lab, number)
        assert [one.number for one in lists] == [2, 2]
        assert all(one.next_update and one.next_update > now + timedelta(days=85) for one in lists)
    _log_in(lab, EXTERNAL, LEAVER)
    _install_by_hand(lab, _ending(lab, now - timedelta(days=91)))
    assert not log_in(lab.owner.identity, lab.primary.endpoint).ok
    desk.run("verify", ENVIRONMENT, expect=1)
    desk.run("refresh-crls", ENVIRONMENT)
    desk.run("verify", ENVIRONMENT)
    assert desk.run("refresh-crls", ENVIRONMENT).stdout == "nothing was due, and every list is in place\n"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_revoked_client_is_refused_everywhere_and_nobody_else_is(
    new_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From no list at all, through a rotation in which both generations have lists, to a new certificate for it."""
    desk = new_desk()
    lab = desk.lab
    for name, value in lab.repository.variables.items():
        monkeypatch.setenv(name, value)
    desk.refresh("--strategy", "downtime")
    lab.owner.install_bundle()
    lab.owner.take_delivery()
    _take_into_use(desk)
    _nights(desk)
    desk.refresh("--until", "overlap")
    watcher = lab.run_watcher(identities=_identities(lab, LEAVER, others=True))
    _revoke_in_overlap(desk)
    _finish(desk)
    _renew_the_revoked(desk)
    lab.finish(watcher)
    seen = summarise(lab.journal("watch"))
    assert seen.failures == ()
    assert seen.attempted > 200
    _revoke_at_rest(desk)


def _take_into_use(desk: Desk) -> None:
    """Each step that is still missing is named, and nothing is done before."""
    _cannot_revoke(desk, "reads no revocation list")
    _have_lists_read(desk.lab)
    desk.run("refresh-crls", ENVIRONMENT)
    _cannot_revoke(desk, f"set ssl_crl_file = '{_list_file(desk.lab)}'")
    _set_servers(desk.lab)


def _cannot_revoke(desk: Desk, why: str) -> None:
    told = desk.run("revoke", ENVIRONMENT, LEAVER, "--reason", "left", "--yes", expect=2)
    assert why in told.stderr
    assert not (desk.lab.repository.root / "rechain" / ENVIRONMENT / "revoked.yml").exists()


def _revoke_in_overlap(desk: Desk) -> None:
    """The leaf of either generation is refused; a session that was open lives on, and is named."""
    lab = desk.lab
    with connect(_identities(lab, LEAVER)[0], lab.primary.endpoint) as session:
        report = desk.json("revoke", ENVIRONMENT, LEAVER, "--reason", "left", "--yes")
        assert session.execute("select 1").fetchone() == (1,)
    assert [one["generation"] for one in report["revoked"]] == [2, 3]
    assert report["refused"] == 2 * len(lab.endpoints)
    assert (report["not_tested"], report["canary"]["failed"]) == ([], 0)
    assert report["canary"]["attempted"] > 0
    (still_open,) = report["sessions"]
    assert still_open.startswith(f"{LEAVER} from ")
    _refused(lab, LEAVER)
    assert len(_lists_on_host(lab)) == 4  # root and intermediate of both generations


def _finish(desk: Desk) -> None:
    """The rotation goes on; the revoked client stays refused with its next leaf, too.

    That it tried to log in stands in the servers' logs, which before PostgreSQL 16 do not say who it was.
    """
    lab = desk.lab
    waiting = desk.refresh("--until", "servers", expect=WAITING)["waiting_for"]
    assert {one["gate"] for one in waiting} == {"external-trust", "server-log"}
    desk.run("approve", ENVIRONMENT, "server-log", "--reason", "the revoked one tries on")
    desk.trust()
    desk.refresh("--until", "clients")
    lab.owner.take_delivery()
    desk.approve("clients")
    assert desk.refresh()["retired_refused"] is True
    _refused(lab, LEAVER)
    desk.run("verify", ENVIRONMENT)
    assert len(_lists_on_host(lab)) == 2


def _renew_the_revoked(desk: Desk) -> None:
    """Revoking again changes nothing; asked for by name, the client gets a new certificate."""
    again = desk.json("revoke", ENVIRONMENT, LEAVER, "--reason", "another reason", "--yes")
    assert [one["reason"] for one in again["revoked"]] == ["left"]
    desk.refresh("--strategy", "add-clients", "--client", LEAVER)
    _log_in(desk.lab, LEAVER)


def _revoke_at_rest(desk: Desk) -> None:
    report = desk.json("revoke", ENVIRONMENT, EXTERNAL, "--reason", "its laptop was stolen", "--yes")
    assert (len(report["revoked"]), report["canary"]["failed"]) == (1, 0)
    _refused(desk.lab, EXTERNAL)
    _log_in(desk.lab, LEAVER, "postgres", "avchecker")
