"""The prover's oracle against the real thing: PostgreSQL, and libpq with `sslmode=verify-full`."""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psycopg
import pytest

from lab.account import unprivileged_account
from lab.addresses import free_addresses
from lab.installation import Installation, usable_by
from lab.postgresql import Server
from rechain.certificate import read_certificates
from rechain.fleet import Endpoint
from rechain.handshake import Outcome
from tasks.fleet.wire import served
from tests.combinations import CLIENT, Combination, combinations

_DEADLINE_S = 10.0
_NOT_RELOADED = "SSL configuration was not reloaded"
# An alert in this line is what the client sent on refusing; anything else is the server's own reason.
_REFUSED = re.compile(r"could not accept SSL connection: (.*)")


class Verdict(StrEnum):
    """How a login ended, and by whose doing."""

    LOGGED_IN = "logged in"
    CLIENT_REFUSES = "client refuses the server leaf"
    SERVER_REFUSES = "server refuses the client leaf"
    SERVER_CANT_LOAD = "server can't load its files"
    CLIENT_CANT_LOAD = "client can't load its files"


def predicted(outcome: Outcome) -> Verdict:
    """What a login shows of an outcome: files are read first, then the client judges, then the server."""
    reasons = f"{outcome.server_refused} {outcome.client_refused}"
    if "the server can't load" in reasons:
        return Verdict.SERVER_CANT_LOAD
    if "the client can't load" in reasons:
        return Verdict.CLIENT_CANT_LOAD
    if outcome.server_refused:
        return Verdict.CLIENT_REFUSES
    return Verdict.SERVER_REFUSES if outcome.client_refused else Verdict.LOGGED_IN


@dataclass(frozen=True, slots=True)
class Arena:
    """A running PostgreSQL whose files change with every combination, and a client's directory."""

    server: Server
    client: Path

    def verdict(self, combination: Combination) -> Verdict:
        """Install a combination's six files, see that the reload took, and log in."""
        seen = self._log_size()
        self._install(combination)
        self.server.reload()
        if not self._reloaded(combination, seen):
            return Verdict.SERVER_CANT_LOAD
        seen = self._log_size()
        try:
            self._log_in(combination)
        except psycopg.OperationalError as error:
            return self._why(str(error), seen)
        return Verdict.LOGGED_IN

    def _install(self, combination: Combination) -> None:
        ours = {"server.crt": combination.server_chain, "server.key": combination.server_key}
        for name, text in (ours | {"root.crt": combination.client_bundle}).items():
            self._write(self.server.directory / name, text)
            self.server.account.own(self.server.directory / name, 0o600)
        theirs = {"postgresql.crt": combination.client_chain, "postgresql.key": combination.client_key}
        for name, text in (theirs | {"root.crt": combination.server_bundle}).items():
            self._write(self.client / name, text)

    def _write(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        path.touch(0o600)
        path.write_text(text, "ascii")

    def _reloaded(self, combination: Combination, seen: int) -> bool:
        """Whether the new leaf is served, or the log says that it can't be."""
        expected = read_certificates(combination.server_chain, "server.crt")[0].fingerprint
        endpoint = Endpoint("host", combination.server_name, self.server.address, self.server.port)
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            if _NOT_RELOADED in self._log_from(seen):
                return False
            if served(endpoint)[0].fingerprint == expected:
                return True
            time.sleep(0.01)
        raise AssertionError(f"{combination.title}: neither served nor refused by the reload: {self._log_from(seen)}")

    def _log_in(self, combination: Combination) -> None:
        with psycopg.connect(
            host=combination.server_name,
            hostaddr=self.server.address,
            port=self.server.port,
            user=CLIENT,
            dbname="postgres",
            sslmode="verify-full",
            sslcert=str(self.client / "postgresql.crt"),
            sslkey=str(self.client / "postgresql.key"),
            sslrootcert=str(self.client / "root.crt"),
            connect_timeout=10,
        ) as connection:
            connection.execute("SELECT 1")

    def _why(self, error: str, seen: int) -> Verdict:
        if "could not read root certificate file" in error or "private key file" in error:
            return Verdict.CLIENT_CANT_LOAD
        if "does not match host name" in error:
            return Verdict.CLIENT_REFUSES
        deadline = (
            time.monotonic() + _DEADLINE_S
        )  # libpq's words vary with OpenSSL, and may be lost with the connection
        while time.monotonic() < deadline:
            if refused := _REFUSED.search(self._log_from(seen)):
                return Verdict.CLIENT_REFUSES if " alert " in refused[1] else Verdict.SERVER_REFUSES
            time.sleep(0.01)
        raise AssertionError(f"not a verdict on certificates: {error}; the log says: {self._log_from(seen)}")

    def _log_size(self) -> int:
        return self.server.log.stat().st_size

    def _log_from(self, offset: int) -> str:
        return self.server.log.read_bytes()[offset:].decode("utf-8", "replace")


@pytest.fixture
def arena(installation: Installation, tmp_path: Path) -> Iterator[Arena]:
    """A PostgreSQL with TLS, one role and `cert` for every TLS connection."""
    account = unprivileged_account()
    with tempfile.TemporaryDirectory(prefix="rechain-test-") as directory:  # pytest's own are closed to other users
        home = Path(directory)
        home.chmod(0o755)
        addresses = free_addresses(1)
        usable = usable_by(installation, account, home / "postgresql")
        server = Server(usable, account, home / "server", addresses.hosts[0], addresses.port)
        server.initdb()
        running = Arena(server, tmp_path)
        running._install(next(combinations()))
        files = {f"ssl_{name}_file": str(server.directory / file) for name, file in _SETTINGS.items()}
        server.configure({"ssl": "on", **files}, ["local all all trust", "hostssl all all 127.0.0.0/8 cert"])
        server.start()
        try:
            with server.connect() as connection:
                connection.execute(f"CREATE ROLE {CLIENT} LOGIN")
            yield running
        finally:
            server.stop("immediate")


_SETTINGS = {"cert": "server.crt", "key": "server.key", "ca": "root.crt"}


def test_verdicts_equal(arena: Arena) -> None:
    """The prover's handshake says of every combination what a real login says, and who refuses."""
    rows = [(one.title, predicted(one.judged()), arena.verdict(one)) for one in combinations()]
    table = "\n".join(
        f"{'  ' if prover is real else '!!'} {title}: prover: {prover}; PostgreSQL: {real}"
        for title, prover, real in rows
    )
    assert [title for title, prover, real in rows if prover is not real] == [], f"\n{table}"
    counted = Counter(real for _, _, real in rows)
    assert len(rows) >= 24, table
    assert counted[Verdict.LOGGED_IN] >= 24, table
    assert counted[Verdict.CLIENT_REFUSES] >= 8, table
    assert counted[Verdict.SERVER_REFUSES] >= 8, table
    assert {Verdict.SERVER_CANT_LOAD, Verdict.CLIENT_CANT_LOAD} <= set(counted), table
