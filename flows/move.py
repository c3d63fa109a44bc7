"""One step of a rotation: write what the phase deploys, roll it out, reconnect who must, verify, record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rechain.errors import RollOutFailed, VerificationFailed
from rechain.phase import Phase
from rechain.rotation import Claim, Gate
from tasks.claim import publish
from tasks.deploy import record_phase, write_phase
from tasks.distribute import distribute
from tasks.fleet.server_log import Marks
from tasks.logs import certificate_alerts, mark_logs, refuses_server, save_marks
from tasks.order import HostOrder, hosts_in_order
from tasks.put_back import take_back
from tasks.reconnect import reconnect_standbys
from tasks.record import mark_ended, mark_started, run_directory
from tasks.replicate import renew_clients
from tasks.run_page import show_canary, show_progress
from tasks.state import EnvironmentRef, FleetState, now, observe
from tasks.step import progress
from tasks.verify import refuse_retired, retired_logins, verify_phase
from tasks.watch import Watched

_SHRINKING = (Phase.RETIRED, Phase.ISSUED)
_CLIENTS_CHANGE = (Phase.SERVERS, Phase.CLIENTS)


@dataclass(frozen=True, slots=True)
class _Moving:
    """What a move is about: the environment, its hosts in order, and the logs as they were when it began."""

    ref: EnvironmentRef
    order: HostOrder
    claim: Claim
    canary: Watched
    marks: Marks


def move(ref: EnvironmentRef, phase: Phase, claim: Claim, canary: Watched) -> bool | None:
    """Move the fleet to a neighbouring phase and prove that it is there.

    Returns:
        Whether retired material was seen to be refused; None in phases where that is no question.

    Raises:
        RollOutFailed: A host did not take it; the fleet rests between two phases, every mix of which is proven.
        VerificationFailed: A login or a served certificate contradicts the phase, or a standby did not come back.
    """
    progress.info("moving to phase %s", phase)
    state = observe(ref)
    record = run_directory(ref, state.rotating.next.number)
    before = retired_logins(ref) if phase is Phase.RETIRED else ()
    order = hosts_in_order(ref)
    marks = mark_logs(state)  # after our own logins: a host that shrank in a run that was killed has refused them
    save_marks(record, marks)
    mark_started(record, phase, now())
    canary.follow(phase)
    write_phase(ref, phase, claim)
    show_progress(ref)
    publish(ref, claim, f"{ref.environment}: deploy phase {phase}")
    _distribute(_Moving(ref, order, claim, canary, marks), state.rotation.phase, phase)
    verify_phase(ref, phase)
    refused = refuse_retired(ref, before) if phase is Phase.RETIRED else None
    record_phase(ref, claim)
    publish(ref, claim, f"{ref.environment}: phase {phase} is verified")
    mark_ended(record, phase, now())
    show_progress(ref)
    show_canary(ref, record)
    progress.info("phase %s is reached and verified", phase)
    return refused


def _distribute(moving: _Moving, start: Phase | None, phase: Phase) -> None:
    """Give every host what a phase deploys, in the way of that step; walreceivers present what they have got.

    On the way back nothing waits for a standby on the way: what refuses it may be what the next host is about to mend.
    """
    ref, order, claim = moving.ref, moving.order, moving.claim.number
    if phase in _SHRINKING:
        _shrink(moving, phase)
    elif (start, phase) == (Phase.OVERLAP, Phase.SERVERS):
        _switch_servers(moving)
    elif (start, phase) == (Phase.SERVERS, Phase.CLIENTS):
        renew_clients(ref, phase, order, claim)
    else:
        distribute(ref, phase, order.hosts, claim, alone=order.primaries)
    if phase in _CLIENTS_CHANGE and start is not Phase.RETIRED:  # from there no leaf changes
        reconnect_standbys(ref, phase)


def _first_to_switch(state: FleetState, hosts: tuple[str, ...]) -> str:
    """The first server whose log can be heard; where no inventory names a log, the first host."""
    hearable = {host.name for host in state.fleet.hosts if any(service.log for service in host.services)}
    return next((host for host in hosts if host in hearable), hosts[0])


def _switch_servers(moving: _Moving) -> None:
    """Let one server present its next certificate, and hear from its log who refuses it, before all others follow.

    An application whose bundle nobody knows of shows nowhere else, and with one server it can still log in elsewhere.
    The logs are heard once more when all have followed: it may know some of them only.

    Raises:
        RollOutFailed: Somebody refuses them; every server presents its current certificate again.
    """
    state = observe(moving.ref)
    first = _first_to_switch(state, moving.order.hosts)
    if not any(service.log for host in state.fleet.hosts for service in host.services):
        progress.warning("nobody hears who refuses a server: the inventory names no log (rechain_services: log)")
    distribute(moving.ref, Phase.SERVERS, [first], moving.claim.number)
    _refuse_refused(moving, [first])
    others = [host for host in moving.order.hosts if host != first]
    distribute(moving.ref, Phase.SERVERS, others, moving.claim.number, alone=moving.order.primaries)
    _refuse_refused(moving, moving.order.hosts)


def _refuse_refused(moving: _Moving, switched: Sequence[str]) -> None:
    moving.canary.watch_on()
    state = observe(moving.ref)
    alerts, unreadable = certificate_alerts(state, moving.marks, switched)
    for host, why in unreadable.items():
        progress.warning("nobody hears who refuses %s: %s", host, why)
    refusing = {host: lines[-1] for host in alerts if (lines := [one for one in alerts[host] if refuses_server(one)])}
    if _passes(state, refusing):
        return
    rest = _widen(moving, Phase.OVERLAP, list(refusing))
    host, line = next(iter(refusing.items()))
    raise RollOutFailed(
        host,
        f"logged after it got its next certificate: {line}",
        f"{rest or 'it presents its current one again, phase overlap'}; an alert `unknown ca` is a client without "
        "the new bundle: install it there, then run again",
    )


def _shrink(moving: _Moving, phase: Phase) -> None:
    """Take a generation out of the bundles host by host; a new rejection in a log widens all of them again.

    On the way back nothing waits for a log that can't be read.
    """
    for number, host in enumerate(moving.order.hosts, start=1):
        distribute(moving.ref, phase, [host], moving.claim.number)
        moving.canary.watch_on()
        state = observe(moving.ref)
        alerts, unreadable = certificate_alerts(state, moving.marks, moving.order.hosts[:number])
        refusing = {refused: lines[-1] for refused, lines in alerts.items() if lines}
        if not _passes(state, refusing):
            _refuse_shrunk(moving, phase, refusing)
        if unreadable and phase is Phase.RETIRED and not _is_approved(state):
            deaf, why = next(iter(unreadable.items()))
            raise RollOutFailed(
                deaf,
                f"its log can't be read after its bundle shrank: {why}",
                f"see that it can, and run again; or look at it, `rechain approve {moving.ref.environment} server-log`",
            )


def _refuse_shrunk(moving: _Moving, phase: Phase, refusing: Mapping[str, str]) -> None:
    wide = phase.preceding or Phase.OVERLAP
    rest = _widen(moving, wide, list(refusing))
    host, line = next(iter(refusing.items()))
    raise RollOutFailed(
        host,
        f"logged after its bundle shrank: {line}",
        f"{rest or f'all bundles are wide again, phase {wide}'}; find who it is, then run again: a failed "
        "verification is somebody with the old certificate, an alert `unknown ca` somebody without the new bundle",
    )


def _passes(state: FleetState, refusing: Mapping[str, str]) -> bool:
    """Whether nobody is refused, or somebody has looked at the logs and says that it may be."""
    if refusing and _is_approved(state):
        for host, line in refusing.items():
            progress.warning("gate server-log was approved, and %s logs: %s", host, line)
    return not refusing or _is_approved(state)


def _is_approved(state: FleetState) -> bool:
    return any(one.gate is Gate.SERVER_LOG for one in state.rotation.approvals)


def _widen(moving: _Moving, wide: Phase, refusing: Sequence[str]) -> str:
    """Back to where everybody logged in, the hosts that refuse somebody first, each by itself.

    The alerts that led there are told, and keep no gate shut.

    Returns:
        What is not back yet, for a person; empty when all is.
    """
    ref, others = moving.ref, [host for host in moving.order.hosts if host not in refusing]
    write_phase(ref, wide, moving.claim)
    failed = take_back(ref, wide, refusing, moving.claim)
    try:
        distribute(ref, wide, others, moving.claim.number, alone=moving.order.primaries)
    except RollOutFailed:
        failed += take_back(ref, wide, others, moving.claim)
    for error in failed:
        progress.warning("not taken back: %s", error)
    if failed:
        return f"all but {', '.join(error.where for error in failed)} are back at phase {wide}: run again to go on"
    try:
        verify_phase(ref, wide)
    except VerificationFailed as error:
        return f"every host was taken back to phase {wide}, but {error.where}: {error.what}"
    state = observe(ref)
    save_marks(run_directory(ref, state.rotating.next.number), mark_logs(state))
    record_phase(ref, moving.claim)
    return ""
