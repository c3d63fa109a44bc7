"""One step of a rotation: write what the phase deploys, roll it out, reconnect who must, verify, record."""

from __future__ import annotations

from rechain.errors import RollOutFailed
from rechain.phase import Phase
from rechain.rotation import Claim, Gate
from tasks.claim import publish
from tasks.deploy import record_phase, write_phase
from tasks.distribute import distribute
from tasks.fleet.server_log import Marks
from tasks.logs import certificate_alerts, mark_logs, refuses_server, save_marks
from tasks.reconnect import hosts_in_order, reconnect_standbys
from tasks.record import mark_ended, mark_started, run_directory
from tasks.run_page import show_canary, show_progress
from tasks.state import EnvironmentRef, FleetState, now, observe
from tasks.step import progress
from tasks.verify import refuse_retired, retired_logins, verify_phase
from tasks.watch import Watched

_SHRINKING = (Phase.RETIRED, Phase.ISSUED)
_CLIENTS_CHANGE = (Phase.SERVERS, Phase.CLIENTS)


def move(ref: EnvironmentRef, phase: Phase, claim: Claim, canary: Watched) -> bool | None:
    """Move the fleet to a neighbouring phase and prove that it is there.

    Returns:
        Whether retired material was seen to be refused; None in phases where that is no question.

    Raises:
        RollOutFailed: A host did not take it; the fleet rests between two phases, every mix of which is proven.
        VerificationFailed: A login or a served certificate contradicts the phase.
    """
    progress.info("moving to phase %s", phase)
    state = observe(ref)
    record = run_directory(ref, state.rotating.next.number)
    before = retired_logins(ref) if phase is Phase.RETIRED else ()
    hosts = hosts_in_order(ref)
    marks = mark_logs(state)  # after our own logins: a host that shrank in a run that was killed has refused them
    save_marks(record, marks)
    mark_started(record, phase, now())
    canary.follow(phase)
    write_phase(ref, phase, claim)
    show_progress(ref)
    publish(ref, claim, f"{ref.environment}: deploy phase {phase}")
    if phase in _SHRINKING:
        _shrink(ref, phase, hosts, claim, marks)
    elif phase is Phase.SERVERS and state.rotation.phase is Phase.OVERLAP:
        first = _try_one(ref, hosts, claim, canary, marks)
        distribute(ref, phase, [host for host in hosts if host != first], claim.number)
    else:
        distribute(ref, phase, hosts, claim.number)
    if phase in _CLIENTS_CHANGE:
        reconnect_standbys(ref, phase)
    verify_phase(ref, phase)
    refused = refuse_retired(ref, before) if phase is Phase.RETIRED else None
    record_phase(ref, claim)
    publish(ref, claim, f"{ref.environment}: phase {phase} is verified")
    mark_ended(record, phase, now())
    show_progress(ref)
    show_canary(ref, record)
    progress.info("phase %s is reached and verified", phase)
    return refused


def _first_to_switch(state: FleetState, hosts: tuple[str, ...]) -> str:
    """The first server whose log can be heard; where no inventory names a log, the first host."""
    hearable = {host.name for host in state.fleet.hosts if any(service.log for service in host.services)}
    return next((host for host in hosts if host in hearable), hosts[0])


def _try_one(ref: EnvironmentRef, hosts: tuple[str, ...], claim: Claim, canary: Watched, marks: Marks) -> str:
    """Let one server present its next certificate, and hear from its log who refuses it, before all others follow.

    An application whose bundle nobody knows of shows nowhere else, and here it can still log in everywhere else.

    Returns:
        Which it was.

    Raises:
        RollOutFailed: Somebody refuses it; every server presents its current certificate again.
    """
    first = _first_to_switch(observe(ref), hosts)
    distribute(ref, Phase.SERVERS, [first], claim.number)
    canary.watch_on()
    state = observe(ref)
    alerts, unreadable = certificate_alerts(state, marks, [first])
    refusing = [line for line in alerts.get(first, ()) if refuses_server(line)]
    if first in unreadable or first not in marks:
        progress.warning("nobody hears who refuses %s: %s", first, unreadable.get(first, "the inventory names no log"))
    elif refusing and any(one.gate is Gate.SERVER_LOG for one in state.rotation.approvals):
        progress.warning("%s is refused, and gate server-log was approved: %s", first, refusing[-1])
    elif refusing:
        _widen(ref, Phase.OVERLAP, hosts, claim)
        raise RollOutFailed(
            first,
            f"logged after it got its next certificate: {refusing[-1]}",
            "it presents its current one again, phase overlap; an alert `unknown ca` is a client without the new "
            "bundle: install it there, then run again",
        )
    return first


def _shrink(ref: EnvironmentRef, phase: Phase, hosts: tuple[str, ...], claim: Claim, marks: Marks) -> None:
    """Take a generation out of the bundles host by host; a new rejection in a host's log widens all of them again."""
    state = observe(ref)
    for host in hosts:
        distribute(ref, phase, [host], claim.number)
        alerts, _ = certificate_alerts(state, marks, [host])
        if alerts.get(host):
            wide = phase.preceding or Phase.OVERLAP
            _widen(ref, wide, hosts, claim)
            raise RollOutFailed(
                host,
                f"logged after its bundle shrank: {alerts[host][-1]}",
                f"all bundles are wide again, phase {wide}; find who it is, then run again: a failed verification is "
                "somebody with the old certificate, an alert `unknown ca` somebody without the new bundle",
            )


def _widen(ref: EnvironmentRef, wide: Phase, hosts: tuple[str, ...], claim: Claim) -> None:
    """Back to where everybody logged in; the alerts that led there are told, and keep no gate shut."""
    write_phase(ref, wide, claim)
    distribute(ref, wide, hosts, claim.number)
    verify_phase(ref, wide)
    state = observe(ref)
    save_marks(run_directory(ref, state.rotating.next.number), mark_logs(state))
    record_phase(ref, claim)
