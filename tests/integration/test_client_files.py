"""Whether a client would log in again: what is said of its files, and what libpq does with them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

from lab.installation import find_postgresql
from rechain.fleet import Host, ManagedClient
from rechain.scan.restart import client_problems
from rechain.scan.seen import SetOnHost
from tests.plugins.authority import Authority, Pair, write_files
from tests.plugins.looks import look_at_host
from tests.plugins.one_server import NAME, OneServer, one_server

FILES = ("postgresql.crt", "postgresql.key", "root.crt")

Break = Callable[[Path, Pair, Authority], object]

SAFE: dict[str, Break] = {
    "sound": lambda where, leaf, ours: None,
    "key 0400": lambda where, leaf, ours: (where / "postgresql.key").chmod(0o400),
    "words after the leaf": lambda where, leaf, ours: _write(where, "postgresql.crt", leaf.chain_pem + "by hand\n"),
    "certificate beside the key": lambda where, leaf, ours: _write(
        where, "postgresql.key", leaf.value.pem + leaf.key_pem
    ),
}
BROKEN: dict[str, Break] = {
    "key 0644": lambda where, leaf, ours: (where / "postgresql.key").chmod(0o644),
    "key 0660": lambda where, leaf, ours: (where / "postgresql.key").chmod(0o660),
    "key missing": lambda where, leaf, ours: (where / "postgresql.key").unlink(),
    "key of another": lambda where, leaf, ours: _write(where, "postgresql.key", ours.client("app").key_pem),
    "key encrypted": lambda where, leaf, ours: _write(
        where, "postgresql.key", leaf.key_text(BestAvailableEncryption(b"a passphrase"))
    ),
    "certificate missing": lambda where, leaf, ours: (where / "postgresql.crt").unlink(),
    "certificate cut off": lambda where, leaf, ours: _write(where, "postgresql.crt", leaf.chain_pem[:-40]),
    "bundle missing": lambda where, leaf, ours: (where / "root.crt").unlink(),
    "bundle is garbage": lambda where, leaf, ours: _write(where, "root.crt", "nothing\n"),
    "bundle empty": lambda where, leaf, ours: _write(where, "root.crt", ""),
    "bundle without a newline": lambda where, leaf, ours: _write(
        where, "root.crt", ours.server_bundle.replace("-----\n-----", "----------")
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[OneServer]:
    """A server that accepts the client."""
    with one_server(find_postgresql()) as one:
        yield one


@pytest.fixture
def client(server: OneServer, tmp_path: Path) -> Callable[[Break], Path]:
    """Breaks a client's files, and returns their directory."""

    def make(break_it: Break) -> Path:
        leaf = server.authority.client("app")
        write_files(tmp_path, leaf.chain_pem, leaf.key_pem, server.authority.server_bundle)
        break_it(tmp_path, leaf, server.authority)
        return tmp_path

    return make


@pytest.mark.parametrize("name", SAFE)
def test_a_client_logs_in_with_files_that_nothing_is_said_of(
    server: OneServer, client: Callable[[Break], Path], name: str
) -> None:
    """No alarm about a client that works."""
    where = client(SAFE[name])
    assert client_problems(_seen(where)) == ()
    _log_in(server, where)


@pytest.mark.parametrize("name", BROKEN)
def test_a_client_does_not_log_in_with_files_that_are_complained_of(
    server: OneServer, client: Callable[[Break], Path], name: str
) -> None:
    """Libpq reads its files at every connect: it notices before anybody restarts anything."""
    where = client(BROKEN[name])
    assert client_problems(_seen(where))
    with pytest.raises(psycopg.OperationalError):
        _log_in(server, where)


def _write(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(text, "ascii")


def _seen(directory: Path) -> SetOnHost:
    managed = ManagedClient("app", str(directory), pwd.getpwuid(os.geteuid()).pw_name, *FILES, None)
    (found,) = look_at_host(Host("one", "127.0.0.1", NAME, True, (), (managed,)))
    return found


def _log_in(one: OneServer, directory: Path) -> None:
    cert, key, ca = (str(directory / name) for name in FILES)
    psycopg.connect(
        host=NAME, hostaddr=one.server.address, port=one.server.port, user="app", dbname="postgres",
        sslmode="verify-full", sslcert=cert, sslkey=key, sslrootcert=ca, connect_timeout=10,
    ).close()  # fmt: skip
