"""One visit to a TLS endpoint: ask for TLS, shake hands, see the chain, say goodbye. Bytes in, bytes out."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from contextlib import suppress
from enum import Enum, auto

from rechain.certificate import Certificate
from tasks.fleet.presented import ANSWERS, ASK_FOR_TLS, Reader, Unparsable

_LEAVE_S = 1.0
_TOO_OLD = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW"})
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "PACKET_LENGTH_TOO_LONG"})

Answer = tuple[tuple[Certificate, ...], str | None]
"""A chain as it was sent, leaf first, or why there is none."""
Tls = tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]
"""A client's side of TLS in memory: what comes in, and what is to be sent."""


class _Stage(Enum):
    ASKING = auto()
    SHAKING_HANDS = auto()
    LEAVING = auto()


class Visit(asyncio.Protocol):
    """One connection: ask for TLS, shake hands, read the chain, say goodbye in TLS, and wait for the peer's end.

    The goodbye matters: PostgreSQL logs an error for every peer that just hangs up, or whose unread data (session
    tickets of TLS 1.3) makes the kernel reset the connection.
    """

    def __init__(
        self,
        tls: Tls,
        reader: Reader,
        asks_first: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.answer: asyncio.Future[Answer] = loop.create_future()
        self._tls, self._incoming, self._outgoing = tls
        self._reader, self._loop = reader, loop
        self._stage = _Stage.ASKING if asks_first else _Stage.SHAKING_HANDS
        self._transport: asyncio.Transport | None = None
        self._gone: asyncio.Future[None] = loop.create_future()

    async def gone(self) -> None:
        """Wait until the connection is over: at once where nothing was answered, in a second at most where it was."""
        if self._transport is None:
            return
        if self._stage is not _Stage.LEAVING:
            self._transport.abort()
        limit = self._loop.call_later(_LEAVE_S, self._transport.abort)
        await self._gone
        limit.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for TLS, or start with it."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # what TCP has
        self._transport = transport
        if self._stage is _Stage.ASKING:
            transport.write(ASK_FOR_TLS)
        else:
            self._shake_hands()

    def data_received(self, data: bytes) -> None:
        """Take what the peer says, in whatever pieces it comes."""
        if self._stage is _Stage.ASKING:
            self._hear(data)
        elif self._stage is _Stage.SHAKING_HANDS:
            self._incoming.write(data)
            self._shake_hands()

    def eof_received(self) -> None:
        """The peer says no more; what it said may still be enough."""
        if self._stage is _Stage.SHAKING_HANDS:
            self._incoming.write_eof()
            self._shake_hands()
        self._end((), ANSWERS[b""])

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over; without an answer until now, there is none."""
        self._gone.set_result(None)
        self._end((), reason(exc) if isinstance(exc, OSError) else ANSWERS[b""])

    def _hear(self, answer: bytes) -> None:
        """The one byte that answers a request for TLS; more than that is not the peer's to send yet."""
        if answer == b"S":
            self._stage = _Stage.SHAKING_HANDS
            self._shake_hands()
        else:
            self._end((), ANSWERS.get(answer, f"it answers {answer[:20]!r} to a request for TLS"))

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._refused(error)
        else:
            self._present(None)
            self._leave()

    def _refused(self, error: ssl.SSLError) -> None:
        """A peer that wants a certificate of ours ends the handshake after it has presented its own."""
        self._present(_tls_reason(error))
        self._flush()  # the alert that tells it why

    def _present(self, problem: str | None) -> None:
        try:
            chain = self._reader.chain(self._tls)
        except Unparsable as error:
            self._end((), str(error))
            return
        self._end(chain, None if chain else problem or "it presents no certificate")

    def _leave(self) -> None:
        self._stage = _Stage.LEAVING
        with suppress(ssl.SSLError):  # it wants to wait for the peer's goodbye, which nobody needs
            self._tls.unwrap()
        self._flush()
        if self._transport:
            self._transport.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending and self._transport:
            self._transport.write(self._outgoing.read())

    def _end(self, chain: tuple[Certificate, ...], problem: str | None) -> None:
        if not self.answer.done():
            self.answer.set_result((chain, problem))


def _tls_reason(error: ssl.SSLError) -> str:
    code = error.reason or ""
    if code in _TOO_OLD:
        return "it speaks no TLS of version 1.2 or newer"
    if code in _NO_TLS:
        return "it does not speak TLS"
    if isinstance(error, ssl.SSLEOFError):
        return ANSWERS[b""]
    words = code.replace("_", " ").lower() or str(error)
    return f"the TLS handshake fails: {words}"


def reason(error: OSError) -> str:
    """Why there is no connection, in words."""
    if isinstance(error, socket.gaierror):
        return "its name can't be resolved"
    return os.strerror(error.errno) if error.errno and error.errno in errno.errorcode else str(error)
