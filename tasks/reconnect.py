"""Replication: make walreceivers present their new certificate, one at a time."""

from __future__ import annotations

from typing import TypeVar

from rechain.certs import compose
from rechain.errors import VerificationFailed
from rechain.fleet import ServiceKind
from rechain.phase import Phase
from tasks.access import reading_access
from tasks.fleet.connection import Unreadable
from tasks.fleet.replication import find_primaries, reconnect, standbys
from tasks.state import EnvironmentRef, observe
from tasks.step import step

Seen = TypeVar("Seen")


@step("reconnect-standbys")
def reconnect_standbys(ref: EnvironmentRef, phase: Phase) -> tuple[str, ...]:
    """End walsenders one at a time and wait until each standby is back with its new certificate, lag back to zero.

    Side effect: replication of one standby at a time pauses briefly. Idempotent: a standby that presents the wanted
    certificate is left alone. Safe to retry.

    Returns:
        The standbys that were reconnected, by application_name.

    Raises:
        VerificationFailed: Replication can't be read, two servers are primaries of one cluster, or a standby did not
            come back.
    """
    state = observe(ref)
    wanted = {name: chain.leaf.serial for name, chain in compose(state.rotating, phase).clients.items()}
    endpoints = state.fleet.endpoints(ServiceKind.POSTGRESQL)
    if not endpoints:
        return ()
    done = []
    with reading_access(state) as access:
        primaries = _readable(find_primaries(endpoints, access))
        cascading = [endpoint for endpoint in endpoints if endpoint not in primaries]
        for upstream in (*primaries, *cascading):
            for standby in _readable(standbys(upstream, access)):
                if standby.serial is not None and standby.serial != wanted.get(standby.user, standby.serial):
                    reconnect(upstream, access, standby, renewed=True)
                    done.append(standby.application)
    return tuple(done)


def _readable(seen: Seen | Unreadable) -> Seen:
    if isinstance(seen, Unreadable):
        raise VerificationFailed(seen.where, f"replication can't be read: {seen.reason}", "mend that and run again")
    return seen
