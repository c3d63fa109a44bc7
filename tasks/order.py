"""The order in which a roll-out takes hosts: standbys before primaries, and each primary by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rechain.fleet import Endpoint, ServiceKind
from rechain.rotation import is_replaced_half
from tasks.access import accesses_midway, reading_access
from tasks.fleet.connection import Access
from tasks.fleet.replication import is_in_recovery
from tasks.state import EnvironmentRef, FleetState, observe
from tasks.step import step


@dataclass(frozen=True, slots=True)
class HostOrder:
    """Hosts in the order in which a roll-out takes them.

    Attributes:
        hosts: Inventory names: those that have clients alone, standbys, all others.
        standbys: Those of them with a PostgreSQL that is a standby.
        primaries: Those with a PostgreSQL that is none, or does not tell: they are taken one at a time.
    """

    hosts: tuple[str, ...]
    standbys: frozenset[str] = frozenset()
    primaries: frozenset[str] = frozenset()


@step("order-hosts")
def hosts_in_order(ref: EnvironmentRef) -> HostOrder:
    """Every host that holds anything, standbys first and the primary last. Reads only."""
    state = observe(ref)
    endpoints = state.fleet.endpoints(ServiceKind.POSTGRESQL)
    with _ways_in(state) as ways:
        in_recovery = {endpoint for endpoint in endpoints if _is_standby(endpoint, ways)}
    standbys = frozenset(endpoint.host for endpoint in in_recovery)
    hosts = [host for host in state.fleet.hosts if host.services or host.clients]
    hosts.sort(key=lambda host: (bool(host.services), host.name not in standbys))
    primaries = frozenset(endpoint.host for endpoint in endpoints if endpoint not in in_recovery)
    return HostOrder(tuple(host.name for host in hosts), standbys, primaries)


def _is_standby(endpoint: Endpoint, ways: tuple[Access, ...]) -> bool:
    return any(is_in_recovery(endpoint, access) is True for access in ways)


@contextmanager
def _ways_in(state: FleetState) -> Iterator[tuple[Access, ...]]:
    if is_replaced_half(state.rotation):
        with accesses_midway(state) as ways:
            yield ways
    else:
        with reading_access(state) as access:
            yield (access,)
