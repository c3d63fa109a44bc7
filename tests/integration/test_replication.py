"""Standbys keep their old certificate until they reconnect, one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.fleet import Lab
from rechain.errors import VerificationFailed
from rechain.login import ClientFiles
from tasks.fleet import replication
from tasks.fleet.connection import Access, Unreadable
from tasks.fleet.replication import ReconnectFailed, Standby, find_primaries, is_in_recovery, reconnect, standbys
from tests.plugins.authority import Authority


def _access(lab: Lab, client: str = "postgres") -> Access:
    directory = lab.primary.client_directory(client)
    names = (directory / name for name in ("postgresql.crt", "postgresql.key", "root.crt"))
    return Access(client, ClientFiles(*map(str, names)))


def _standbys(lab: Lab) -> dict[str, Standby]:
    found = standbys(lab.endpoints[0], _access(lab))
    assert not isinstance(found, Unreadable)
    return {standby.application: standby for standby in found}


def test_who_is_the_primary(lab_fleet: Lab) -> None:
    """It is found among the endpoints, whatever their order."""
    access = _access(lab_fleet)
    assert [is_in_recovery(endpoint, access) for endpoint in lab_fleet.endpoints] == [False, True, True]
    assert find_primaries(reversed(lab_fleet.endpoints), access) == (lab_fleet.primary.endpoint,)
    assert find_primaries(lab_fleet.endpoints[1:], access) == (), "theirs may be in another environment"


def test_two_primaries_or_no_answer_is_said(lab_fleet: Lab) -> None:
    """Without an answer from everyone nobody is taken for the primary."""
    access = _access(lab_fleet)
    two = find_primaries([lab_fleet.endpoints[0], replace(lab_fleet.endpoints[0], host="again")], access)
    assert isinstance(two, Unreadable)
    assert "more than one" in two.reason
    away = find_primaries([*lab_fleet.endpoints, replace(lab_fleet.endpoints[0], port=1)], access)
    assert isinstance(away, Unreadable)
    assert "Connection refused" in away.reason


def test_each_cluster_has_a_primary_of_its_own(lab_fleet: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment may hold many clusters, and servers without a standby."""
    first, second, third = lab_fleet.endpoints
    told = {first: (1, False), second: (2, False), third: (2, True)}
    monkeypatch.setattr(replication, "_cluster", lambda endpoint, _access: told[endpoint])
    assert find_primaries(lab_fleet.endpoints, _access(lab_fleet)) == (first, second)


def test_standbys_as_the_primary_sees_them(lab_fleet: Lab) -> None:
    """Both stream, with no lag on a quiet fleet and the certificate of the role postgres."""
    found = _standbys(lab_fleet)
    assert sorted(found) == ["db2.demo", "db3.demo"]
    assert {(each.state, each.user) for each in found.values()} == {("streaming", "postgres")}
    assert all(each.serial for each in found.values())
    assert isinstance(standbys(lab_fleet.endpoints[0], _access(lab_fleet, "avchecker")), Unreadable)


def test_a_walreceiver_can_not_be_ended_on_its_own_server(lab_fleet: Lab) -> None:
    """It is no regular backend, which is why its walsender is ended instead."""
    with lab_fleet.standbys[0].server.connect() as session:
        ended = session.execute("select pg_terminate_backend(pid) from pg_stat_wal_receiver").fetchone()
    assert ended == (False,)


def test_a_standby_reconnects_and_catches_up(lab_fleet: Lab) -> None:
    """It has a new walsender and no lag afterwards, under writes too; the other one is left alone."""
    before = _standbys(lab_fleet)
    with lab_fleet.primary.server.connect() as session:
        session.execute("create table if not exists reconnected as select * from generate_series(1, 1000)")
    after = reconnect(lab_fleet.endpoints[0], _access(lab_fleet), before["db2.demo"], renewed=False, timeout_s=30)
    assert after.pid != before["db2.demo"].pid
    assert (after.state, after.application) == ("streaming", "db2.demo")
    now = _standbys(lab_fleet)
    assert now["db2.demo"].pid == after.pid
    assert now["db3.demo"] == replace(
        before["db3.demo"], lag_bytes=now["db3.demo"].lag_bytes, flushed=now["db3.demo"].flushed
    )


def test_a_standby_that_has_already_come_back(lab_fleet: Lab) -> None:
    """A walsender that is gone meanwhile is no failure, and nobody else's is ended in its place."""
    seen = replace(_standbys(lab_fleet)["db3.demo"], pid=2**22 + 1)
    after = reconnect(lab_fleet.endpoints[0], _access(lab_fleet), seen, renewed=False, timeout_s=30)
    assert after.pid == _standbys(lab_fleet)["db3.demo"].pid


def test_a_role_that_may_not_signal(lab_fleet: Lab) -> None:
    """The refusal says so, instead of waiting for a standby that was never disturbed."""
    standby = _standbys(lab_fleet)["db3.demo"]
    with lab_fleet.primary.server.connect() as session:
        session.execute("grant pg_read_all_stats to avchecker")
    try:
        with pytest.raises(VerificationFailed, match=r"permission denied|must be"):
            reconnect(lab_fleet.endpoints[0], _access(lab_fleet, "avchecker"), standby, renewed=False, timeout_s=5)
    finally:
        with lab_fleet.primary.server.connect() as session:
            session.execute("revoke pg_read_all_stats from avchecker")
    assert _standbys(lab_fleet)["db3.demo"].pid == standby.pid


def test_the_certificate_changes_with_the_reconnect_alone(new_lab: Callable[..., Lab]) -> None:
    """New files on the standby's host are not used until it reconnects; one that has none new is told apart."""
    lab, authority = new_lab(), Authority("next")
    before = _standbys(lab)
    _trust(lab, authority)
    leaf = authority.client("postgres")
    _install(lab, lab.standbys[0].client_directory("postgres"), leaf.chain_pem, leaf.key_pem)
    assert _standbys(lab)["db2.demo"].serial == before["db2.demo"].serial
    after = reconnect(lab.endpoints[0], _access(lab), before["db2.demo"], renewed=True, timeout_s=30)
    assert after.serial == leaf.value.serial
    with pytest.raises(ReconnectFailed, match="with the certificate that it had"):
        reconnect(lab.endpoints[0], _access(lab), before["db3.demo"], renewed=True, timeout_s=30)


def test_a_standby_that_does_not_come_back(new_lab: Callable[..., Lab]) -> None:
    """Files that the primary refuses show as a standby that stays away, within the time limit."""
    lab = new_lab()
    leaf = Authority("unknown").client("postgres")
    _install(lab, lab.standbys[0].client_directory("postgres"), leaf.chain_pem, leaf.key_pem)
    started = time.monotonic()
    with pytest.raises(ReconnectFailed, match=r"db2\.demo .* it has not come back"):
        reconnect(lab.endpoints[0], _access(lab), _standbys(lab)["db2.demo"], renewed=True, timeout_s=4)
    assert time.monotonic() - started < 10


def _trust(lab: Lab, authority: Authority) -> None:
    host = lab.primary
    host.write_client_bundle((host.server_directory / "root.crt").read_text() + authority.client_bundle)
    host.server.reload()
    time.sleep(0.5)


def _install(lab: Lab, directory: Path, chain_pem: str, key_pem: str) -> None:
    for name, text in (("postgresql.crt", chain_pem), ("postgresql.key", key_pem)):
        (directory / name).write_text(text)
        lab.account.own(directory / name, 0o600)
