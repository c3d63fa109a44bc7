"""Whether a server would survive a restart: what is said of its files, and what PostgreSQL does with them."""

from __future__ import annotations

import importlib
import os
import pwd
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from lab.errors import LabError
from lab.installation import Installation, PostgresqlNotFound, find_postgresql
from rechain.fleet import Host, Service, ServiceKind
from rechain.scan.restart import client_problems, restart_problems
from rechain.scan.seen import SetOnHost
from tasks.fleet.host_look import sets_of
from tasks.playbooks.module_utils import rechain_pem
from tests.plugins.authority import Authority
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


def _encrypted() -> str:
    return LEAF.key_text(serialization.BestAvailableEncryption(b"a passphrase"))


SAFE: dict[str, Break] = {
    "sound": lambda one: None,
    "key 0400": _mode("server.key", 0o400),
    "intermediate missing": _text("server.crt", LEAF.value.pem),
    "expired leaf": lambda one: _install(one, OURS.server(NAME, (-20, -1))),
    "bundle without a root": _text("root.crt", OURS.clients.value.pem),
    "certificate world readable": _mode("server.crt", 0o644),
}
FATAL: dict[str, Break] = {
    "key is no pair": _text("server.key", OURS.server(NAME).key_pem),
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
    "bundle missing": _gone("root.crt"),
    "bundle without a newline": _text("root.crt", OURS.client_bundle.replace("-----\n-----", "----------")),
    "bundle is garbage": _text("root.crt", "nothing\n"),
    "bundle empty": _text("root.crt", ""),
}
if os.geteuid() == 0:  # only root can give files away; other users have only the cases above
    FATAL["certificate of root 0600"] = _given("server.crt", 0o600)
    FATAL["bundle of root 0600"] = _given("root.crt", 0o600)
    SAFE["bundle of root 0644"] = _given("root.crt", 0o644)
    SAFE["key 0640 of root"] = _owner(0, 0o640)
    FATAL["key of root 0600"] = _owner(0, 0o600)
    FATAL["key of a stranger"] = _owner(pwd.getpwnam("daemon").pw_uid, 0o600)


def _install(one: OneServer, pair: object) -> None:
    one.write("server.crt", pair.chain_pem)  # type: ignore[attr-defined]
    one.write("server.key", pair.key_pem)  # type: ignore[attr-defined]


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
    """Whatever is wrong with a key, its content stays on the host: also when it lies in a public file."""
    copy.write("root.crt", LEAF.key_pem + OURS.client_bundle)
    seen = repr(_seen(copy))
    assert LEAF.key_pem.splitlines()[1] not in seen
    assert "PRIVATE KEY" not in seen


def test_a_clients_key_that_others_may_read_is_found(copy: OneServer) -> None:
    """A key that libpq refuses: one that its group may read."""
    _mode("server.key", 0o640)(copy)
    assert client_problems(_seen(copy))


def _look_at_set(one: dict[str, str]) -> dict[str, Any]:
    """The module's own function, found where Ansible puts it on a host."""
    sys.modules.setdefault("ansible.module_utils.rechain_pem", rechain_pem)
    found: dict[str, Any] = importlib.import_module("tasks.playbooks.module_utils.rechain_look").look_at_set(one)
    return found


def _seen(one: OneServer) -> SetOnHost:
    owner = one.server.account.name
    files = {"cert": "server.crt", "key": "server.key", "ca": "root.crt"}
    service = Service(
        kind=ServiceKind.POSTGRESQL,
        address=one.server.address,
        port=one.server.port,
        cert_dir=str(one.server.data),
        owner=owner,
        reload="true",
        restart="true",
        log=None,
        **files,
    )
    host = Host("one", one.server.address, NAME, True, (service,), ())
    (found,) = sets_of(host, [_look_at_set({"cert_dir": str(Path(one.server.data)), "owner": owner, **files})])
    return found
