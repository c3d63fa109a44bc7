"""Live sessions and their certificates, as the gate `clients` reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psycopg

from lab.fleet import Lab
from lab.login import Identity, connect
from rechain.certificate import read_leaf_chain
from rechain.login import ClientFiles
from tasks.fleet.connection import Access, Unreadable
from tasks.fleet.sessions import Session, sessions


def _identity(lab: Lab, client: str, host: str = "db1.demo") -> Identity:
    return next(each for each in lab.identities if each.client == client and each.host in (host, ""))


def _access(lab: Lab, client: str = "postgres") -> Access:
    directory = Path(_identity(lab, client).directory)
    names = (directory / name for name in ("postgresql.crt", "postgresql.key", "root.crt"))
    return Access(client, ClientFiles(*map(str, names)))


def _serial(lab: Lab, client: str) -> int:
    path = Path(_identity(lab, client).directory) / "postgresql.crt"
    return read_leaf_chain(path.read_text(), str(path)).leaf.serial


def _read(lab: Lab) -> tuple[Session, ...]:
    found = sessions(lab.endpoints[0], _access(lab))
    assert not isinstance(found, Unreadable)
    return found


def test_a_session_shows_with_the_serial_of_its_certificate(lab_fleet: Lab) -> None:
    """User, application, address and serial are there, from another client's session."""
    with connect(_identity(lab_fleet, "pgfga"), lab_fleet.endpoints[0]):
        (session,) = [each for each in _read(lab_fleet) if each.user == "pgfga"]
    assert (session.endpoint, session.serial) == (lab_fleet.endpoints[0], _serial(lab_fleet, "pgfga"))
    assert session.address.startswith("127.")
    assert session.backend_start.utcoffset() is not None


def test_walreceivers_are_sessions_too(lab_fleet: Lab) -> None:
    """A standby that still streams with the old certificate must keep the gate shut."""
    streaming = {each.application: each for each in _read(lab_fleet) if each.application.startswith("db")}
    assert sorted(streaming) == ["db2.demo", "db3.demo"]
    assert {each.serial for each in streaming.values()} == {_serial(lab_fleet, "postgres")}


def test_rechains_own_sessions_are_no_evidence(lab_fleet: Lab) -> None:
    """The session that reads, and any other named rechain, are left out."""
    endpoint = lab_fleet.endpoints[0]
    identity = _identity(lab_fleet, "pgfga")
    with psycopg.connect(
        host=endpoint.server_name,
        hostaddr=endpoint.address,
        port=endpoint.port,
        user="pgfga",
        dbname="postgres",
        application_name="rechain",
        **identity.files(),  # type: ignore[arg-type]
    ):
        assert {each.user for each in _read(lab_fleet)} <= {"postgres"}
        assert all(each.application != "rechain" for each in _read(lab_fleet))


def test_a_role_without_the_right_reads_nothing(lab_fleet: Lab) -> None:
    """PostgreSQL hides others' sessions from it, which must not be taken for an empty server."""
    found = sessions(lab_fleet.endpoints[0], _access(lab_fleet, "avchecker"))
    assert isinstance(found, Unreadable)
    assert "pg_read_all_stats" in found.reason


def test_a_server_that_is_away_or_refuses(lab_fleet: Lab) -> None:
    """What can't be read is said with its reason, and is no empty list."""
    access = _access(lab_fleet)
    away = sessions(replace(lab_fleet.endpoints[0], port=1), access)
    assert isinstance(away, Unreadable)
    assert "Connection refused" in away.reason
    refused = sessions(lab_fleet.endpoints[0], replace(access, role="nobody"))
    assert isinstance(refused, Unreadable)
    assert "certificate authentication failed" in refused.reason
    assert str(refused).startswith("db1.demo:")
