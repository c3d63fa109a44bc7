"""A connection to read a server's own views through, as the role that verifies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from rechain.fleet import Endpoint
from rechain.login import ClientFiles, explain
from tasks.fleet.libpq import addresses, parameters

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Access:
    """How to read a server's views.

    Attributes:
        role: The role, with pg_read_all_stats.
        files: Its client files.
        database: Database to connect to.
        timeout_s: Limit for connecting, and for each query.
    """

    role: str
    files: ClientFiles
    database: str = "postgres"
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Evidence that could not be read. It is a value, so that nobody takes it for an absence.

    Attributes:
        where: Endpoint or path.
        reason: Why.
    """

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@contextmanager
def connected(endpoint: Endpoint, access: Access) -> Iterator[Connection]:
    """Connect as the role that verifies, over the mTLS that is being verified.

    Raises:
        psycopg.Error: It can't connect, or a query fails; callers make an `Unreadable` of it.
    """
    address = next(iter(addresses(endpoint.address)), endpoint.address)
    wanted = parameters(endpoint, address, access.role, access.files, access.database)
    limits = {
        "connect_timeout": max(2, round(access.timeout_s)),
        "options": f"-c statement_timeout={round(access.timeout_s * 1000)}",
        "tcp_user_timeout": round(access.timeout_s * 1000),
    }
    with psycopg.connect(**{**wanted, **limits}, autocommit=True) as connection:  # type: ignore[arg-type]  # parameters by name
        yield connection


def unreadable(where: object, error: psycopg.Error) -> Unreadable:
    """What a failed connection or query makes of the evidence."""
    if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
        answer = explain(str(error).removeprefix("connection failed: "), encrypted=True)
        return Unreadable(str(where), answer.error or str(error))
    return Unreadable(str(where), str(error).split("\n", 1)[0])
