"""Whether a server would survive a restart: what is said of its files, and what PostgreSQL does with them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lab.errors import LabError
from lab.installation import Installation, PostgresqlNotFound, find_postgresql
from rechain.fleet import Host, Service, ServiceKind
from rechain.scan.restart import restart_problems
from rechain.scan.seen import SetOnHost
from tests.plugins.authority import Authority, Pair
from tests.plugins.looks import look_at_host, told_of_host
from tests.plugins.one_server import HBA, NAME, TLS, OneServer, one_server

OURS = Authority("ours")
LEAF = OURS.server(NAME)
GARBAGE = "-----BEGIN CERTIFICATE-----\nnot a certificate\n-----END CERTIFICATE-----\n"

Break = Callable[[OneServer], None]


def _mode(name: str, mode: int) -> Break:
    return lambda one: (one.server.data / name).chmod(mode)


def _text(name: str, text: str) -> Break:
    return lambda one: one.write(name, text)


def _gone(name: str) -> Break:
    return lambda one: (one.server.data / name).unlink()


def _directory(name: str) -> Break:
    def put(one: OneServer) -> None:
        (one.server.data / name).unlink()
        (one.server.data / name).mkdir()

    return put


def _owner(uid: int, mode: int) -> Break:
    def give(one: OneServer) -> None:
        path = one.server.data / "server.key"
        os.chown(path, uid, one.server.account.gid)
        path.chmod(mode)

    return give


def _given(name: str, mode: int) -> Break:
    def give(one: OneServer) -> None:
        os.chown(one.server.data / name, 0, 0)
        (one.server.data / name).chmod(mode)

    return give


def _behind_a_closed_door(one: OneServer) -> None:
    """A link to a file that everybody may read, in a directory that only root may enter."""
    door, path = one.server.directory / "closed", one.server.data / "server.crt"
    door.mkdir(mode=0o700, exist_ok=True)
    (door / "server.crt").write_text(path.read_text())
    path.unlink()
    path.symlink_to(door / "server.crt")


def _rsa_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, pkcs8, plain).decode()


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def _encrypted() -> str:
    return LEAF.key_text(serialization.BestAvailableEncryption(b"a passphrase"))


SAFE: dict[str, Break] = {
    "sound": lambda one: None,
    "key 0400": _mode("server.key", 0o400),
    "intermediate missing": _text("server.crt", LEAF.value.pem),
    "expired leaf": lambda one: _install(one, OURS.server(NAME, (-20, -1))),
    "bundle without a root": _text("root.crt", OURS.clients.value.pem),
    "certificate world readable": _mode("server.crt", 0o644),
    "words after the leaf": _text("server.crt", LEAF.chain_pem + "made by hand\n"),
    "indented certificate in the bundle": _text("root.crt", _indented(OURS.root.value.pem) + OURS.client_bundle),
    "certificate beside the key": _text("server.key", LEAF.value.pem + LEAF.key_pem),
    "key in the bundle": _text("root.crt", LEAF.key_pem + OURS.client_bundle),
    "CA first, with its key": lambda one: _install(one, OURS.servers),
    "bundle of more than 1 MiB": _text("root.crt", "#" * 1024 * 1024 + "\n" + OURS.client_bundle),
}
FATAL: dict[str, Break] = {
    "key is no pair": _text("server.key", OURS.server(NAME).key_pem),
    "key of another kind": _text("server.key", _rsa_key()),
    "key cut off": _text("server.key", LEAF.key_pem[:90]),
    "key 0644": _mode("server.key", 0o644),
    "key 0640": _mode("server.key", 0o640),
    "key missing": _gone("server.key"),
    "key empty": _text("server.key", ""),
    "key encrypted": lambda one: one.write("server.key", _encrypted()),
    "key is a directory": _directory("server.key"),
    "certificate missing": _gone("server.crt"),
    "certificate is garbage": _text("server.crt", "nothing\n"),
    "certificate empty": _text("server.crt", ""),
    "CA first": _text("server.crt", OURS.servers.value.pem + LEAF.value.pem),
    "garbage after the leaf": _text("server.crt", LEAF.value.pem + GARBAGE),
    "intermediate cut off": _text("server.crt", LEAF.chain_pem[:-40]),
    "intermediate indented": _text("server.crt", _indented(LEAF.chain_pem)),
    "bundle of revocation lists": _text("root.crt", OURS.empty_crl()),
    "bundle is a directory": _directory("root.crt"),
    "bundle missing": _gone("root.crt"),
    "bundle without a newline": _text("root.crt", OURS.client_bundle.replace("-----\n-----", "----------")),
    "bundle is garbage": _text("root.crt", "nothing\n"),
    "bundle empty": _text("root.crt", ""),
}
if os.geteuid() == 0:  # only root can give files away; other users have only the cases above
    FATAL["certificate in a closed directory"] = _behind_a_closed_door
    FATAL["certificate of root 0600"] = _given("server.crt", 0o600)
    FATAL["bundle of root 0600"] = _given("root.crt", 0o600)
    SAFE["bundle of root 0644"] = _given("root.crt", 0o644)
    SAFE["key 0640 of root"] = _owner(0, 0o640)
    FATAL["key of root 0600"] = _owner(0, 0o600)
    FATAL["key of a stranger"] = _owner(pwd.getpwnam("daemon").pw_uid, 0o600)


def _install(one: OneServer, pair: Pair) -> None:
    one.write("server.crt", pair.chain_pem)
    one.write("server.key", pair.key_pem)


@pytest.fixture(scope="module", params=["machine", "wheel"])
def stopped(request: pytest.FixtureRequest) -> Iterator[OneServer]:
    """A server that does not run, whose files a test may break."""
    try:
        installation: Installation = find_postgresql(request.param)
    except PostgresqlNotFound as error:
        pytest.skip(str(error))
    with one_server(installation) as one:
        yield one


@pytest.fixture
def copy(stopped: OneServer) -> OneServer:
    """Its files as they should be."""
    stopped.server.stop("immediate")
    stopped.server.configure(TLS, HBA)
    for name in ("server.crt", "server.key", "root.crt"):
        path = stopped.server.data / name
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
    _install(stopped, LEAF)
    stopped.write("root.crt", OURS.client_bundle)
    return stopped


@pytest.mark.parametrize("name", SAFE)
def test_a_server_starts_with_files_that_nothing_is_said_of(copy: OneServer, name: str) -> None:
    """What would only fail logins, or nothing at all, is no alarm about a restart."""
    SAFE[name](copy)
    assert restart_problems(_seen(copy)) == ()
    copy.server.start(10)


@pytest.mark.parametrize("name", FATAL)
def test_a_server_does_not_start_with_files_that_are_complained_of(copy: OneServer, name: str) -> None:
    """Each of these lies on disk unnoticed until the restart, which is fatal."""
    FATAL[name](copy)
    problems = restart_problems(_seen(copy))
    assert problems
    assert all(str(copy.server.data) in problem for problem in problems)
    with pytest.raises(LabError):
        copy.server.start(10)


def test_nothing_is_said_that_holds_a_key(copy: OneServer) -> None:
    """Whatever is wrong with a key, its content stays on the host: in a public file, and under a wrong label too."""
    lines = LEAF.key_pem.splitlines()
    mislabelled = LEAF.key_pem.replace("PRIVATE KEY", "CERTIFICATE")
    copy.write("root.crt", LEAF.key_pem + OURS.client_bundle + mislabelled)
    copy.write("root.crl", LEAF.key_pem + OURS.empty_crl())
    sent = repr(told_of_host(_host(copy)))
    assert not [line for line in lines[1:-1] if line in sent]
    assert "PRIVATE KEY" not in sent
    seen = _seen(copy)
    assert seen.ca_text.certificates == (OURS.clients.value, OURS.root.value)
    assert seen.crls[0].crls[0].issuer == OURS.root.value.subject


def test_what_openssl_passes_over_is_told_of_the_text(copy: OneServer) -> None:
    """The server starts, and trusts fewer CAs than a reader of the file would think."""
    copy.write("root.crt", _indented(OURS.root.value.pem) + OURS.clients.value.pem)
    seen = _seen(copy)
    assert restart_problems(seen) == ()
    assert "OpenSSL passes over that part" in (seen.ca_text.problem or "")


def test_other_services_start_with_a_key_that_others_may_read(copy: OneServer) -> None:
    """Only PostgreSQL looks at the key's mode."""
    _mode("server.key", 0o644)(copy)
    assert restart_problems(_seen(copy))
    assert restart_problems(_seen(copy, ServiceKind.PGBOUNCER)) == ()


def _seen(one: OneServer, kind: ServiceKind = ServiceKind.POSTGRESQL) -> SetOnHost:
    (found,) = look_at_host(_host(one, kind))
    return found


def _host(one: OneServer, kind: ServiceKind = ServiceKind.POSTGRESQL) -> Host:
    server = one.server
    files = ("server.crt", "server.key", "root.crt")
    service = Service(
        kind, server.address, server.port, str(server.data), server.account.name, *files, "true", "true", None
    )
    return Host("one", server.address, NAME, True, (service,), ())
