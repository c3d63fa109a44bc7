"""Change what a lab's standby streams from, and how, as an administrator does."""

from __future__ import annotations

import time
from pathlib import Path

from psycopg import sql
from psycopg.conninfo import make_conninfo

from lab.fleet import Lab
from lab.host import Host
from lab.postgresql import SUPERUSER

_CLIENT_FILES = {"sslcert": "postgresql.crt", "sslkey": "postgresql.key", "sslrootcert": "root.crt"}


def point(standby: Host, /, **changes: str | int) -> None:
    """Change parameters of a standby's primary_conninfo; its walreceiver starts anew with them."""
    with standby.server.connect() as session:
        [before] = session.execute("SHOW primary_conninfo").fetchone() or [""]
    configure(standby, primary_conninfo=make_conninfo(str(before), **changes))


def configure(host: Host, **settings: str) -> None:
    """Change settings of a server that a reload is enough for."""
    with host.server.connect() as session:
        for name, value in settings.items():
            session.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    host.server.reload()


def read_a_copy(lab: Lab, host: Host) -> Path:
    """Let a standby's walreceiver read a copy of the files that are installed, which nobody renews."""
    copy = host.server.directory / "walreceiver"
    copy.mkdir()
    lab.account.own(copy, 0o700)
    for name in _CLIENT_FILES.values():
        (copy / name).write_bytes((host.client_directory(SUPERUSER) / name).read_bytes())
        lab.account.own(copy / name, 0o600)
    point(host, **{parameter: str(copy / name) for parameter, name in _CLIENT_FILES.items()})
    wait_until_streaming(host)
    return copy


def wait_until_streaming(host: Host, limit_s: float = 30) -> None:
    """Wait until a standby's walreceiver streams."""
    deadline = time.monotonic() + limit_s
    while not is_streaming(host):
        assert time.monotonic() < deadline, f"{host.name} does not stream"
        time.sleep(0.2)


def is_streaming(host: Host) -> bool:
    """Whether it says so itself."""
    with host.server.connect() as session:
        return session.execute("SELECT status FROM pg_stat_wal_receiver").fetchone() == ("streaming",)
