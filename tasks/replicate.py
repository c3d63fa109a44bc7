"""Distribute with replication proven on the way: a standby that does not come back keeps later hosts as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from rechain.errors import RechainError
from rechain.phase import Phase
from tasks.distribute import distribute
from tasks.order import HostOrder
from tasks.reconnect import find_streams, reconnect_standby
from tasks.state import EnvironmentRef
from tasks.step import progress


def renew_clients(ref: EnvironmentRef, phase: Phase, order: HostOrder, claim: int) -> None:
    """Distribute a phase that changes client certificates; each standby presents its own before the next host is taken.

    Side effect: files and reloads on hosts; replication of one standby at a time pauses briefly. Idempotent, safe to
    retry: a standby that presents the wanted certificate is left alone, one that does not stream is waited for.
    Where it can't be told whose walreceiver is whose, `reconnect_standbys` does the rest when all hosts are done.

    Raises:
        RollOutFailed: A host did not take it.
        ReconnectFailed: A standby did not come back with its new certificate; no host after its own was touched.
    """
    streams = find_streams(ref)
    for hosts in up_to_each(order.hosts, order.standbys):
        with _telling_who_follows(hosts[-1], order.hosts):
            distribute(ref, phase, hosts, claim, alone=order.primaries)
            if hosts[-1] in order.standbys:
                reconnect_standby(ref, phase, hosts[-1], streams)


def up_to_each(hosts: Sequence[str], marked: Collection[str]) -> Iterator[tuple[str, ...]]:
    """Part hosts, in their order, after each marked one: a group holds one at most, as its last."""
    group: list[str] = []
    for host in hosts:
        group.append(host)
        if host in marked:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)


@contextmanager
def _telling_who_follows(last: str, hosts: Sequence[str]) -> Iterator[None]:
    """When a host fails or its standby does, say which hosts after it were not begun."""
    try:
        yield
    except RechainError:
        if rest := hosts[hosts.index(last) + 1 :]:
            progress.warning("not begun: %s", ", ".join(rest))
        raise
