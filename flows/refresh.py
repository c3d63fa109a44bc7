"""Refresh a fleet's certificate chain with minimal impact, while the applications stay connected."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.gates import wait_at_gate
from flows.move import move
from rechain.phase import Phase
from rechain.report import Outcome, RotationReport
from rechain.rotation import Direction
from rechain.route import stations
from tasks.claim import claimed
from tasks.first import confirm_first_generation
from tasks.gates import closed_gates
from tasks.generate import issue_next_generation
from tasks.notify_hooks import on_crashed, on_failure
from tasks.plan_artifacts import publish_proven
from tasks.prove import prove_steps
from tasks.record import mark_issued, run_directory
from tasks.reporting import report
from tasks.settle import settle_environment, settle_fleet
from tasks.state import EnvironmentRef, observe
from tasks.watch import watched


@flow(
    name="refresh-with-minimal-impact",
    flow_run_name="refresh-{environment}",
    persist_result=False,
    validate_parameters=True,
    on_failure=[on_failure],
    on_crashed=[on_crashed],
)
def refresh_with_minimal_impact(
    environment: str,
    repository: str = ".",
    until: Phase = Phase.RETIRED,
    take_over: bool = False,
    accept_non_atomic: bool = False,
) -> RotationReport:
    """Give a fleet a new certificate chain without a failed login, phase by phase; run it again to resume.

    Args:
        environment: Name of the environment, as in `environments/ENV`.
        repository: Directory of the environment repository on the worker.
        until: Phase to stop at.
        take_over: Take the claim of a run that has expired.
        accept_non_atomic: Accept that your own playbook does not swap pairs atomically and restores nothing.

    Raises:
        RechainError: Says where, what, and what to do next; the fleet is at a safe resting point.
    """
    ref = EnvironmentRef(Path(repository).resolve(), environment)
    settle_environment(ref, accept_non_atomic=accept_non_atomic, take_over=take_over)
    confirm_first_generation(ref, take_over=take_over)
    generation = issue_next_generation(ref)
    record = run_directory(ref, generation)
    rotation = observe(ref).rotation
    phases = stations(rotation, Direction.REFRESH, until)
    if not phases or rotation.phase is None:
        return report(ref, record, Outcome.DONE)
    refused: bool | None = None
    with claimed(ref, Direction.REFRESH, until, take_over=take_over) as claim, watched(ref, record) as canary:
        mark_issued(ref, generation)
        publish_proven(ref, rotation.phase, until, prove_steps(ref, rotation.phase, until))
        settle_fleet(ref, claim.number)
        canary.watch_on()  # what logins are like before anything moves
        for phase in phases:
            waiting = closed_gates(ref, phase, canary)
            if waiting and not wait_at_gate(ref, waiting):
                return report(ref, record, Outcome.WAITING, waiting=waiting)
            refused = move(ref, phase, claim, canary)
        canary.watch_on()
    return report(ref, record, Outcome.DONE, retired_refused=refused)
