"""Gather what the person at a gate has to know."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rechain.certificate import Certificate
from rechain.gate import Waiting
from rechain.gate_text import Evidence
from rechain.phase import Phase
from rechain.plan import purpose
from tasks.fleet.canary import read_segments
from tasks.record import run_directory
from tasks.state import EnvironmentRef, FleetState, observe

_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def evidence(ref: EnvironmentRef, towards: Phase, waiting: Sequence[Waiting]) -> Evidence:
    """What is seen of an environment that waits at a gate. Changes nothing.

    Raises:
        TransitionRefused: No rotation is under way.
    """
    state = observe(ref)
    since, end = state.rotation.reached_at, first_end(state)
    segments = read_segments(run_directory(ref, state.rotating.next.number))
    attempts = [one for segment in segments for one in segment.attempts if one.at >= (since or _EVER)]
    return Evidence(
        environment=ref.environment,
        resting=state.rotation.phase or Phase.ISSUED,
        towards=towards,
        purpose=purpose(towards),
        waiting=tuple(waiting),
        attempted=len(attempts),
        failed=sum(one.failed for one in attempts),
        since=since,
        ends=end.subject if end else None,
        outage=end.not_after.date() if end else None,
    )


def first_end(state: FleetState) -> Certificate | None:
    """The deployed certificate that ends first: waiting longer is an outage. None without any."""
    leaves = [chain.leaf for chain in (*state.certs.servers.values(), *state.certs.clients.values())]
    authorities = [*state.current.server_bundle.certificates, *state.current.client_bundle.certificates]
    return min((*leaves, *authorities), key=lambda certificate: certificate.not_after, default=None)
