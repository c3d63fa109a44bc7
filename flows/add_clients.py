"""Add client certificates: new clients log in, and nothing else moves."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

from prefect import flow

from rechain.addition import first_end
from rechain.report import Outcome, RotationReport, Strategy
from rechain.rotation import Direction
from tasks.access import deployed_phase
from tasks.add_clients import issue_clients, write_clients
from tasks.claim import claimed, publish
from tasks.distribute import distribute
from tasks.ending import ended, only_planned
from tasks.notify_hooks import on_crashed, on_failure
from tasks.order import hosts_in_order
from tasks.plan_addition import plan_new_clients
from tasks.plan_artifacts import publish_plan_of
from tasks.record import mark_ended, mark_started, run_directory
from tasks.reporting import report
from tasks.repository.location import repository_root
from tasks.settle import settle_environment
from tasks.state import EnvironmentRef, FleetState, now, observe
from tasks.step import progress
from tasks.verify import verify_phase
from tasks.watch import watched


@flow(
    name="add-client-certificates",
    flow_run_name="add-clients-{environment}",
    persist_result=False,
    validate_parameters=True,
    on_failure=[on_failure],
    on_crashed=[on_crashed],
)
def add_client_certificates(  # noqa: PLR0917  # the fields of the run form
    environment: str,
    plan_only: bool = False,
    clients: list[str] | None = None,
    repository: str = "",
    take_over: bool = False,
    accept_non_atomic: bool = False,
) -> RotationReport:
    """Give clients that the chain spec has gained their certificates; nothing that exists is issued again.

    This does not help against certificates that expire: those in use keep their dates.

    Args:
        environment: Name of the environment, as in `environments/ENV`.
        plan_only: Show what would change on each host, the proof and whom to tell; change nothing.
        clients: Clients to add; all that the chain spec has gained when empty.
        repository: Directory of the environment repository on the worker; where RECHAIN_REPO says when empty.
        take_over: Take the claim of a run that has expired.
        accept_non_atomic: Accept that your own playbook does not swap pairs atomically and restores nothing.

    Raises:
        RechainError: Says where, what, and what to do next; present clients log in as before.
    """
    ref = EnvironmentRef(repository_root(repository), environment)
    if plan_only:
        return only_planned(ref, plan_new_clients(ref, clients or ()))
    settle_environment(ref, accept_non_atomic=accept_non_atomic, take_over=take_over)
    publish_plan_of(ref, partial(plan_new_clients, only=clients or ()))
    made = issue_clients(ref, tuple(clients or ()))
    progress.info("new leaves for: %s", ", ".join(made) or "nobody; what is deployed is checked all the same")
    state = observe(ref)
    phase, record = deployed_phase(state), _record(ref, state)
    with claimed(ref, Direction.REFRESH, phase, take_over=take_over) as claim, watched(ref, record) as canary:
        canary.watch_on()  # what logins are like before anything is added
        mark_started(record, phase, now())
        order = hosts_in_order(ref)
        if write_clients(ref, claim):
            publish(ref, claim, f"{environment}: add clients {', '.join(made)}")
        distribute(ref, phase, order.hosts, claim.number, alone=order.primaries)
        verify_phase(ref, phase)
        mark_ended(record, phase, now())
        canary.watch_on()
    _warn_of_the_end(state)
    return ended(report(ref, record, Outcome.DONE, strategy=Strategy.ADD_CLIENTS))


def _record(ref: EnvironmentRef, state: FleetState) -> Path:
    """A run that is started again for the same clients goes on with the record of the first."""
    names = hashlib.sha256(" ".join(sorted(state.current.clients)).encode()).hexdigest()[:12]
    return run_directory(ref, state.current.number, f"clients-{names}")


def _warn_of_the_end(state: FleetState) -> None:
    first = first_end(state.current)
    progress.warning(
        "adding clients moves no date: %s ends on %s, and logins fail then; renew with --strategy minimal-impact",
        first.subject,
        f"{first.not_after:%Y-%m-%d}",
    )
