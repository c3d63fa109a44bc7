"""Walreceivers, as their own servers tell of them: whether they stream, and which walsender is their other end."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import psycopg

from rechain.errors import VerificationFailed
from rechain.fleet import Endpoint
from tasks.fleet.connection import Access, Connection, Unreadable, connected, unreadable
from tasks.fleet.replication import MAY_READ, ReceiverName, ReconnectFailed, standbys

_POLL_S = 0.5
_RECEIVER = """
    SELECT pg_is_in_recovery(), pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn(),
           (SELECT setting FROM pg_settings WHERE name = 'primary_conninfo'),
           receiver.status, receiver.conninfo, coalesce(receiver.slot_name, ''), system_identifier
    FROM pg_control_system() LEFT JOIN pg_stat_wal_receiver AS receiver ON true
"""


@dataclass(frozen=True, slots=True)
class Receiver:
    """What a server tells of its walreceiver.

    Attributes:
        is_due: Whether there should be one: it is a standby that has replayed all it has, and its primary_conninfo is
            not seen to be empty.
        name: What its walsender shows of it; None while it does not stream.
    """

    is_due: bool
    name: ReceiverName | None


@dataclass(frozen=True, slots=True)
class Stream:
    """A walreceiver of the fleet, and where it streams from.

    Attributes:
        name: What its walsender shows of it.
        upstream: The server of its walsender.
        standby: Its own server; None where more than one has that name, so that it can't be told.
    """

    name: ReceiverName
    upstream: Endpoint
    standby: Endpoint | None


def read_receiver(endpoint: Endpoint, access: Access) -> Receiver | Unreadable:
    """What a server tells of its walreceiver now."""
    try:
        with connected(endpoint, access) as connection:
            return _receiver(connection)
    except psycopg.Error as error:
        return unreadable(endpoint, error)


def streams(endpoints: Iterable[Endpoint], access: Access) -> tuple[tuple[Stream, ...], tuple[Unreadable, ...]]:
    """Who streams from whom, of the fleet's own servers; what streams to anything else is left out.

    Addresses say little behind a VIP or on one machine, so a walreceiver is known by what it and its walsender both
    show: cluster, application_name and slot.

    Returns:
        The streams, and the servers that could not be asked.

    References: PostgreSQL documentation, `pg_stat_wal_receiver`, `pg_stat_replication`, `pg_replication_slots`.
    """
    owners: defaultdict[ReceiverName, list[Endpoint]] = defaultdict(list)
    walsenders: list[tuple[ReceiverName, Endpoint]] = []
    unread: list[Unreadable] = []
    for endpoint in endpoints:
        receiver, found = read_receiver(endpoint, access), standbys(endpoint, access)
        if isinstance(receiver, Unreadable) or isinstance(found, Unreadable):
            unread += [one for one in (receiver, found) if isinstance(one, Unreadable)][:1]
            continue
        if receiver.name:
            owners[receiver.name].append(endpoint)
        walsenders += [(standby.name, endpoint) for standby in found]
    seen = Counter(name for name, _ in walsenders)
    found_streams = (
        Stream(name, upstream, owners[name][0] if seen[name] == len(owners[name]) == 1 else None)
        for name, upstream in walsenders
        if name in owners
    )
    return tuple(found_streams), tuple(unread)


def wait_for_stream(endpoint: Endpoint, access: Access, timeout_s: float = 60.0) -> None:
    """Wait until a server's walreceiver streams; at once where there should be none. Reads only.

    Nor should there be one as long as it replays late what it has: it gets one, with the files of that day, after that.

    Raises:
        ReconnectFailed: It does not stream in time.
        VerificationFailed: The server can't be asked: whether it streams is not known.
    """
    deadline = time.monotonic() + timeout_s
    try:
        with connected(endpoint, access) as connection:
            if connection.execute(MAY_READ).fetchone() != (True,):
                what = f"role {access.role} lacks pg_read_all_stats"
                raise VerificationFailed(f"standby {endpoint}", what, "grant it, and run again")
            while (receiver := _receiver(connection)).is_due and not receiver.name:
                if time.monotonic() > deadline:
                    raise _does_not_stream(endpoint, access, timeout_s)
                time.sleep(_POLL_S)
    except psycopg.Error as error:
        reason = unreadable(endpoint, error).reason
        raise VerificationFailed(f"standby {endpoint}", reason, "mend that and run again") from None


def _does_not_stream(endpoint: Endpoint, access: Access, timeout_s: float) -> ReconnectFailed:
    return ReconnectFailed(
        f"standby {endpoint}",
        f"it has not streamed from any server for {timeout_s:.0f} s",
        "look at its log, and run again when it does; one that restores from an archive alone needs an empty "
        f"primary_conninfo, and {access.role} pg_read_all_settings to see that",
    )


def _receiver(connection: Connection) -> Receiver:
    row = connection.execute(_RECEIVER).fetchone()
    if row is None or not row[0]:
        return Receiver(is_due=False, name=None)
    _, holds_back, upstream, status, conninfo, slot, cluster = row
    name = ReceiverName(str(cluster), _application(str(conninfo)), str(slot)) if status == "streaming" else None
    return Receiver(is_due=upstream != "" and not holds_back, name=name)


def _application(conninfo: str) -> str:
    """Its application_name: PostgreSQL puts no quotes around values there, so a value ends where the next key is."""
    for key in ("application_name", "fallback_application_name"):
        if found := re.search(rf"(?:^| ){key}=(.*?)(?= \w+=|$)", conninfo):
            return found[1]
    return ""
