"""What thousands of endpoints serve, seen from the wire at once: no credentials, no trace in their logs.

The work is asyncio's; each endpoint has a time limit of its own, and those that keep silent give up their place in
line after a moment, so that a dead network does not hold up the others.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence

from rechain.scan.seen import Listener, Served
from tasks.fleet.presented import Reader
from tasks.fleet.wire_line import Line, Place, line_of_this_process
from tasks.fleet.wire_visit import Answer, Tls, Visit, reason
from tasks.playbooks.module_utils.rechain_kinds import KINDS


def look_at_wire(
    listeners: Sequence[Listener],
    *,
    timeout_s: float = 5.0,
    line: Line | None = None,
    on_seen: Callable[[Served], None] | None = None,
) -> tuple[Served, ...]:
    """See what every endpoint presents. Idempotent, safe to retry; never raises for what a peer does.

    Args:
        listeners: Where to look, and what speaks there.
        timeout_s: Seconds for one endpoint: resolving, connection and handshake together.
        line: Where endpoints wait for their turn; that of this process when None.
        on_seen: Hears each result as it comes, in the line's thread.

    Returns:
        One result for each listener, in their order: a chain as it was sent, or why there is none.
    """
    line = line or line_of_this_process()
    return line.run(_Scan(line, timeout_s, on_seen).look_at_all(listeners))


class _Scan:
    """What all looks share: TLS settings that judge nothing, parsed certificates, resolved names."""

    def __init__(self, line: Line, timeout_s: float, on_seen: Callable[[Served], None] | None) -> None:
        self._line, self._timeout_s, self._on_seen = line, timeout_s, on_seen
        self._context = _context()
        self._reader = Reader()
        self._names: dict[str, asyncio.Task[str]] = {}

    async def look_at_all(self, listeners: Sequence[Listener]) -> tuple[Served, ...]:
        """Look at endpoints as places become free; one result each, in their order."""
        looks = []
        async with asyncio.TaskGroup() as group:
            for listener in listeners:
                await self._line.opened.acquire()
                await self._line.places.acquire()
                looks.append(group.create_task(self._look_in_turn(listener)))
        return tuple(look.result() for look in looks)

    async def _look_in_turn(self, listener: Listener) -> Served:
        place = Place(self._line, asyncio.get_running_loop(), self._timeout_s)
        try:
            served = Served(listener, *await self._look(listener))
        finally:
            place.leave()
            self._line.opened.release()
        if self._on_seen:
            self._on_seen(served)
        return served

    async def _look(self, listener: Listener) -> Answer:
        if not all(_is_usable(name) for name in (listener.endpoint.address, listener.endpoint.server_name)):
            return (), "its name is none that DNS or TLS could carry"
        loop = asyncio.get_running_loop()
        visit = Visit(self._tls(listener), self._reader, KINDS[listener.kind].asks_first, loop)
        try:
            async with asyncio.timeout(self._timeout_s):
                address = await self._address(listener.endpoint.address, loop)
                await loop.create_connection(lambda: visit, address, listener.endpoint.port)
                return await visit.answer
        except TimeoutError:
            return (), f"no answer within {self._timeout_s:g} s"
        except OSError as error:
            return (), reason(error)
        finally:
            await visit.gone()

    def _tls(self, listener: Listener) -> Tls:
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


def _context() -> ssl.SSLContext:
    """TLS that looks without judging: an expired, foreign or weak certificate is seen like any other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # Debian's Python would take less; libpq does not
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_usable(name: str) -> bool:
    try:
        return b"\0" not in name.encode("idna")
    except UnicodeError:
        return False


async def _resolved(name: str, loop: asyncio.AbstractEventLoop) -> str:
    found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return str(found[0][4][0])
