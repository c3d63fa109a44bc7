"""Replication: make walreceivers connect anew, one at a time, and see each of them stream again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from rechain.certs import compose
from rechain.errors import VerificationFailed
from rechain.fleet import Endpoint, ServiceKind
from rechain.phase import Phase
from tasks.access import reading_access
from tasks.fleet.connection import Access, Unreadable
from tasks.fleet.receiver import Stream, streams, wait_for_stream
from tasks.fleet.replication import Standby, find_primaries, reconnect, replays, standbys
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
def reconnect_standby(ref: EnvironmentRef, phase: Phase, host: str, known: Sequence[Stream]) -> None:
    """Make the standby of a host present the client certificate that it has got, and wait until it has all WAL.

    Side effect: its replication pauses briefly. Idempotent: a standby that presents the wanted certificate is left
    alone, and so is one that replays late. Safe to retry.

    Args:
        ref: Which environment.
        phase: What the host holds now.
        host: Its inventory name.
        known: Who streams from whom; a standby that is not told apart there only has to stream.

    Raises:
        VerificationFailed: Replication can't be read, or the standby did not come back with that certificate.
    """
    state = observe(ref)
    with reading_access(state) as access:
        for endpoint in state.fleet.endpoints(ServiceKind.POSTGRESQL):
            if endpoint.host == host:
                wait_for_stream(endpoint, access)
        for stream in known:
            if stream.standby and stream.standby.host == host:
                found = [one for one in _readable(standbys(stream.upstream, access)) if one.name == stream.name]
                if len(found) == 1:  # else another one has its name by now
                    _renew(stream.upstream, access, found, _wanted(state, phase))


@step("reconnect-standbys")
def reconnect_standbys(ref: EnvironmentRef, phase: Phase) -> tuple[str, ...]:
    """End walsenders one at a time and wait until each standby is back with its new certificate, lag back to zero.

    Side effect: replication of one standby at a time pauses briefly. Idempotent: a standby that presents the wanted
    certificate is left alone, and so is one that replays late. Safe to retry.

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
            done += _renew(upstream, access, _readable(standbys(upstream, access)), _wanted(state, phase))
    return tuple(done)


def _wanted(state: FleetState, phase: Phase) -> Mapping[str, int]:
    """Client to the serial number that it presents in a phase."""
    return {name: chain.leaf.serial for name, chain in compose(state.rotating, phase).clients.items()}


def _renew(upstream: Endpoint, access: Access, found: Sequence[Standby], wanted: Mapping[str, int]) -> list[str]:
    """Reconnect those that present another certificate than is wanted, and tell who that was."""
    done = []
    for standby in found:
        if standby.serial is None or standby.serial == wanted.get(standby.user, standby.serial):
            continue
        if replays(upstream, access, standby):
            done.append(reconnect(upstream, access, standby, renewed=True).application)
        else:
            progress.warning("%s replays late, and keeps its certificate until it has reconnected", standby)
    return done


def _readable(seen: Seen | Unreadable) -> Seen:
    if isinstance(seen, Unreadable):
        raise VerificationFailed(seen.where, f"replication can't be read: {seen.reason}", "mend that and run again")
    return seen
