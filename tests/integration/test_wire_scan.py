"""What endpoints serve, many at once: peers that misbehave in every way, and no trace in a server's log."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from lab.installation import find_postgresql
from rechain.certificate import read_certificates
from rechain.certificate_policy import lint_certificates
from rechain.fleet import Endpoint, ServiceKind
from rechain.scan.seen import Listener, Served
from tasks.fleet.wire_line import Line
from tasks.fleet.wire_scan import look_at_wire
from tests.plugins.authority import Authority, write_files
from tests.plugins.one_server import HBA, NAME, TLS, OneServer, one_server

Talk = Callable[[socket.socket], None]
OURS = Authority("ours")


@pytest.fixture(scope="module")
def one() -> Iterator[OneServer]:
    """A server of the PostgreSQL that is here."""
    with one_server(find_postgresql()) as server:
        yield server


@contextmanager
def _peer(talk: Talk, kind: ServiceKind = ServiceKind.POSTGRESQL) -> Iterator[Listener]:
    """A peer that talks as it likes to one visitor."""

    def serve(listening: socket.socket) -> None:
        visitor, _ = listening.accept()
        with visitor, suppress(OSError):
            visitor.settimeout(5)
            talk(visitor)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=[listening])
        thread.start()
        yield Listener(Endpoint("peer", "peer.example", "127.0.0.1", listening.getsockname()[1]), kind)
        thread.join()


def _see(talk: Talk, kind: ServiceKind = ServiceKind.POSTGRESQL, timeout_s: float = 1.0) -> Served:
    with _peer(talk, kind) as listener:
        (served,) = look_at_wire([listener], timeout_s=timeout_s)
        return served


def _answering(answer: bytes) -> Talk:
    def talk(visitor: socket.socket) -> None:
        visitor.recv(8)
        visitor.sendall(answer)
        visitor.recv(4096)

    return talk


def _silent(visitor: socket.socket) -> None:
    visitor.recv(8)
    visitor.recv(4096)


def _closing(visitor: socket.socket) -> None:
    visitor.recv(8)


def _resetting(visitor: socket.socket) -> None:
    visitor.recv(8)
    visitor.sendall(b"S")
    visitor.recv(100)
    visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _http(visitor: socket.socket) -> None:
    visitor.recv(100)
    visitor.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    visitor.recv(4096)


@pytest.mark.parametrize(
    ("talk", "problem"),
    [
        (_silent, "no answer within 1 s"),
        (_answering(b"N"), "it has TLS switched off"),
        (_answering(b"E"), "it answers b'E' to a request for TLS"),
        (_answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "it answers b'SSH-2.0-OpenSSH_9.2"),
        (_http, "it answers b'HTTP/1.1"),
        (_answering(b"S" + b"\x15\x03\x01\x00\x02\x02\x46"), "it answers b'S"),
        (_closing, "it closed the connection"),
        (_resetting, "reset by peer"),
    ],
)
def test_a_peer_that_is_no_postgresql_is_a_problem_in_words(talk: Talk, problem: str) -> None:
    """Nothing crashes, and each is told as what it is."""
    served = _see(talk)
    assert served.chain == ()
    assert problem in (served.problem or "")


@pytest.mark.parametrize("talk", [_http, _answering(b"\x00" * 4000), _answering(b"\x16\x03\x03\xff\xff" + b"x" * 4000)])
def test_a_port_without_tls_is_told(talk: Talk) -> None:
    """Where TLS should begin at once, something else does."""
    served = _see(talk, ServiceKind.HAPROXY)
    assert served.chain == ()
    assert served.problem


@contextmanager
def _tls(directory: Path, chain_pem: str, key_pem: str, **options: object) -> Iterator[Listener]:
    files = write_files(directory, chain_pem, key_pem, OURS.client_bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    for name, value in options.items():
        setattr(context, name, value)
    context.load_cert_chain(files.cert, files.key)
    context.load_verify_locations(files.ca)

    def talk(visitor: socket.socket) -> None:
        with context.wrap_socket(visitor, server_side=True) as tls:
            tls.recv(1)

    with _peer(talk, ServiceKind.ETCD) as listener:
        yield listener


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated")
def test_tls_that_is_too_old_is_told(tmp_path: Path) -> None:
    """Clients refuse it, and so say we."""
    leaf = OURS.server("peer.example")
    old = {"minimum_version": ssl.TLSVersion.TLSv1, "maximum_version": ssl.TLSVersion.TLSv1}
    with _tls(tmp_path, leaf.chain_pem, leaf.key_pem, **old) as listener:
        (served,) = look_at_wire([listener], timeout_s=2)
    assert served.problem == "it speaks no TLS of version 1.2 or newer"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_peer_that_asks_for_a_certificate_shows_its_own(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Services with mutual TLS end the handshake without ours, after they presented theirs."""
    leaf = OURS.server("peer.example")
    options = {"verify_mode": ssl.CERT_REQUIRED, "maximum_version": version}
    with _tls(tmp_path, leaf.chain_pem, leaf.key_pem, **options) as listener:
        (served,) = look_at_wire([listener], timeout_s=2)
    assert [one.fingerprint for one in served.chain] == [leaf.value.fingerprint, OURS.servers.value.fingerprint]


def test_an_expired_leaf_is_seen_like_any_other(tmp_path: Path) -> None:
    """Looking judges nothing."""
    leaf = OURS.server("peer.example", (-20, -1))
    with _tls(tmp_path, leaf.chain_pem, leaf.key_pem) as listener:
        (served,) = look_at_wire([listener], timeout_s=2)
    assert served.chain[0].fingerprint == leaf.value.fingerprint


@pytest.mark.parametrize(("count", "is_accepted"), [(4_000, True), (10_000, False)])
def test_a_leaf_of_too_many_names_is_told_as_libpq_meets_it(count: int, is_accepted: bool) -> None:
    """A real server presents it, libpq logs in or refuses, the scan sees the same, and the policy has said so."""
    names = tuple(f"db{number}.example" for number in range(count))
    leaf = OURS.server(NAME, more_names=names)
    with one_server(find_postgresql()) as large:
        large.write("server.crt", leaf.chain_pem)
        large.write("server.key", leaf.key_pem)
        large.restart(TLS, ("local all all trust", "hostssl all all all trust"))
        (served,) = look_at_wire([Listener(large.endpoint)])
        login = f"host={large.endpoint.address} port={large.endpoint.port} user=app dbname=postgres sslmode=require"
        try:
            psycopg.connect(login, connect_timeout=10).close()
            refusal = ""
        except psycopg.OperationalError as error:
            refusal = str(error)
    assert ("excessive message size" in refusal) is not is_accepted, refusal
    assert bool(served.chain) is is_accepted
    assert served.problem == (None if is_accepted else "the TLS handshake fails: excessive message size")
    findings = lint_certificates(leaf.chain_pem, "leaf", now=datetime.now(UTC))
    assert ("too-large" in {finding.policy for finding in findings}) is not is_accepted


def test_nobody_there_and_no_such_name() -> None:
    """Refused connections and unknown names are told, each in its place."""
    nobody = Listener(Endpoint("a", "a", "127.0.0.1", 1))
    unknown = Listener(Endpoint("b", "b", "no-such-host.invalid", 5432))
    refused, unresolved = look_at_wire([nobody, unknown], timeout_s=5)
    assert refused.problem == "Connection refused"
    assert unresolved.problem in ("its name can't be resolved", "no answer within 5 s")


@pytest.mark.parametrize("name", ["db..example", "x" * 300, "db\0example"])
def test_a_name_that_nobody_can_ask_for_is_told(name: str) -> None:
    """In an inventory, anything may stand."""
    served = look_at_wire([Listener(Endpoint("a", name, "127.0.0.1", 1)), Listener(Endpoint("b", "b", name, 1))])
    assert {one.problem for one in served} == {"its name is none that DNS or TLS could carry"}


def test_shards_share_the_places_in_line() -> None:
    """Looks side by side hold no more connections than one look: time limits don't run out in a crowd."""
    line, open_now, most = Line(2), 0, 0
    guard = threading.Lock()

    def talk(visitor: socket.socket) -> None:
        nonlocal open_now, most
        with guard:
            open_now += 1
            most = max(most, open_now)
        visitor.recv(8)
        time.sleep(0.1)
        with guard:
            open_now -= 1

    with ExitStack() as stack:
        peers = [stack.enter_context(_peer(talk)) for _ in range(8)]
        with ThreadPoolExecutor(4) as pool:
            shards = [pool.submit(look_at_wire, peers[n : n + 2], line=line) for n in range(0, 8, 2)]
            seen = [one for shard in shards for one in shard.result()]
    assert {one.problem for one in seen} == {"it closed the connection"}
    assert most == 2


def test_silent_peers_do_not_hold_up_the_rest(one: OneServer) -> None:
    """Far more silent peers than places in line: the one that answers is seen before any of them has timed out."""
    order: list[str] = []
    with ExitStack() as stack:
        silent = [stack.enter_context(_peer(_silent)) for _ in range(20)]
        look_at_wire(
            [*silent, Listener(one.endpoint)], timeout_s=4, line=Line(2),
            on_seen=lambda served: order.append("seen" if served.chain else "silent"),
        )  # fmt: skip
    assert order[0] == "seen"
    assert len(order) == 21


def test_results_come_in_the_order_of_the_listeners(one: OneServer) -> None:
    """One for each, whatever became of it."""
    nobody = Listener(Endpoint("a", "a", "127.0.0.1", 1))
    served = look_at_wire([nobody, Listener(one.endpoint), nobody])
    assert [bool(each.chain) for each in served] == [False, True, False]
    certificates = read_certificates((one.server.data / "server.crt").read_text(), "server.crt")
    assert served[1].chain == certificates


def test_a_hundred_scans_leave_no_line_in_the_log(one: OneServer) -> None:
    """At PostgreSQL's own log settings; a visitor that hangs up would leave one each time."""
    one.restart({**TLS, "log_connections": "off"}, HBA)
    time.sleep(0.2)
    before = one.server.log.read_text()
    for _ in range(100):
        (served,) = look_at_wire([Listener(one.endpoint)])
        assert served.chain
    _hang_up(one.endpoint)
    line = "could not accept SSL connection"
    deadline = time.monotonic() + 10
    while line not in one.server.log.read_text()[len(before) :] and time.monotonic() < deadline:
        time.sleep(0.05)
    after = one.server.log.read_text()[len(before) :].splitlines()
    assert len(after) == 1, after
    assert line in after[0]


def _hang_up(endpoint: Endpoint) -> None:
    """What a scanner must not do: it shows that the log would tell."""
    with socket.create_connection((endpoint.address, endpoint.port)) as plain:
        plain.sendall(bytes.fromhex("0000000804d2162f"))
        plain.recv(1)
        plain.sendall(b"\x16\x03\x01\x00\x05hello")
