"""What a login proves, on real servers of each PostgreSQL that is here."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from psycopg import pq

from lab.installation import PostgresqlNotFound, find_postgresql
from rechain.certificate import Certificate, read_leaf_chain
from rechain.fleet import Endpoint
from rechain.login import ClientFiles, Login, Refusal, Verdict
from tasks.fleet.login import LoginRequest, log_in, log_in_all
from tests.plugins.authority import SERVER_AUTH, Authority, Pair, write_files
from tests.plugins.one_server import HBA, TLS, OneServer, one_server

_ELSEWHERE = Authority("elsewhere")


@pytest.fixture(scope="module", params=["machine", "wheel"])
def one(request: pytest.FixtureRequest) -> Iterator[OneServer]:
    """A server of each PostgreSQL that is here."""
    try:
        installation = find_postgresql(request.param)
    except PostgresqlNotFound as error:
        pytest.skip(str(error))
    with one_server(installation) as server:
        yield server


def _files(one: OneServer, directory: Path, leaf: Pair | None = None) -> ClientFiles:
    leaf = leaf or one.authority.client("app")
    return write_files(directory, leaf.chain_pem, leaf.key_pem, one.authority.server_bundle)


def _log_in(one: OneServer, files: ClientFiles, client: str = "app", database: str = "postgres") -> Login:
    return log_in(one.endpoint, client=client, generation=1, files=files, database=database)


def _leaf(path: str | Path) -> Certificate:
    return read_leaf_chain(Path(path).read_text(), str(path)).leaf


def test_a_good_login(one: OneServer, tmp_path: Path) -> None:
    """It says which leaf the server serves, and with which serial the client came."""
    files = _files(one, tmp_path)
    login = _log_in(one, files)
    assert (login.verdict, login.refusal, login.error) == (Verdict.LOGGED_IN, None, None)
    assert login.server_fingerprint == _leaf(one.server.data / "server.crt").fingerprint
    assert login.client_serial == f"{_leaf(files.cert).serial:x}"


@pytest.mark.parametrize(
    ("client", "leaf_of", "database", "told"),
    [
        ("minio", "minio", "postgres", 'role "minio" does not exist'),
        ("full", "full", "postgres", "too many connections for role"),
        ("full", "app", "postgres", "certificate authentication failed for user"),
        ("app", "app", "absent", 'database "absent" does not exist'),
        ("app", "app", "closed", "pg_hba.conf rejects connection"),
        ("app", "app", "elsewhere", "no pg_hba.conf entry"),
        ("asks_password", "asks_password", "postgres", "asks for a password"),
    ],
)
def test_refused_after_tls_means_that_the_certificate_was_accepted(
    one: OneServer, tmp_path: Path, *, client: str, leaf_of: str, database: str, told: str
) -> None:
    """Role, pg_hba and database are judged after the certificate: the chain is fine, and the reason is shown."""
    files = _files(one, tmp_path, one.authority.client(leaf_of))
    login = _log_in(one, files, client, database)
    assert (login.verdict, login.refusal) == (Verdict.CERTIFICATE_ACCEPTED, None)
    assert told in str(login.error)


@pytest.mark.parametrize("maximum", ["TLSv1.2", "TLSv1.3"])
def test_a_client_of_an_unknown_ca(one: OneServer, tmp_path: Path, maximum: str) -> None:
    """The server refuses it, by an alert that comes after the client's handshake with TLS 1.3: never a broken line."""
    leaf = _ELSEWHERE.client("app")
    files = write_files(tmp_path, leaf.chain_pem, leaf.key_pem, one.authority.server_bundle)
    one.restart({**TLS, "ssl_max_protocol_version": maximum})
    logins = log_in_all([LoginRequest(one.endpoint, "app", 1, files)] * 50)
    assert {(login.verdict, login.refusal) for login in logins} == {(Verdict.REFUSED, Refusal.UNKNOWN_CLIENT_CA)}
    assert "does not trust the CA of the client certificate" in str(logins[0].error)


@pytest.mark.parametrize(
    ("leaf", "told"),
    [
        (lambda authority: authority.client("app", days=(-5, -1)), "certificate expired"),
        (lambda authority: authority.client("app", usage=SERVER_AUTH), "unsupported certificate"),
        (lambda authority: authority.client("app", days=(1, 5)), "bad certificate"),
    ],
    ids=["expired", "wrong purpose", "not yet valid"],
)
def test_a_client_certificate_that_the_server_refuses(one: OneServer, tmp_path: Path, leaf: object, told: str) -> None:
    """A certificate refused by date or purpose is not reported as an unknown CA."""
    assert callable(leaf)
    login = _log_in(one, _files(one, tmp_path, leaf(one.authority)))
    assert (login.verdict, login.refusal) == (Verdict.REFUSED, Refusal.CLIENT_CERTIFICATE)
    assert told in str(login.error)


def test_a_server_certificate_that_the_client_refuses(one: OneServer, tmp_path: Path) -> None:
    """The client's side of TLS is named, with OpenSSL's reason, which libpq keeps to itself."""
    leaf = one.authority.client("app")
    files = write_files(tmp_path, leaf.chain_pem, leaf.key_pem, _ELSEWHERE.server_bundle)
    login = _log_in(one, files)
    assert (login.verdict, login.refusal) == (Verdict.REFUSED, Refusal.SERVER_CERTIFICATE)
    assert "unable to get local issuer certificate" in str(login.error)


def test_an_expired_server_certificate(one: OneServer, tmp_path: Path) -> None:
    """PostgreSQL loads it without a word; every client refuses it."""
    good = one.authority.server("db1.example")
    bad = one.authority.server("db1.example", days=(-5, -1))
    files = _files(one, tmp_path)
    for leaf in (bad, good):
        one.write("server.crt", leaf.chain_pem)
        one.write("server.key", leaf.key_pem)
        one.server.restart()
        login = _log_in(one, files)
        expired = leaf is bad
        assert login.refusal is (Refusal.SERVER_CERTIFICATE if expired else None)
        assert ("certificate has expired" in str(login.error)) is expired


def test_another_name(one: OneServer, tmp_path: Path) -> None:
    """The server's name is verified, not its address."""
    stranger = replace(one.endpoint, server_name="db2.example")
    login = log_in(stranger, client="app", generation=1, files=_files(one, tmp_path))
    assert (login.verdict, login.refusal) == (Verdict.REFUSED, Refusal.SERVER_CERTIFICATE)
    assert "does not match host name" in str(login.error)


def test_the_clients_own_files(one: OneServer, tmp_path: Path) -> None:
    """Files that libpq can't use are the client's own trouble, said with the file's name; a missing one is no login."""
    good, other = one.authority.client("app"), one.authority.client("app")
    bundle = one.authority.server_bundle
    joined = bundle.replace("-----\n-----BEGIN", "----------BEGIN")
    texts = {
        "key values mismatch": (good.chain_pem, other.key_pem, bundle),
        "postgresql.key": (good.chain_pem, "nonsense", bundle),
        "postgresql.crt": ("nonsense", good.key_pem, bundle),
        "root.crt": (good.chain_pem, good.key_pem, joined),
        "could not load private key": (good.chain_pem, good.key_text(BestAvailableEncryption(b"secret")), bundle),
    }
    found = {told: _log_in(one, write_files(tmp_path / told.replace(" ", "-"), *each)) for told, each in texts.items()}
    absent = replace(_files(one, tmp_path / "absent"), cert=str(tmp_path / "nothing.crt"))
    found["nothing.crt"] = _log_in(one, absent)
    opened = _files(one, tmp_path / "opened")
    Path(opened.key).chmod(0o644)
    found["has group or world access"] = _log_in(one, opened)
    for told, login in found.items():
        assert (login.verdict, login.refusal) == (Verdict.REFUSED, Refusal.FILES), told
        assert told in str(login.error)


def test_a_server_that_never_asks_for_the_certificate_is_no_evidence(one: OneServer, tmp_path: Path) -> None:
    """Without ssl_ca_file everybody is let in by `trust`, and that proves nothing about the client chain."""
    files = _files(one, tmp_path)
    without = {name: value for name, value in TLS.items() if name != "ssl_ca_file"}
    for settings, refusal in ((without, Refusal.NOT_ASKED), ({"ssl": "off"}, Refusal.HANDSHAKE)):
        one.restart(settings, ("local all all trust", "host all all all trust"))
        login = _log_in(one, files)
        assert (login.verdict, login.refusal) == (Verdict.REFUSED, refusal)
    one.restart(TLS, HBA)
    assert _log_in(one, files).verdict is Verdict.LOGGED_IN


def test_nobody_there(one: OneServer, tmp_path: Path) -> None:
    """A closed port, an unknown name and a stopped server are unreachable, and blame no certificate."""
    files = _files(one, tmp_path)
    closed = replace(one.endpoint, port=1)
    unknown = replace(one.endpoint, address="nowhere.invalid")
    logins = log_in_all([LoginRequest(endpoint, "app", 1, files) for endpoint in (closed, unknown, one.endpoint)])
    assert [login.verdict for login in logins] == [Verdict.UNREACHABLE, Verdict.UNREACHABLE, Verdict.LOGGED_IN]
    assert "Connection refused" in str(logins[0].error)
    one.server.stop()
    login = _log_in(one, files)
    one.server.start()
    assert (login.verdict, login.server_fingerprint) == (Verdict.UNREACHABLE, None)


def test_a_server_that_does_not_take_connections_yet(one: OneServer, tmp_path: Path) -> None:
    """What it says then says nothing about certificates, though it is said through TLS."""
    signal = one.server.data / "standby.signal"
    files = _files(one, tmp_path)
    one.write("standby.signal", "")
    one.restart({**TLS, "hot_standby": "off", "restore_command": "false"})
    login = _log_in(one, files)
    signal.unlink()
    one.restart(TLS)
    assert login.verdict is Verdict.UNREACHABLE
    assert "the database system is not" in str(login.error)


def test_a_port_that_accepts_and_says_nothing(tmp_path: Path) -> None:
    """The whole login is limited in time, not only its connection."""
    leaf = _ELSEWHERE.client("app")
    files = write_files(tmp_path, leaf.chain_pem, leaf.key_pem, _ELSEWHERE.server_bundle)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        endpoint = Endpoint("one", "db1.example", "127.0.0.1", silent.getsockname()[1])
        login = log_in(endpoint, client="app", generation=1, files=files, timeout_s=0.5)
        assert time.monotonic() - started < 2
    assert (login.verdict, login.error) == (Verdict.UNREACHABLE, "no answer within 0.5 s")


def test_the_environment_does_not_interfere(one: OneServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever libpq variables the administrator's shell sets, the login is the one that was asked for."""
    files = _files(one, tmp_path)
    names = [option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar]
    assert "PGSERVICE" in names
    for name in [*names, "PGTZ", "PGDATESTYLE", "PGSERVICEFILE"]:
        with monkeypatch.context() as environment:
            environment.setenv(name, "nonsense")
            login = _log_in(one, files)
        assert (name, login.verdict, login.error) == (name, Verdict.LOGGED_IN, None)


def test_a_stray_crl_in_the_home_directory_does_not_interfere(
    one: OneServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libpq reads ~/.postgresql/root.crl by default, and one of another CA refuses every server: it counts if named."""
    monkeypatch.setenv("HOME", str(tmp_path))
    stray = tmp_path / ".postgresql" / "root.crl"
    stray.parent.mkdir()
    stray.write_text(_ELSEWHERE.empty_crl())
    files = _files(one, tmp_path / "client")
    assert _log_in(one, files).verdict is Verdict.LOGGED_IN
    named = _log_in(one, replace(files, crl=str(stray)))
    assert (named.verdict, named.refusal) == (Verdict.REFUSED, Refusal.SERVER_CERTIFICATE)


def test_all_logins_come_back_in_order(one: OneServer, tmp_path: Path) -> None:
    """One a request; a client whose key is not ours is listed as not tested."""
    good = _files(one, tmp_path / "good")
    minio = _files(one, tmp_path / "minio", one.authority.client("minio"))
    requests = [
        LoginRequest(one.endpoint, "app", 1, good),
        LoginRequest(one.endpoint, "applicatie", None, None),
        LoginRequest(one.endpoint, "minio", 2, minio),
    ] * 10
    logins = log_in_all(requests, concurrency=4)
    assert [(login.client, login.generation) for login in logins] == [(one.client, one.generation) for one in requests]
    assert [login.verdict for login in logins[:3]] == [
        Verdict.LOGGED_IN,
        Verdict.NOT_TESTED,
        Verdict.CERTIFICATE_ACCEPTED,
    ]
    assert len({login.server_fingerprint for login in logins}) == 1
