"""Evaluate the gates of a phase from evidence: approvals, canary, server logs, live sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rechain import gate
from rechain.canary import failures_since
from rechain.errors import RepositoryError
from rechain.fleet import ServiceKind
from rechain.gate import CertificateUse, SessionEvidence, Waiting
from rechain.phase import Phase
from rechain.rotation import Gate
from tasks.access import reading_access
from tasks.fleet.canary import read_segments
from tasks.fleet.connection import Access, Unreadable
from tasks.fleet.sessions import sessions
from tasks.logs import certificate_alerts, load_marks
from tasks.record import run_directory, run_path
from tasks.reporting import show_so_far
from tasks.repository.rotation_branch import is_on_base
from tasks.run_page import show_progress
from tasks.state import EnvironmentRef, FleetState, observe
from tasks.watch import Watched

_SAMPLE_S = 1.0
_UNSEEN = "logins since {:%Y-%m-%d %H:%M} UTC are not all recorded here: perhaps another worker reached the phase"
_UNDONE_FROM_BASE = (Phase.OVERLAP, Phase.CLIENTS)
_JUDGED_BY_CANARY = (Phase.OVERLAP, Phase.SERVERS, Phase.CLIENTS)


def closed_gates(ref: EnvironmentRef, phase: Phase, canary: Watched) -> tuple[Waiting, ...]:
    """What must still be true before the fleet may move to a phase, approvals taken into account.

    Side effect: what waits is on the run's page, where the run may be suspended next.

    A move that was left half way passed its gates when it began, so none is asked again.
    """
    state = observe(ref)
    leaving = state.rotation.phase
    if state.rotation.target is not None or leaving is None:
        return ()
    about_base = _about_base(state, leaving, phase, fetch=True)
    about_servers = _about_servers(state, leaving, canary, is_forward=phase is leaving.following)
    waiting = (*about_base, *_about_clients(state, leaving, phase), *about_servers)
    closed = gate.still_closed(waiting, observe(ref).rotation)
    if closed:
        show_progress(ref, closed)
        show_so_far(ref, run_directory(ref, state.rotating.next.number), waiting=closed)
    return closed


def waiting_now(state: FleetState) -> tuple[Waiting, ...]:
    """What the resting point waits for, as far as one glance tells: for `status`, which watches nothing."""
    leaving = state.rotation.phase
    if state.next is None or leaving is None or state.rotation.target is not None or leaving.following is None:
        return ()
    about_base = _about_base(state, leaving, leaving.following, fetch=False)
    about_clients = _about_clients(state, leaving, leaving.following, window_s=0.0)
    return gate.still_closed((*about_base, *about_clients, *_recorded(state, leaving)), state.rotation)


def _recorded(state: FleetState, leaving: Phase) -> tuple[Waiting, ...]:
    """What the canary has recorded and the logs say since the phase was reached, on the worker that took it there.

    Nothing on another machine: that nothing is known here is for a run there to say, not for whoever looks.
    """
    since = state.rotation.reached_at
    if leaving not in _JUDGED_BY_CANARY or since is None:
        return ()
    record = run_path(state.ref, state.rotating.next.number)
    if not record.exists():
        return ()
    failures = tuple(str(attempt) for attempt in failures_since(read_segments(record), since))
    here = [host.name for host in state.fleet.hosts if host.is_local]  # others take time to ask, and may be down
    return (*gate.canary(failures, since), *_logs(state, record, here))


def _about_base(state: FleetState, leaving: Phase, phase: Phase, *, fetch: bool) -> tuple[Waiting, ...]:
    """On the way forward only: on the way back the base branch's phase is the safer one of the two."""
    if leaving not in _UNDONE_FROM_BASE or phase is not leaving.following:
        return ()
    base = state.settings.git.base
    try:
        is_merged = is_on_base(state.ref.root, state.ref.environment, state.settings, fetch=fetch)
    except RepositoryError as error:
        return gate.base_branch(base, None, str(error))
    return gate.base_branch(base, is_merged)


def _about_clients(
    state: FleetState, leaving: Phase, phase: Phase, window_s: float | None = None
) -> tuple[Waiting, ...]:
    window = state.settings.gates.window_s if window_s is None else window_s
    if leaving is Phase.OVERLAP and phase is Phase.SERVERS:
        return gate.external_trust(state.fleet, state.foreign)
    if leaving is Phase.CLIENTS and phase is Phase.RETIRED:
        return gate.clients(state.fleet, state.rotating.current, state.rotating.next, _seen(state, window))
    if leaving is Phase.OVERLAP and phase is Phase.ISSUED:
        return _returned(state, window)
    return ()


def _returned(state: FleetState, window_s: float) -> tuple[Waiting, ...]:
    """Before the next generation leaves the bundles, nobody may present it; it was delivered only from `clients` on."""
    waiting = gate.clients(state.fleet, state.rotating.next, state.rotating.current, _seen(state, window_s))
    if state.rotation.delivered:
        return waiting
    return tuple(one for one in waiting if one.client not in state.fleet.external_clients)


def _about_servers(state: FleetState, leaving: Phase, canary: Watched, *, is_forward: bool) -> tuple[Waiting, ...]:
    """What was recorded since the phase was reached.

    On the way forward, what another worker or clone has recorded alone is missing. A way back, which may be urgent,
    does not wait for records that are elsewhere.
    """
    if leaving not in _JUDGED_BY_CANARY:
        return ()
    since = state.rotation.reached_at or canary.started
    failures = canary.failures(since)
    record = run_directory(state.ref, state.rotating.next.number)
    marks = load_marks(record)
    missing: tuple[Waiting, ...] = ()
    if not canary.has_tried_since(since):
        missing = (Waiting(Gate.CANARY, None, "no canary login was tried"),)
    elif is_forward and not canary.has_watched(since):
        missing = (Waiting(Gate.CANARY, None, _UNSEEN.format(since)),)
    hosts = [host.name for host in state.fleet.hosts if is_forward or host.name in marks]
    return (*gate.canary(failures, since), *missing, *_logs(state, record, hosts))


def _logs(state: FleetState, record: Path, hosts: Sequence[str]) -> tuple[Waiting, ...]:
    alerts, unreadable = certificate_alerts(state, load_marks(record), hosts)
    return gate.server_log(alerts, unreadable)


def _seen(state: FleetState, window_s: float) -> SessionEvidence:
    """Watch sessions on every server for a window."""
    with reading_access(state) as access:
        return _sample(state, access, window_s, time.monotonic, time.sleep)


def _sample(
    state: FleetState,
    access: Access,
    window_s: float,
    clock: Callable[[], float],
    pause: Callable[[float], None],
) -> SessionEvidence:
    uses: dict[CertificateUse, None] = {}
    unreadable: dict[str, None] = {}
    end = clock() + window_s
    while True:
        for endpoint in state.fleet.endpoints(ServiceKind.POSTGRESQL):
            found = sessions(endpoint, access)
            if isinstance(found, Unreadable):
                unreadable[str(found)] = None
                continue
            uses |= {CertificateUse(str(endpoint), one.user, one.address, one.serial): None for one in found}
        if clock() >= end:
            return SessionEvidence(tuple(uses), tuple(unreadable))
        pause(min(_SAMPLE_S, max(0.0, end - clock())))
