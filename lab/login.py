"""A login as libpq does it, from files on disk, and the journal that records it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from rechain.fleet import Endpoint

_TIMEOUT_S = 10


class Kind(StrEnum):
    """What an entry of a journal is about."""

    LOGIN = "login"
    QUERY = "query"
    RECYCLED = "recycled"


@dataclass(frozen=True, slots=True)
class Identity:
    """A client and the three files that it logs in with.

    Attributes:
        client: The PostgreSQL role.
        host: The inventory host that holds the files; empty for an external client.
        directory: Holds postgresql.crt, postgresql.key and root.crt.
        has_role: Whether the role exists; without, a login ends right after the certificate was accepted.
    """

    client: str
    host: str
    directory: str
    has_role: bool = True

    def files(self) -> dict[str, str]:
        """The parameters of libpq for the three files.

        Managed clients name them as libpq would. An external application takes its directory, a symbolic link, once
        per login, so that its own delivery can't change between two files.
        """
        directory = Path(self.directory) if self.host else Path(self.directory).resolve()
        names = {"sslcert": "postgresql.crt", "sslkey": "postgresql.key", "sslrootcert": "root.crt"}
        return {parameter: str(directory / name) for parameter, name in names.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal.

    Attributes:
        at_ms: When it began, milliseconds since the epoch.
        kind: What it is.
        client: The client.
        host: The host whose files were used; empty for an external client.
        endpoint: Server name and port.
        ok: Whether it did what it should.
        error: The error's text; None when there was none.
        took_ms: How long it took.
    """

    at_ms: int
    kind: Kind
    client: str
    host: str
    endpoint: str
    ok: bool
    error: str | None
    took_ms: int


class Journal:
    """A file of entries, one JSON object a line, written by several threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def write(self, entry: Entry) -> None:
        """Append an entry."""
        with self._lock:
            self._file.write(json.dumps(asdict(entry)) + "\n")


def read_journal(path: Path) -> tuple[Entry, ...]:
    """All entries of a journal, by the time they began; a last line that is still being written is left out."""
    if not path.exists():
        return ()
    lines = path.read_text("utf-8").split("\n")[:-1]
    return tuple(sorted(_entries(lines), key=lambda entry: entry.at_ms))


def connect(identity: Identity, endpoint: Endpoint) -> psycopg.Connection[tuple[object, ...]]:
    """Log in with verify-full, needing no DNS. Raises psycopg.OperationalError."""
    conninfo = make_conninfo(
        host=endpoint.server_name,
        hostaddr=endpoint.address,
        port=endpoint.port,
        user=identity.client,
        dbname="postgres",
        sslmode="verify-full",
        gssencmode="disable",
        application_name=identity.client,
        connect_timeout=_TIMEOUT_S,
        **identity.files(),
    )
    return psycopg.connect(conninfo, autocommit=True)


def log_in(identity: Identity, endpoint: Endpoint) -> Entry:
    """Log in once and leave; never retried."""
    began, clock = time.time(), time.monotonic()
    error: str | None = None
    try:
        connect(identity, endpoint).close()
    except psycopg.Error as failure:
        error = str(failure).strip()
    accepted = error is not None and f'role "{identity.client}" does not exist' in error
    ok = accepted if not identity.has_role else error is None
    took = int((time.monotonic() - clock) * 1000)
    return Entry(int(began * 1000), Kind.LOGIN, identity.client, identity.host, str(endpoint), ok, error, took)


def _entries(lines: Iterable[str]) -> Iterator[Entry]:
    for line in lines:
        fields = json.loads(line)
        yield Entry(**{**fields, "kind": Kind(fields["kind"])})
