"""The forecast against real servers and clients whose clocks are shifted to both sides of the date that it names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lab.installation import find_postgresql
from rechain.crl import read_crls
from rechain.scan.forecast import Failure
from rechain.scan.report import Scanned
from rechain.scan.seen import CrlFile
from tests.plugins.authority import Authority, Pair, write_files
from tests.plugins.one_server import NAME, TLS, OneServer, one_server
from tests.plugins.shifted_clock import environment_at, variables
from tests.scans import CLIENT, client_set, entries, scanned, server_set, sound, with_sets

_LOG_IN = """
import sys, psycopg
host, port, cert, key, root = sys.argv[1:]
try:
    psycopg.connect(hostaddr=host, host="db1.example", port=port, user="app", dbname="postgres",
                    sslmode="verify-full", sslcert=cert, sslkey=key, sslrootcert=root, connect_timeout=10).close()
except psycopg.OperationalError as error:
    print(error)
    sys.exit(1)
"""
_A_LITTLE = timedelta(hours=2)
_LONG, _LEAF = (-1, 900), (-1, 600)


@dataclass(frozen=True, slots=True, repr=False)
class Chain:
    """What one server and one client have.

    Attributes:
        authority: Above both.
        server: The server's leaf.
        client: The client's leaf.
        crl: Revocation lists that the server judges by; empty for none.
        more: Further certificates in the server's bundle, before its own.
    """

    authority: Authority
    server: Pair
    client: Pair
    crl: str = ""
    more: str = ""


def _server_leaf_ends() -> Chain:
    ours = Authority("a", _LONG)
    return Chain(ours, ours.server(NAME, (-1, 100)), ours.client(CLIENT, days=_LEAF))


def _client_leaf_ends() -> Chain:
    ours = Authority("b", _LONG)
    return Chain(ours, ours.server(NAME, _LEAF), ours.client(CLIENT, days=(-1, 150)))


def _client_intermediate_ends() -> Chain:
    ours = Authority("c", _LONG, client_days=(-1, 200))
    return Chain(ours, ours.server(NAME, _LEAF), ours.client(CLIENT, days=_LEAF))


def _server_intermediate_ends() -> Chain:
    ours = Authority("d", _LONG, server_days=(-1, 250))
    return Chain(ours, ours.server(NAME, _LEAF), ours.client(CLIENT, days=_LEAF))


def _root_ends() -> Chain:
    ours = Authority("e", (-1, 300), server_days=_LONG, client_days=_LONG)
    return Chain(ours, ours.server(NAME, _LEAF), ours.client(CLIENT, days=_LEAF))


def _revocation_list_ends() -> Chain:
    ours = Authority("f", _LONG)
    lists = ours.empty_crl(days=(0, 400)) + ours.empty_crl(ours.clients, (0, 30))
    return Chain(ours, ours.server(NAME, _LEAF), ours.client(CLIENT, days=_LEAF), lists)


def _twin_ends_early() -> Chain:
    """An expired twin of the intermediate, of the same name and another key, stands first in the bundle."""
    ours, twin = Authority("g", _LONG), Authority("g", _LONG, client_days=(-1, 50))
    return Chain(ours, ours.server(NAME, (-1, 120)), ours.client(CLIENT, days=_LEAF), more=twin.clients.value.pem)


CHAINS = {
    "server leaf a": _server_leaf_ends,
    "client leaf b": _client_leaf_ends,
    "client intermediate c": _client_intermediate_ends,
    "server intermediate d": _server_intermediate_ends,
    "root e": _root_ends,
    "revocation list f": _revocation_list_ends,
    "server leaf g": _twin_ends_early,
}


@pytest.fixture(scope="module")
def one() -> Iterator[OneServer]:
    """A server of the PostgreSQL that is here."""
    with one_server(find_postgresql()) as server:
        yield server


@pytest.mark.parametrize("name", CHAINS)
def test_logins_fail_from_the_foretold_moment_on(one: OneServer, name: str, faketime: Path, tmp_path: Path) -> None:
    """A little before the date the login succeeds, a little after it fails, and the cause is the one that is named."""
    chain = CHAINS[name]()
    failure = _foretold(chain).forecast.failures[0]
    _install(one, chain)
    files = write_files(tmp_path, chain.client.chain_pem, chain.client.key_pem, chain.authority.server_bundle)
    arguments = [one.server.address, str(one.server.port), files.cert, files.key, files.ca]
    before = _log_in(one, arguments, faketime, failure.at - _A_LITTLE)
    after = _log_in(one, arguments, faketime, failure.at + _A_LITTLE)
    assert before.returncode == 0, before.stdout + before.stderr
    assert after.returncode == 1, after.stderr
    # What the server refuses it names to the client; of what libpq refuses, it says only that it did.
    assert "expired" in after.stdout or "certificate verify failed" in after.stdout
    assert _is_about(failure, name)


def test_nothing_is_foretold_when_nothing_ends() -> None:
    """Beyond the horizon nobody is alarmed."""
    ours = Authority("h", (-1, 2000))
    chain = Chain(ours, ours.server(NAME, (-1, 800)), ours.client(CLIENT, days=(-1, 801)))
    assert _foretold(chain).forecast.failures == ()
    assert "no login fails before" in _foretold(chain).forecast.sentence


def test_the_sentence_names_date_client_place_and_cause() -> None:
    """What a person reads at 3 a.m."""
    chain = _client_intermediate_ends()
    failure = _foretold(chain).forecast.failures[0]
    assert failure.sentence == f"on {failure.at:%Y-%m-%d} every login fails: client intermediate CA c clients has ended"


def _is_about(failure: Failure, name: str) -> bool:
    kind, _, authority = name.rpartition(" ")
    return kind in failure.cause.what and (authority in failure.cause.what or "leaf" in kind)


def _foretold(chain: Chain) -> Scanned:
    seen = sound(chain.authority, chain.server, chain.client)
    bundle = chain.more + chain.authority.client_bundle
    server = server_set(chain.server.chain_pem, bundle)
    lists = (CrlFile("/etc/pki/postgres/root.crl", read_crls(chain.crl, "root.crl")),) if chain.crl else ()
    client = client_set(chain.client.chain_pem, chain.authority.server_bundle)
    texts = entries(chain.authority, chain.server, chain.client)
    return scanned(replace(with_sets(seen, replace(server, crls=lists), client), texts=texts))


def _install(one: OneServer, chain: Chain) -> None:
    one.write("server.crt", chain.server.chain_pem)
    one.write("server.key", chain.server.key_pem)
    one.write("root.crt", chain.more + chain.authority.client_bundle)
    one.write("root.crl", chain.crl or "")


def _log_in(one: OneServer, arguments: list[str], library: Path, moment: datetime) -> subprocess.CompletedProcess[str]:
    settings = {**TLS, "ssl_crl_file": "root.crl" if (one.server.data / "root.crl").stat().st_size else ""}
    shifted = environment_at(library, moment)
    with variables(shifted):
        one.restart(settings)
        return subprocess.run(
            [sys.executable, "-c", _LOG_IN, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
