"""Replication: make walreceivers connect anew, one at a time, and see each of them stream again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from rechain.certs import compose
from rechain.errors import VerificationFailed
from rechain.fleet import Endpoint, ServiceKind
from rechain.phase import Phase
from tasks.access import reading_access
from tasks.fleet.connection import Access, Unreadable
from tasks.fleet.receiver import Stream, has_replayed, streams, wait_for_stream
from tasks.fleet.replication import ReceiverName, Standby, find_primaries, reconnect, standbys
from tasks.state import EnvironmentRef, FleetState, observe
from tasks.step import progress, step

Seen = TypeVar("Seen")


@step("find-streams")
def find_streams(ref: EnvironmentRef) -> tuple[Stream, ...]:
    """Who streams from whom, of the fleet's own servers, as far as it can be told. Reads only."""
    state = observe(ref)
    with reading_access(state) as access:
        found, unread = streams(state.fleet.endpoints(ServiceKind.POSTGRESQL), access)
    for server in unread:
        progress.warning("replication can't be read on %s", server)
    return found


@step("reconnect-standby", run_name="{ref.environment}: reconnect {host} at {phase}")
def reconnect_standby(ref: EnvironmentRef, phase: Phase, host: str, known: Sequence[Stream]) -> frozenset[ReceiverName]:
    """Make the standby of a host present the client certificate that it has got, and wait until it has all WAL.

    Side effect: its replication pauses briefly. Idempotent: a standby that presents the wanted certificate is left
    alone. So is one that replays late (a delay, a pause, a long query): its startup process asks for a new walreceiver
    only when it has replayed all that it has, and until then commits that wait for it would hang. Safe to retry.

    Args:
        ref: Which environment.
        phase: What the host holds now.
        host: Its inventory name.
        known: Who streams from whom; a standby that is not told apart there only has to stream.

    Returns:
        The standby, if it was left alone because it replays late.

    Raises:
        VerificationFailed: Replication can't be read, or the standby did not come back with that certificate.
    """
    state = observe(ref)
    with reading_access(state) as access:
        for endpoint in state.fleet.endpoints(ServiceKind.POSTGRESQL):
            if endpoint.host == host:
                wait_for_stream(endpoint, access)
        own = {stream.standby: stream for stream in known if stream.standby and stream.standby.host == host}
        late = [endpoint for endpoint in own if not has_replayed(endpoint, access)]
        for endpoint, stream in own.items():
            if endpoint in late:
                progress.warning("%s replays late, and keeps its certificate until it reconnects by itself", endpoint)
            else:
                seen = _readable(standbys(stream.upstream, access))
                streaming = [standby for standby in seen if standby.name == stream.name]
                _renew(stream.upstream, access, streaming, _wanted(state, phase))
        return frozenset(own[endpoint].name for endpoint in late)


@step("reconnect-standbys")
def reconnect_standbys(ref: EnvironmentRef, phase: Phase, late: Collection[ReceiverName] = ()) -> tuple[str, ...]:
    """End walsenders one at a time and wait until each standby is back with its new certificate, lag back to zero.

    Side effect: replication of one standby at a time pauses briefly. Idempotent: a standby that presents the wanted
    certificate is left alone. Safe to retry.

    Args:
        ref: Which environment.
        phase: What hosts hold now.
        late: Those to leave as they are.

    Returns:
        The standbys that were reconnected, by application_name.

    Raises:
        VerificationFailed: Replication can't be read, two servers are primaries of one cluster, or a standby did not
            come back.
    """
    state = observe(ref)
    endpoints = state.fleet.endpoints(ServiceKind.POSTGRESQL)
    if not endpoints:
        return ()
    done: list[str] = []
    with reading_access(state) as access:
        primaries = _readable(find_primaries(endpoints, access))
        cascading = [endpoint for endpoint in endpoints if endpoint not in primaries]
        for upstream in (*primaries, *cascading):
            found = [one for one in _readable(standbys(upstream, access)) if one.name not in late]
            done += _renew(upstream, access, found, _wanted(state, phase))
    return tuple(done)


def _wanted(state: FleetState, phase: Phase) -> Mapping[str, int]:
    """Client to the serial number that it presents in a phase."""
    return {name: chain.leaf.serial for name, chain in compose(state.rotating, phase).clients.items()}


def _renew(upstream: Endpoint, access: Access, found: Sequence[Standby], wanted: Mapping[str, int]) -> list[str]:
    """Reconnect those that present another certificate than is wanted, and tell who that was."""
    outdated = [one for one in found if one.serial is not None and one.serial != wanted.get(one.user, one.serial)]
    return [reconnect(upstream, access, standby, renewed=True).application for standby in outdated]


def _readable(seen: Seen | Unreadable) -> Seen:
    if isinstance(seen, Unreadable):
        raise VerificationFailed(seen.where, f"replication can't be read: {seen.reason}", "mend that and run again")
    return seen
