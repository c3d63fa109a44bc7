"""Loopback addresses for a fleet: each host its own, so that several labs run at the same time."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from lab.errors import LabError

PORT = 5432
_OTHER_PORTS = range(15432, 25432)  # below the range that Linux gives to outgoing connections
_TRIES = 50


@dataclass(frozen=True, slots=True)
class Addresses:
    """Free loopback addresses with one free port on all of them."""

    hosts: tuple[str, ...]
    port: int


def free_addresses(count: int) -> Addresses:
    """Find `count` neighbouring loopback addresses, port 5432 if it is free on them, else another.

    Raises:
        LabError: None is free, or the machine has only 127.0.0.1.
    """
    random_source = random.SystemRandom()
    for attempt in range(_TRIES):
        # 127.0.x.y is left alone: Debian resolves the machine's own name to 127.0.1.1.
        prefix = f"127.{random_source.randint(1, 254)}.{random_source.randint(0, 255)}"
        hosts = tuple(f"{prefix}.{number}" for number in range(1, count + 1))
        port = PORT if attempt < _TRIES // 2 else random_source.choice(_OTHER_PORTS)
        if _are_free(hosts, port):
            return Addresses(hosts, port)
    raise LabError(
        "127.0.0.0/8", "no free loopback addresses found", "the lab needs Linux, where all of 127/8 is local"
    )


def _are_free(hosts: Sequence[str], port: int) -> bool:
    return all(_is_free(host, port) for host in hosts)


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True
