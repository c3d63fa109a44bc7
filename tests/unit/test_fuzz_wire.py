"""The wire's reader hears whatever a peer may say, in whatever pieces: it answers, and nothing is raised."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.fleet.presented import ASK_FOR_TLS, Reader
from tasks.fleet.wire_visit import Answer, Visit
from tests.plugins.authority import Authority, write_files

_OURS = Authority("fuzz")
_LEAF = _OURS.server("peer.example")
_VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
_SHARE = st.floats(0, 1)
_PIECES = st.lists(st.binary(max_size=60), max_size=6)
_RECORDS = st.builds(
    lambda kind, version, body: bytes([kind]) + version + len(body).to_bytes(2, "big") + body,
    st.integers(19, 25), st.sampled_from([b"\x03\x01", b"\x03\x03", b"\x03\x04"]), st.binary(max_size=80),
)  # fmt: skip


class _Wire(asyncio.Transport):
    """A connection that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.sent.append(bytes(data))

    def write_eof(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True


class _Meeting:
    """A visit to a peer that the test plays."""

    def __init__(self, asks_first: bool) -> None:
        self.loop = asyncio.new_event_loop()
        self.wire = _Wire()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        tls = context.wrap_bio(incoming, outgoing, server_hostname="peer.example"), incoming, outgoing
        self.visit = Visit(tls, Reader(), asks_first, self.loop)
        self.visit.connection_made(self.wire)

    def __enter__(self) -> _Meeting:
        return self

    def __exit__(self, *_error: object) -> None:
        self.loop.close()

    def end(self, error: Exception | None = None) -> Answer:
        """The peer is gone; what came of it."""
        self.visit.connection_lost(error)
        return self.visit.answer.result()


@cache
def _peer_context(version: ssl.TLSVersion) -> ssl.SSLContext:
    with TemporaryDirectory() as directory:
        files = write_files(Path(directory), _LEAF.chain_pem, _LEAF.key_pem, _OURS.client_bundle)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert, files.key)
        context.maximum_version = version
    return context


def _first_flight(hello: bytes, version: ssl.TLSVersion) -> bytes:
    """What a sound server answers to a ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = _peer_context(version).wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(hello)
    with pytest.raises(ssl.SSLWantReadError):
        peer.do_handshake()
    return outgoing.read()


def _require_an_answer(answer: Answer) -> None:
    chain, problem = answer
    assert bool(chain) != bool(problem), answer


@given(st.booleans(), _PIECES | st.lists(_RECORDS, max_size=4), st.booleans(), st.booleans())
def test_whatever_comes_is_answered(asks_first: bool, pieces: Sequence[bytes], half: bool, broken: bool) -> None:
    """Noise, and TLS records of every kind with noise in them, before and after a peer's yes."""
    with _Meeting(asks_first) as meeting:
        if asks_first and len(pieces) % 2:
            meeting.visit.data_received(b"S")
        for piece in pieces:
            meeting.visit.data_received(piece)
        if half:
            meeting.visit.eof_received()
        answer = meeting.end(ConnectionResetError(104, "reset") if broken else None)
    _require_an_answer(answer)
    assert not answer[0]
    assert (meeting.wire.sent[0] == ASK_FOR_TLS) == asks_first


@given(
    st.sampled_from(_VERSIONS),
    st.lists(st.tuples(_SHARE, st.integers(0, 255)), max_size=3),
    st.lists(_SHARE, max_size=5),
    st.sampled_from([[], [1.0]]),
)
def test_a_damaged_handshake_is_answered(
    version: ssl.TLSVersion, damages: Sequence[tuple[float, int]], cuts: list[float], end: list[float]
) -> None:
    """A real server's first flight with bytes overwritten, in pieces, whole or not; TLS 1.2 hides nothing."""
    with _Meeting(asks_first=False) as meeting:
        flight = bytearray(_first_flight(b"".join(meeting.wire.sent), version))
        for place, byte in damages:
            flight[int(place * (len(flight) - 1))] = byte
        places = sorted(int(cut * len(flight)) for cut in cuts + end)
        for begin, stop in pairwise([0, *places]):
            meeting.visit.data_received(bytes(flight[begin:stop]))
        meeting.visit.eof_received()
        _require_an_answer(meeting.end())


@pytest.mark.parametrize("version", _VERSIONS)
def test_the_same_handshake_undamaged_shows_the_chain(version: ssl.TLSVersion) -> None:
    """So that what is fed above is what a peer sends."""
    with _Meeting(asks_first=False) as meeting:
        meeting.visit.data_received(_first_flight(b"".join(meeting.wire.sent), version))
        meeting.visit.eof_received()
        chain, problem = meeting.end()
    assert problem is None
    assert [one.fingerprint for one in chain] == [_LEAF.value.fingerprint, _OURS.servers.value.fingerprint]
