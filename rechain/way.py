"""The ways to a database, by names that certificates carry: each server, its pooler, its proxy, and a virtual address.

A virtual address (VIP) moves between hosts, so whoever holds it must present a certificate with its name: a name in the
certificates of several servers is by nature that of a VIP, or of a proxy that passes TLS through to one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from rechain.certificate import LeafChain
from rechain.fleet import Fleet, ServiceKind

_KINDS = (ServiceKind.POSTGRESQL, ServiceKind.PGBOUNCER, ServiceKind.HAPROXY)
VIP = "vip"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the database.

    Attributes:
        label: Tells it from the others: a kind of service, or one that begins with `vip`.
        kind: What answers there.
        places: Each name to connect to and to verify, with its port.
        carriers: The servers whose certificates carry a shared name; empty for servers' own names.
    """

    label: str
    kind: ServiceKind
    places: tuple[tuple[str, int], ...]
    carriers: tuple[str, ...] = ()


def ways(fleet: Fleet, servers: Mapping[str, LeafChain]) -> tuple[Way, ...]:
    """Every way that clients may take, direct ones first.

    Args:
        fleet: Hosts and services.
        servers: What the servers present.
    """
    names = dict(_shared_names(servers))
    behind_vips = {server for carriers in names.values() for server in carriers}
    return (*_own(fleet, behind_vips), *_shared(fleet, names))


def _own(fleet: Fleet, behind_vips: Collection[str]) -> Iterator[Way]:
    """By the servers' own names, but for services whose address in the inventory is the VIP that they share."""
    for kind in _KINDS:
        endpoints = fleet.endpoints(kind)
        listeners = Counter((one.address, one.port) for one in endpoints)
        places = tuple(
            (one.server_name, one.port)
            for one in endpoints
            if listeners[one.address, one.port] == 1 or one.server_name not in behind_vips
        )
        if places:
            yield Way(kind, kind, places)


def _shared(fleet: Fleet, names: Mapping[str, tuple[str, ...]]) -> Iterator[Way]:
    for name, carriers in names.items():
        first, label = True, VIP if len(names) == 1 else f"{VIP}-{name}"
        for kind in _KINDS:
            port = _common_port(fleet, carriers, kind)
            if port is not None:
                yield Way(label if first else f"{label}-{kind}", kind, ((name, port),), carriers)
                first = False


def _shared_names(servers: Mapping[str, LeafChain]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each shared name with the servers that carry it; an address only where the same servers share no DNS name."""
    carried: dict[str, list[str]] = {}
    for server, chain in servers.items():
        for name in dict.fromkeys(chain.leaf.names):
            carried.setdefault(name, []).append(server)
    found = {name: tuple(who) for name, who in carried.items() if len(who) > 1 and _can_be_a_vip(name, servers)}
    with_dns = {who for name, who in found.items() if not _is_address(name)}
    return ((name, who) for name, who in found.items() if not _is_address(name) or who not in with_dns)


def _can_be_a_vip(name: str, servers: Mapping[str, LeafChain]) -> bool:
    if _is_address(name):
        return not ip_address(name).is_loopback
    return name not in servers and name != "localhost" and not name.startswith("*")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _common_port(fleet: Fleet, carriers: tuple[str, ...], kind: ServiceKind) -> int | None:
    """The port of a kind of service that every carrier runs, or None: the VIP may be on any of them."""
    ports = {one.server_name: one.port for one in fleet.endpoints(kind) if one.server_name in carriers}
    distinct = set(ports.values())
    return distinct.pop() if len(ports) == len(carriers) and len(distinct) == 1 else None
