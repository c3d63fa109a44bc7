"""What thousands of endpoints serve, seen from the wire at once: no credentials, no trace in their logs.

The work is asyncio's; each endpoint has a time limit of its own, and those that keep silent give up their place in
line after a moment, so that a dead network does not hold up the others.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import resource
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum, auto

from rechain.certificate import Certificate
from rechain.fleet import ServiceKind
from rechain.scan.seen import Listener, Served
from tasks.fleet.presented import ANSWERS, ASK_FOR_TLS, Reader, Unparsable

_ASKS_FIRST = frozenset({ServiceKind.POSTGRESQL, ServiceKind.PGBOUNCER})
_PATIENCE_S = 0.3
_LEAVE_S = 1.0
_MOST_OPEN = 4000
_RESERVED_FILES = 100
_TOO_OLD = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW"})
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "PACKET_LENGTH_TOO_LONG"})

Answer = tuple[tuple[Certificate, ...], str | None]


def look_at_wire(
    listeners: Sequence[Listener],
    *,
    timeout_s: float = 5.0,
    concurrency: int = 200,
    on_seen: Callable[[Served], None] | None = None,
) -> tuple[Served, ...]:
    """See what every endpoint presents. Idempotent, safe to retry; never raises for what a peer does.

    Args:
        listeners: Where to look, and what speaks there.
        timeout_s: Seconds for one endpoint: resolving, connection and handshake together.
        concurrency: How many endpoints are looked at at a time; those that keep silent for a moment don't count.
        on_seen: Hears each result as it comes.

    Returns:
        One result for each listener, in their order: a chain as it was sent, or why there is none.
    """
    return asyncio.run(look(listeners, timeout_s=timeout_s, concurrency=concurrency, on_seen=on_seen))


async def look(
    listeners: Sequence[Listener],
    *,
    timeout_s: float = 5.0,
    concurrency: int = 200,
    on_seen: Callable[[Served], None] | None = None,
) -> tuple[Served, ...]:
    """As `look_at_wire`, in a running event loop."""
    results: list[Served | None] = [None] * len(listeners)
    scan = _Scan(timeout_s)
    active, opened = asyncio.Semaphore(concurrency), asyncio.Semaphore(_most_open(concurrency))

    async def one(number: int, listener: Listener) -> None:
        results[number] = served = Served(listener, *await scan.look(listener, active.release))
        opened.release()
        if on_seen:
            on_seen(served)

    async with asyncio.TaskGroup() as group:
        for number, listener in enumerate(listeners):
            await opened.acquire()
            await active.acquire()
            group.create_task(one(number, listener))
    return tuple(served for served in results if served is not None)


def _most_open(concurrency: int) -> int:
    """How many connections may be open with the silent ones: as many as there are file descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(concurrency, min(_MOST_OPEN, soft - _RESERVED_FILES))


class _Scan:
    """What all looks share: TLS settings that judge nothing, parsed certificates, resolved names."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._context = _context()
        self._reader = Reader()
        self._names: dict[str, asyncio.Task[str]] = {}

    async def look(self, listener: Listener, give_up_place: Callable[[], None]) -> Answer:
        """Look at one endpoint; `give_up_place` is called once, when it is done or has kept silent for a moment."""
        loop = asyncio.get_running_loop()
        place = _Place(give_up_place)
        patience = loop.call_later(min(_PATIENCE_S, self._timeout_s), place.leave)
        visit = _Visit(self._tls(listener), self._reader, listener.kind in _ASKS_FIRST, loop)
        try:
            async with asyncio.timeout(self._timeout_s):
                address = await self._address(listener.endpoint.address, loop)
                await loop.create_connection(lambda: visit, address, listener.endpoint.port)
                return await visit.answer
        except TimeoutError:
            return (), f"no answer within {self._timeout_s:g} s"
        except OSError as error:
            return (), _reason(error)
        finally:
            await visit.gone()
            patience.cancel()
            place.leave()

    def _tls(self, listener: Listener) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = listener.endpoint.server_name
        return self._context.wrap_bio(incoming, outgoing, server_hostname=name or None), incoming, outgoing

    async def _address(self, name: str, loop: asyncio.AbstractEventLoop) -> str:
        """The first address of a name, asked for once however many endpoints have it."""
        if _is_address(name):
            return name
        if name not in self._names:
            self._names[name] = asyncio.ensure_future(_resolved(name, loop))
        return await asyncio.shield(self._names[name])


class _Place:
    """A place among those that are looked at; it is left once."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave: Callable[[], None] | None = leave

    def leave(self) -> None:
        if self._leave:
            self._leave()
            self._leave = None


class _Stage(Enum):
    ASKING = auto()
    SHAKING_HANDS = auto()
    LEAVING = auto()


class _Visit(asyncio.Protocol):
    """One connection: ask for TLS, shake hands, read the chain, say goodbye in TLS, and wait for the peer's end.

    The goodbye matters: PostgreSQL logs an error for every peer that just hangs up, or whose unread data (session
    tickets of TLS 1.3) makes the kernel reset the connection.
    """

    def __init__(
        self,
        tls: tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO],
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
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # what TCP has
        self._transport = transport
        if self._stage is _Stage.ASKING:
            transport.write(ASK_FOR_TLS)
        else:
            self._shake_hands()

    def data_received(self, data: bytes) -> None:
        if self._stage is _Stage.ASKING:
            self._hear(data)
        elif self._stage is _Stage.SHAKING_HANDS:
            self._incoming.write(data)
            self._shake_hands()

    def eof_received(self) -> None:
        if self._stage is _Stage.SHAKING_HANDS:
            self._incoming.write_eof()
            self._shake_hands()
        self._end((), ANSWERS[b""])

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set_result(None)
        self._end((), _reason(exc) if isinstance(exc, OSError) else ANSWERS[b""])

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


def _context() -> ssl.SSLContext:
    """TLS that looks without judging: an expired, foreign or weak certificate is seen like any other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _tls_reason(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if reason in _TOO_OLD:
        return "it speaks no TLS of version 1.2 or newer"
    if reason in _NO_TLS:
        return "it does not speak TLS"
    if isinstance(error, ssl.SSLEOFError):
        return ANSWERS[b""]
    words = reason.replace("_", " ").lower() or str(error)
    return f"the TLS handshake fails: {words}"


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "its name can't be resolved"
    return os.strerror(error.errno) if error.errno and error.errno in errno.errorcode else str(error)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


async def _resolved(name: str, loop: asyncio.AbstractEventLoop) -> str:
    found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return str(found[0][4][0])
