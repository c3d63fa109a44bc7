"""Refresh a fleet's certificate chain with minimal impact, while the applications stay connected."""

from __future__ import annotations

from prefect import flow

from flows.gates import Passage, pass_gate
from flows.move import move
from rechain.phase import Phase
from rechain.report import Outcome, RotationReport
from rechain.rotation import Direction
from rechain.route import stations
from tasks.claim import claimed
from tasks.ending import ended, only_planned
from tasks.first import confirm_first_generation
from tasks.generate import issue_next_generation
from tasks.notify_hooks import on_crashed, on_failure
from tasks.plan import plan_rotation
from tasks.plan_artifacts import publish_proven
from tasks.prove import prove_steps
from tasks.reconnect import reconnect_standbys
from tasks.record import mark_issued, run_directory
from tasks.reporting import report
from tasks.repository.location import repository_root
from tasks.roll_back_run import start_roll_back
from tasks.run_page import show_progress
from tasks.settle import settle_environment, settle_fleet
from tasks.state import EnvironmentRef, observe
from tasks.suspension import finished_meanwhile
from tasks.watch import watched


@flow(
    name="refresh-with-minimal-impact",
    flow_run_name="refresh-{environment}",
    persist_result=False,
    validate_parameters=True,
    on_failure=[on_failure],
    on_crashed=[on_crashed],
)
def refresh_with_minimal_impact(  # noqa: PLR0917  # the fields of the run form
    environment: str,
    plan_only: bool = False,
    until: Phase = Phase.RETIRED,
    repository: str = "",
    take_over: bool = False,
    accept_non_atomic: bool = False,
) -> RotationReport:
    """Give a fleet a new certificate chain without a failed login, phase by phase; run it again to resume.

    Args:
        environment: Name of the environment, as in `environments/ENV`.
        plan_only: Show what would change on each host, the proof and whom to tell; change nothing.
        until: Phase to stop at; every phase is a safe resting point.
        repository: Directory of the environment repository on the worker; where RECHAIN_REPO says when empty.
        take_over: Take the claim of a run that has expired.
        accept_non_atomic: Accept that your own playbook does not swap pairs atomically and restores nothing.

    Raises:
        RechainError: Says where, what, and what to do next; the fleet is at a safe resting point.
    """
    ref = EnvironmentRef(repository_root(repository), environment)
    if plan_only:
        return only_planned(ref, plan_rotation(ref))
    settle_environment(ref, accept_non_atomic=accept_non_atomic, take_over=take_over)
    if finished := finished_meanwhile(ref):
        return ended(report(ref, run_directory(ref, finished), Outcome.DONE))
    confirm_first_generation(ref, take_over=take_over)
    generation = issue_next_generation(ref)
    record = run_directory(ref, generation)
    rotation = observe(ref).rotation
    phases = stations(rotation, Direction.REFRESH, until)
    if not phases or rotation.phase is None:
        return ended(report(ref, record, Outcome.DONE))
    refused: bool | None = None
    passage = Passage()
    with claimed(ref, Direction.REFRESH, until, take_over=take_over) as claim, watched(ref, record) as canary:
        mark_issued(ref, generation)
        show_progress(ref)
        publish_proven(ref, rotation.phase, until, prove_steps(ref, rotation.phase, until))
        settle_fleet(ref, claim.number)
        if rotation.phase is Phase.CLIENTS and rotation.target is None:
            reconnect_standbys(ref, Phase.CLIENTS)  # one that replayed late may have caught up since
        canary.watch_on()  # what logins are like before anything moves
        for phase in phases:
            passage = pass_gate(ref, phase, canary)
            if not passage.is_open:
                break
            refused = move(ref, phase, claim, canary)
        else:
            canary.watch_on()
    if passage.turns_back:  # the claim has been given back by now
        start_roll_back(ref, accept_non_atomic=accept_non_atomic)
    outcome = Outcome.DONE if passage.is_open else Outcome.WAITING
    made = report(ref, record, outcome, waiting=passage.waiting, retired_refused=refused)
    return ended(made, turns_back=passage.turns_back)
