"""Distribute with replication proven on the way: a standby that does not come back keeps later hosts as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from rechain.errors import RechainError
from rechain.phase import Phase
from tasks.distribute import distribute
from tasks.order import HostOrder
from tasks.reconnect import find_streams, reconnect_standby, reconnect_standbys_of, require_streams
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


def switch_servers(ref: EnvironmentRef, order: HostOrder, hosts: Sequence[str], claim: int) -> None:
    """Distribute next server certificates; after each upstream its standbys reconnect, so they are seen to trust it.

    Side effect: files and reloads on hosts; replication of one standby at a time pauses briefly. Idempotent, safe to
    retry: nothing that can be observed says whether a walreceiver last connected before its upstream's switch or
    after, so a second run makes it reconnect once more. One that does not stream is waited for, whoever its upstream.

    Args:
        ref: Which environment.
        order: All hosts.
        hosts: Those to switch now, in their order.
        claim: Number of the claim.

    Raises:
        RollOutFailed: A host did not take it.
        ReconnectFailed: A standby did not come back; no host after its upstream was touched.
        VerificationFailed: A server can't be asked.
    """
    streams = find_streams(ref)
    upstreams = {stream.upstream.host for stream in streams}
    for group in up_to_each(hosts, upstreams):
        with _telling_who_follows(group[-1], hosts):
            distribute(ref, Phase.SERVERS, group, claim, alone=order.primaries)
            if group[-1] in upstreams:
                reconnect_standbys_of(ref, group[-1], streams)
    if not (upstreams | order.primaries).isdisjoint(hosts):
        require_streams(ref, order.standbys)


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
