"""`python -m benchmarks.scan.responder DIRECTORY`: serve every endpoint of a directory, until standard input ends."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from contextlib import suppress
from pathlib import Path

from benchmarks.scan.endpoints import PORT, Place, of_kind, read_endpoints

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_FILLERS = 2


class _Peer(asyncio.Protocol):
    """PostgreSQL as far as a scanner sees it: an answer to SSLRequest, a handshake, and a goodbye."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._asked = self._shaken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._asked:
            self._asked = True
            self._transport.write(b"S" if data == _SSL_REQUEST else b"E")  # type: ignore[attr-defined]
            return
        self._incoming.write(data)
        with suppress(ssl.SSLWantReadError):
            self._step()
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())  # type: ignore[attr-defined]

    def _step(self) -> None:
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            self._tls.read(1)
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError:
            self._transport.close()


class _Silent(asyncio.Protocol):
    """Accepts, and says nothing."""


async def _serve(directory: Path) -> None:
    loop = asyncio.get_running_loop()
    places = read_endpoints(directory)
    fillers = [_fill(place) for place in of_kind(places, "dead")]
    for place in of_kind(places, "slow"):
        await loop.create_server(_Silent, place.address, PORT)
    for place in of_kind(places, "live"):
        context = _context(directory / f"{place.address}.pem")
        await loop.create_server(lambda context=context: _Peer(context), place.address, PORT)  # type: ignore[misc]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    for sockets in fillers:
        for each in sockets:
            each.close()


def _context(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def _fill(place: Place) -> list[socket.socket]:
    """A listening socket whose backlog is full: the kernel answers no further SYN, as a dead host does."""
    listening = socket.create_server((place.address, PORT), backlog=0)
    fillers = [socket.socket() for _ in range(_FILLERS)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex((place.address, PORT))
    return [listening, *fillers]


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
