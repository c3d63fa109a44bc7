"""Which walreceiver is whose, and whether it streams, as standbys tell it themselves."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from lab.fleet import Lab
from lab.host import Host
from rechain.errors import VerificationFailed
from rechain.fleet import Endpoint
from rechain.login import ClientFiles
from tasks.fleet.connection import Access, Unreadable
from tasks.fleet.receiver import Stream, streams, wait_for_stream
from tasks.fleet.replication import ReconnectFailed, Standby, replays, standbys
from tests.standbys import configure, point, wait_until_streaming


def _access(lab: Lab, client: str = "postgres") -> Access:
    directory = lab.primary.client_directory(client)
    names = (directory / name for name in ("postgresql.crt", "postgresql.key", "root.crt"))
    return Access(client, ClientFiles(*map(str, names)))


def _streams(lab: Lab, *endpoints: Endpoint) -> tuple[Stream, ...]:
    found, unread = streams(endpoints or lab.endpoints, _access(lab))
    assert unread == ()
    return found


def _told(lab: Lab) -> set[tuple[str, str | None]]:
    """Upstream and standby, by host."""
    return {(one.upstream.host, one.standby.host if one.standby else None) for one in _streams(lab)}


def test_each_standby_is_told_apart(lab_fleet: Lab) -> None:
    """On one machine, where all of them come from the same address; of an upstream that is unknown nothing is said."""
    assert _told(lab_fleet) == {("db1.demo", "db2.demo"), ("db1.demo", "db3.demo")}
    assert _streams(lab_fleet, *lab_fleet.endpoints[1:]) == ()
    assert [one.standby for one in _streams(lab_fleet, *lab_fleet.endpoints[:2])] == [lab_fleet.endpoints[1]]


def test_a_server_that_can_not_be_asked_is_named(lab_fleet: Lab) -> None:
    """The others are told apart all the same; a role that may not look is not taken for silence."""
    gone = Endpoint("gone", "gone.demo", "127.0.0.1", 1)
    found, unread = streams([*lab_fleet.endpoints, gone], _access(lab_fleet))
    assert len(found) == 2
    assert [one.where for one in unread] == ["gone.demo:1"]
    found, unread = streams(lab_fleet.endpoints, _access(lab_fleet, "avchecker"))
    assert found == ()
    assert {one.reason for one in unread} == {"role avchecker lacks pg_read_all_stats"}


def test_equal_names_are_told_apart_by_slots_or_not_at_all(new_lab: Callable[..., Lab]) -> None:
    """Also in a cascade: the same name at two servers is nobody's."""
    lab = new_lab()
    one, other = lab.standbys
    point(other, application_name="two words", fallback_application_name="unused")
    wait_until_streaming(other)
    assert _told(lab) == {("db1.demo", "db2.demo"), ("db1.demo", "db3.demo")}

    for host in lab.standbys:
        point(host, application_name="walreceiver")
        wait_until_streaming(host)
    _until(lambda: _told(lab) == {("db1.demo", None)} and len(_streams(lab)) == 2)

    with lab.primary.server.connect() as session:
        session.execute("SELECT pg_create_physical_replication_slot('other')")
    configure(other, primary_slot_name="other")
    _until(lambda: _told(lab) == {("db1.demo", "db2.demo"), ("db1.demo", "db3.demo")})

    configure(other, primary_slot_name="")
    point(other, host=one.name, hostaddr=one.server.address)
    _until(lambda: _told(lab) == {("db1.demo", None), ("db2.demo", None)})
    point(other, application_name="cascading")
    _until(lambda: _told(lab) == {("db1.demo", "db2.demo"), ("db2.demo", "db3.demo")})


def test_a_standby_that_should_stream_and_does_not_is_told(new_lab: Callable[..., Lab]) -> None:
    """A primary, and a standby that restores from an archive alone, are not waited for."""
    lab = new_lab()
    standby = lab.standbys[0]
    for endpoint in lab.endpoints:
        wait_for_stream(endpoint, _access(lab), timeout_s=0)
    point(standby, port=1)
    _until(lambda: not [one for one in _streams(lab) if one.standby == standby.endpoint])
    started = time.monotonic()
    with pytest.raises(ReconnectFailed, match=r"standby db2\.demo:\d+: it has not streamed from any server for 2 s"):
        wait_for_stream(standby.endpoint, _access(lab), timeout_s=2)
    assert 2 <= time.monotonic() - started < 10
    configure(standby, primary_conninfo="")
    wait_for_stream(standby.endpoint, _access(lab), timeout_s=0)
    point(standby, port=1)
    with pytest.raises(VerificationFailed, match="Connection refused"):
        wait_for_stream(Endpoint("db2.demo", "db2.demo", standby.server.address, 1), _access(lab), timeout_s=2)


def test_a_standby_that_replays_late_is_known(new_lab: Callable[..., Lab]) -> None:
    """If its walreceiver ended it would stay away for as long as it holds back; then it is not waited for."""
    lab = new_lab()
    standby, access = lab.standbys[0], _access(lab)
    assert replays(lab.primary.endpoint, access, _seen(lab, standby))
    with standby.server.connect() as session:
        session.execute("SELECT pg_wal_replay_pause()")
    with lab.primary.server.connect() as session:
        session.execute("CREATE TABLE written_meanwhile ()")
        session.execute("SELECT pg_switch_wal()")
    _until(lambda: not replays(lab.primary.endpoint, access, _seen(lab, standby), timeout_s=1))
    wait_for_stream(standby.endpoint, access, timeout_s=0)
    point(standby, port=1)
    wait_for_stream(standby.endpoint, access, timeout_s=0)
    point(standby, port=lab.primary.server.port)
    with standby.server.connect() as session:
        session.execute("SELECT pg_wal_replay_resume()")
    wait_until_streaming(standby)
    assert replays(lab.primary.endpoint, access, _seen(lab, standby))
    with pytest.raises(VerificationFailed, match="lacks pg_read_all_stats"):
        wait_for_stream(standby.endpoint, _access(lab, "avchecker"), timeout_s=0)


def _seen(lab: Lab, standby: Host) -> Standby:
    found = standbys(lab.primary.endpoint, _access(lab))
    assert not isinstance(found, Unreadable)
    return next(one for one in found if one.application == standby.name)


def _until(condition: Callable[[], bool], limit_s: float = 30) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)
