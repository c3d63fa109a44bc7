"""Live sessions and the client certificates that they logged in with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import psycopg

from rechain.fleet import Endpoint
from tasks.fleet.connection import Access, Connection, Unreadable, connected, unreadable
from tasks.fleet.libpq import APPLICATION_NAME

# pg_stat_ssl leaves out the sessions of others, and pg_stat_activity shows them with NULLs, when the right is lacking.
_MAY_READ = "SELECT pg_has_role('pg_read_all_stats', 'USAGE')"
_SESSIONS = """
    SELECT activity.usename, activity.application_name, coalesce(host(activity.client_addr), ''), ssl.client_serial,
           coalesce(ssl.issuer_dn, ''), coalesce(ssl.client_dn, ''), activity.backend_start, activity.pid,
           activity.state = 'idle'
    FROM pg_catalog.pg_stat_ssl AS ssl JOIN pg_catalog.pg_stat_activity AS activity USING (pid)
    WHERE ssl.client_serial IS NOT NULL AND activity.application_name <> %s
    ORDER BY activity.backend_start, pid
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A live session that presented a client certificate; a standby's walreceiver has one on its primary.

    Attributes:
        endpoint: Where.
        user: The role.
        application: Its application_name.
        address: Where it comes from, as text.
        serial: Serial number of its certificate: it tells generations apart.
        issuer_dn: Issuer, as PostgreSQL writes it, cut to 63 bytes.
        client_dn: Subject, as PostgreSQL writes it, cut to 63 bytes.
        backend_start: When it began, aware UTC.
        pid: Process of the backend.
        is_idle: Whether it waits for its client, outside of a transaction.
    """

    endpoint: Endpoint
    user: str
    application: str
    address: str
    serial: int
    issuer_dn: str
    client_dn: str
    backend_start: datetime
    pid: int
    is_idle: bool


def sessions(endpoint: Endpoint, access: Access) -> tuple[Session, ...] | Unreadable:
    """Read every session with a client certificate, but rechain's own, which are no evidence.

    Idempotent, safe to retry.

    Returns:
        The sessions, the oldest first; or why they can't be read, a lacking right included.

    References: PostgreSQL documentation, "pg_stat_ssl".
    """
    try:
        with connected(endpoint, access) as connection:
            return _read(endpoint, access, connection)
    except psycopg.Error as error:
        return unreadable(endpoint, error)


def _read(endpoint: Endpoint, access: Access, connection: Connection) -> tuple[Session, ...] | Unreadable:
    allowed = connection.execute(_MAY_READ).fetchone()
    if allowed != (True,):
        return Unreadable(str(endpoint), f"role {access.role} lacks pg_read_all_stats: GRANT it to read all sessions")
    rows = connection.execute(_SESSIONS, [APPLICATION_NAME]).fetchall()
    return tuple(_session(endpoint, row) for row in rows)


def _session(endpoint: Endpoint, row: tuple[object, ...]) -> Session:
    user, application, address, serial, issuer, client, start, pid, is_idle = row
    if not isinstance(serial, Decimal) or not isinstance(start, datetime) or not isinstance(pid, int):
        raise psycopg.DataError("pg_stat_ssl has columns of other types than expected")
    return Session(
        endpoint,
        str(user),
        str(application),
        str(address),
        int(serial),
        str(issuer),
        str(client),
        start.astimezone(UTC),
        pid,
        bool(is_idle),
    )
