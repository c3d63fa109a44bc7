"""What an endpoint serves, looked at without a trace."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lab.installation import find_postgresql
from rechain.certificate import read_bundle, read_certificates
from rechain.fleet import Endpoint, ServiceKind
from tasks.fleet.server_log import LogPosition, mark
from tasks.fleet.wire import WireUnreadable, acceptable_ca_names, served
from tests.plugins.authority import Authority, write_files
from tests.plugins.one_server import TLS, OneServer, one_server


@pytest.fixture(scope="module")
def one() -> Iterator[OneServer]:
    """A server of the PostgreSQL that is here."""
    with one_server(find_postgresql()) as server:
        yield server


@contextmanager
def _tls_server(directory: Path, authority: Authority) -> Iterator[Endpoint]:
    """A service that speaks TLS at once, as HAProxy and etcd do, and answers one visitor."""
    leaf = authority.server("proxy.example")
    files = write_files(directory, leaf.chain_pem, leaf.key_pem, authority.client_bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)

    def answer(listening: socket.socket) -> None:
        visitor, _ = listening.accept()
        with context.wrap_socket(visitor, server_side=True) as tls:
            tls.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer, args=[listening])
        thread.start()
        yield Endpoint("proxy", "proxy.example", "127.0.0.1", listening.getsockname()[1])
        thread.join()


def test_the_chain_as_served(one: OneServer) -> None:
    """The leaf comes first, then what the server sends with it, exactly as in its file."""
    certificates = read_certificates((one.server.data / "server.crt").read_text(), "server.crt")
    assert served(one.endpoint) == certificates
    assert len(certificates) == 2


def test_a_look_leaves_no_complaint_in_the_log(one: OneServer) -> None:
    """PostgreSQL logs an error for a peer that hangs up; a scan every minute must not fill its log."""
    before = mark(str(one.server.log))
    assert isinstance(before, LogPosition)
    for _ in range(5):
        served(one.endpoint)
    one.restart(TLS)  # a stopped server has written everything
    written = one.server.log.read_bytes()[before.offset :].decode()
    assert written.count("connection received: host=127.0.0.1") >= 5
    complaints = ("SSL", "could not", "incomplete")
    assert [line for line in written.splitlines() if any(each in line for each in complaints)] == []


def test_an_expired_leaf_is_shown_like_any_other(one: OneServer) -> None:
    """A look judges nothing: finding what is wrong is what it is for."""
    expired, good = (one.authority.server("db1.example", days=days) for days in ((-5, -1), (-1, 30)))
    for leaf in (expired, good):
        one.write("server.crt", leaf.chain_pem)
        one.write("server.key", leaf.key_pem)
        one.server.restart()
        assert served(one.endpoint)[0].fingerprint == leaf.value.fingerprint


def test_a_service_that_speaks_tls_at_once(tmp_path: Path) -> None:
    """HAProxy and etcd are not asked with PostgreSQL's request first."""
    authority = Authority("ours")
    with _tls_server(tmp_path, authority) as endpoint:
        subjects = [certificate.subject for certificate in served(endpoint, kind=ServiceKind.HAPROXY)]
    assert subjects[0].startswith("CN=proxy.example,")
    assert subjects[1] == authority.servers.value.subject


def test_the_ca_names_that_a_server_accepts(one: OneServer) -> None:
    """They are those of its client bundle, written as rechain writes subjects, accents and commas included."""
    bundle = read_bundle(one.authority.client_bundle, "root.crt")
    assert set(acceptable_ca_names(one.endpoint)) == {certificate.subject for certificate in bundle.certificates}


def test_a_server_without_tls(one: OneServer) -> None:
    """It is said, not mistaken for a server that is down."""
    one.restart({"ssl": "off"}, ("local all all trust",))
    with pytest.raises(WireUnreadable, match="TLS switched off"):
        served(one.endpoint)
    one.restart(TLS)
    assert served(one.endpoint)


def test_nobody_there(one: OneServer) -> None:
    """A closed port, an unknown name and a port that says nothing are told apart, within the time limit."""
    closed = replace(one.endpoint, port=1)
    with pytest.raises(WireUnreadable, match="Connection refused"):
        served(closed)
    with pytest.raises(WireUnreadable, match="sees no TLS"):
        acceptable_ca_names(closed)
    with pytest.raises(WireUnreadable, match=r"nowhere\.invalid"):
        served(replace(one.endpoint, address="nowhere.invalid"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = replace(one.endpoint, address="127.0.0.1", port=silent.getsockname()[1])
        with pytest.raises(WireUnreadable, match=r"no answer within 0\.5 s"):
            served(endpoint, timeout_s=0.5)
        with pytest.raises(WireUnreadable, match=r"no answer within 0\.5 s"):
            acceptable_ca_names(endpoint, timeout_s=0.5)
