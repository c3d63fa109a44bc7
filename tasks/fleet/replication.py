"""Standbys: who streams from whom, with which certificate, and making one of them reconnect.

A walreceiver reads its certificate when it connects, so it keeps the old pair until it reconnects. It is no regular
backend: `pg_terminate_backend` on the standby does not reach it. Its walsender on the other side is one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import psycopg

from rechain.errors import VerificationFailed
from rechain.fleet import Endpoint
from tasks.fleet.connection import Access, Connection, Unreadable, connected, unreadable

_POLL_S = 0.2
# A standby that has only ever restored from an archive has received nothing.
_LSN_NOW = """CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    ELSE pg_current_wal_lsn() END"""
# What was received and written is what a connection is worth; a delayed standby replays late on purpose.
_STANDBYS = f"""
    SELECT replication.pid, replication.usename, replication.application_name,
           coalesce(host(replication.client_addr), ''), replication.state, ssl.client_serial,
           pg_wal_lsn_diff({_LSN_NOW}, replication.flush_lsn), replication.flush_lsn::text,
           (SELECT system_identifier FROM pg_control_system()), coalesce(slot.slot_name, '')
    FROM pg_catalog.pg_stat_replication AS replication LEFT JOIN pg_catalog.pg_stat_ssl AS ssl USING (pid)
         LEFT JOIN pg_catalog.pg_replication_slots AS slot ON slot.active_pid = replication.pid
    WHERE replication.state <> 'backup'
    ORDER BY replication.application_name, replication.client_addr, pid
"""  # noqa: S608 - both halves stand here
MAY_READ = "SELECT pg_has_role('pg_read_all_stats', 'USAGE')"


class ReceiverName(NamedTuple):
    """What a walreceiver's server and its walsender's both show of it."""

    cluster: str
    application: str
    slot: str


@dataclass(frozen=True, slots=True)
class Standby:
    """A walreceiver, seen from the server that it streams from.

    Attributes:
        pid: Its walsender there; a new one after each reconnect.
        user: The role that it logged in as.
        application: Its application_name.
        address: Where it comes from, as text.
        state: `streaming` when it has caught up with what it missed.
        serial: Serial number of its client certificate; None when it presented none.
        lag_bytes: WAL that it has not yet written to its disk; None while that is unknown.
        flushed: Up to where it has written WAL to its disk, an LSN; None while that is unknown.
        cluster: Identifier that it shares with its upstream.
        slot: Its replication slot; empty when it uses none.
    """

    pid: int
    user: str
    application: str
    address: str
    state: str
    serial: int | None
    lag_bytes: int | None
    flushed: str | None
    cluster: str
    slot: str

    @property
    def name(self) -> ReceiverName:
        """What its own server shows of it, too."""
        return ReceiverName(self.cluster, self.application, self.slot)

    def __str__(self) -> str:
        return f"standby {self.application} at {self.address or 'a local socket'}"


class ReconnectFailed(VerificationFailed):
    """A standby did not come back, or came back with the certificate that it had."""


def is_in_recovery(endpoint: Endpoint, access: Access) -> bool | Unreadable:
    """Whether a server is a standby."""
    try:
        with connected(endpoint, access) as connection:
            return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    except psycopg.Error as error:
        return unreadable(endpoint, error)


def find_primaries(endpoints: Iterable[Endpoint], access: Access) -> tuple[Endpoint, ...] | Unreadable:
    """The servers that are no standbys: one of each cluster, told apart by the identifier that its servers share.

    Returns:
        The primaries; or why they can't be told: two of one cluster, or a server that can't be asked.

    References: PostgreSQL documentation, `pg_control_system`.
    """
    primaries: dict[object, Endpoint] = {}
    for endpoint in endpoints:
        answer = _cluster(endpoint, access)
        if isinstance(answer, Unreadable):
            return answer
        cluster, in_recovery = answer
        if in_recovery:
            continue
        if cluster in primaries:
            return Unreadable(f"{primaries[cluster]}, {endpoint}", "more than one server is a primary of one cluster")
        primaries[cluster] = endpoint
    return tuple(primaries.values())


def _cluster(endpoint: Endpoint, access: Access) -> tuple[object, bool] | Unreadable:
    try:
        with connected(endpoint, access) as connection:
            row = connection.execute(
                "SELECT system_identifier, pg_is_in_recovery() FROM pg_control_system()"
            ).fetchone()
            return (row[0], bool(row[1])) if row else Unreadable(str(endpoint), "pg_control_system() tells nothing")
    except psycopg.Error as error:
        return unreadable(endpoint, error)


def standbys(upstream: Endpoint, access: Access) -> tuple[Standby, ...] | Unreadable:
    """Who streams from a server: the primary, or a standby that others cascade from."""
    try:
        with connected(upstream, access) as connection:
            if connection.execute(MAY_READ).fetchone() != (True,):
                return Unreadable(str(upstream), f"role {access.role} lacks pg_read_all_stats")
            return _standbys(connection)
    except psycopg.Error as error:
        return unreadable(upstream, error)


def replays(upstream: Endpoint, access: Access, standby: Standby, timeout_s: float = 15.0) -> bool:
    """Whether a standby replays, within a while, all WAL that it has; one that is gone does. Reads only.

    One that holds back (a delay, a pause, a long query) must not be ended: its startup process asks for a new
    walreceiver only when it has replayed all that it has, and until then commits that wait for it hang.

    Args:
        upstream: The server that it streams from.
        access: A role that may read it.
        standby: As `standbys` saw it.
        timeout_s: How long to wait; a standby tells every ten seconds (`wal_receiver_status_interval`), or sooner.

    Raises:
        VerificationFailed: The upstream can't be asked any more.
    """
    query = "SELECT replay_lsn >= coalesce(%s::pg_lsn, flush_lsn) FROM pg_catalog.pg_stat_replication WHERE pid = %s"
    deadline = time.monotonic() + timeout_s
    try:
        with connected(upstream, access) as connection:
            while connection.execute(query, [standby.flushed, standby.pid]).fetchone() not in ((True,), None):
                if time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_S)
    except psycopg.Error as error:
        reason = unreadable(upstream, error).reason
        raise VerificationFailed(f"{standby} of {upstream}", reason, "mend that and run again") from None
    return True


def reconnect(
    upstream: Endpoint, access: Access, standby: Standby, *, renewed: bool, timeout_s: float = 60.0
) -> Standby:
    """End a standby's walsender and wait until the standby is back, streaming, with no lag.

    Side effect: replication of this one standby pauses for up to its `wal_retrieve_retry_interval`. Not idempotent,
    safe to retry.

    Args:
        upstream: The server that it streams from.
        access: A role that may also signal the walsender's role (pg_signal_backend, or a superuser).
        standby: As `standbys` saw it.
        renewed: Whether it must come back with another certificate than it had.
        timeout_s: Limit for all of it.

    Returns:
        The standby as it streams now.

    Raises:
        ReconnectFailed: It did not come back in time, or came back with the certificate that it had.
        VerificationFailed: It was not ended, or the upstream can't be asked any more.
    """
    deadline = time.monotonic() + timeout_s
    try:
        with connected(upstream, access) as connection:
            known = _others(_standbys(connection), standby)
            _end(connection, standby, upstream)
            return _wait(connection, standby, known, deadline, renewed=renewed, upstream=upstream)
    except psycopg.Error as error:
        reason = unreadable(upstream, error).reason
        where = f"{standby} of {upstream}"
        raise VerificationFailed(where, reason, f"may {access.role} signal {standby.user}?") from None


def _end(connection: Connection, standby: Standby, upstream: Endpoint) -> None:
    # The pid may belong to somebody else by now: only a walsender that still looks the same is ended.
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE pid = %s AND application_name = %s"
    if connection.execute(query, [standby.pid, standby.application]).fetchone() == (False,):
        where = f"{standby} of {upstream}"
        raise VerificationFailed(where, f"its walsender {standby.pid} could not be ended", "look at the server's log")


def _others(found: Sequence[Standby], standby: Standby) -> set[int]:
    """The walsenders that are not its new one. If its old one is gone it has come back already, by itself."""
    pids = {each.pid for each in found}
    if standby.pid in pids:
        return pids
    return {each.pid for each in found if (each.application, each.address) != (standby.application, standby.address)}


def _wait(
    connection: Connection, before: Standby, known: set[int], deadline: float, *, renewed: bool, upstream: Endpoint
) -> Standby:
    target: str | None = None
    seen = "it has not come back"
    while time.monotonic() < deadline:
        now = _successor(_standbys(connection), before, known)
        if now and renewed and now.serial == before.serial:
            told = f"it came back with the certificate that it had (serial {now.serial or 0:x})"
            raise _failed(upstream, before, told, "are its new files in place on its host?")
        if now:
            seen = f"it is back in state {now.state}, {now.lag_bytes} bytes behind"
            target = target or _lsn(connection)
            if now.state == "streaming" and _has_reached(connection, now, target):
                return now
        time.sleep(_POLL_S)
    raise _failed(upstream, before, f"no stream without lag in time: {seen}", "look at the standby's log")


def _successor(found: Iterable[Standby], before: Standby, known: set[int]) -> Standby | None:
    same = (each for each in found if (each.application, each.address) == (before.application, before.address))
    return next((each for each in same if each.pid not in known), None)


def _lsn(connection: Connection) -> str:
    row = connection.execute(f"SELECT ({_LSN_NOW})::text").fetchone()
    return str(row[0]) if row else "0/0"


def _has_reached(connection: Connection, standby: Standby, target: str) -> bool:
    """Whether it has all WAL up to where its upstream was when it came back: on a busy server lag is never quite 0."""
    query = "SELECT flush_lsn >= %s::pg_lsn FROM pg_catalog.pg_stat_replication WHERE pid = %s"
    return connection.execute(query, [target, standby.pid]).fetchone() == (True,)


def _standbys(connection: Connection) -> tuple[Standby, ...]:
    return tuple(_standby(row) for row in connection.execute(_STANDBYS).fetchall())


def _standby(row: tuple[object, ...]) -> Standby:
    pid, user, application, address, state, serial, lag, flushed, cluster, slot = row
    texts = (str(user), str(application), str(address), str(state))
    known = (_number(serial), _number(lag), None if flushed is None else str(flushed))
    return Standby(int(str(pid)), *texts, *known, str(cluster), str(slot))


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, Decimal) else None


def _failed(upstream: Endpoint, standby: Standby, what: str, fix: str) -> ReconnectFailed:
    return ReconnectFailed(f"{standby} of {upstream}", what, fix)
