"""Where programs of this machine listen, as /proc tells it."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LISTEN = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}


def tree(pid: int) -> set[int]:
    """A process and all that it started."""
    found, parents = {pid}, dict(_parents())
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(pids: Iterable[int]) -> set[tuple[Address, int]]:
    """The addresses and ports that processes listen on, or wait for datagrams at."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    return {where for kind, state in _LISTEN.items() for inode, where in _bound(kind, state) if inode in inodes}


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(entry.name), int((entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])


def _sockets(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = str(link.readlink())
                if target.startswith("socket:["):
                    yield target[8:-1]


def _bound(kind: str, state: str) -> Iterator[tuple[str, tuple[Address, int]]]:
    for line in Path(f"/proc/net/{kind}").read_text("ascii").splitlines()[1:]:
        fields = line.split()
        if fields[3] == state:
            yield fields[9], _read(fields[1])


def _read(text: str) -> tuple[Address, int]:
    """An address of /proc/net: words of 32 bits in the order of this machine, in hexadecimal."""
    host, port = text.split(":")
    packed = b"".join(struct.pack("=I", int(host[start : start + 8], 16)) for start in range(0, len(host), 8))
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return ipaddress.ip_address(socket.inet_ntop(family, packed)), int(port, 16)
