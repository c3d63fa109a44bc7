"""Replace a fleet's certificate chain in one step, with downtime: for new environments and expired chains."""

from __future__ import annotations

from prefect import flow

from rechain.errors import RollOutFailed
from rechain.phase import Phase
from rechain.report import Outcome, RotationReport, Strategy
from rechain.rotation import Direction
from tasks.announce import announce, announce_end
from tasks.claim import claimed, publish
from tasks.deploy import record_phase, write_everything
from tasks.distribute import distribute
from tasks.ending import ended, only_planned
from tasks.generate import issue_next_generation
from tasks.notify_hooks import on_crashed, on_failure
from tasks.order import hosts_in_order
from tasks.plan_artifacts import publish_plan_of
from tasks.plan_replacement import plan_downtime, prove_replacement
from tasks.put_back import put_back
from tasks.record import mark_ended, mark_started, run_directory
from tasks.reporting import report
from tasks.repository.location import repository_root
from tasks.run_page import show_progress
from tasks.settle import settle_environment
from tasks.state import EnvironmentRef, now, observe
from tasks.step import progress
from tasks.verify import verify_phase
from tasks.watch import watched


@flow(
    name="replace-with-downtime",
    flow_run_name="replace-{environment}",
    persist_result=False,
    validate_parameters=True,
    on_failure=[on_failure],
    on_crashed=[on_crashed],
)
def replace_with_downtime(
    environment: str,
    plan_only: bool = False,
    repository: str = "",
    take_over: bool = False,
    accept_non_atomic: bool = False,
) -> RotationReport:
    """Replace every certificate and every bundle in one roll-out; logins fail while it is under way.

    It works from expired certificates and from none at all. When a host does not take its set, all of them get back
    what was there before.

    Args:
        environment: Name of the environment, as in `environments/ENV`.
        plan_only: Show what would change on each host, the proof and whom to tell; change nothing.
        repository: Directory of the environment repository on the worker; where RECHAIN_REPO says when empty.
        take_over: Take the claim of a run that has expired.
        accept_non_atomic: Accept that your own playbook does not swap pairs atomically and restores nothing.

    Raises:
        RechainError: Says where, what, and what to do next.
    """
    ref = EnvironmentRef(repository_root(repository), environment)
    if plan_only:
        return only_planned(ref, plan_downtime(ref))
    settle_environment(ref, accept_non_atomic=accept_non_atomic, take_over=take_over, even_expired=True)
    generation = issue_next_generation(ref, even_expired=True)
    planned = prove_replacement(ref)
    publish_plan_of(ref, lambda _ref: planned)
    record, is_first = run_directory(ref, generation), observe(ref).rotation.is_first
    claim_it = claimed(ref, Direction.REFRESH, Phase.RETIRED, take_over=take_over)
    with claim_it as claim, watched(ref, record) as canary:
        progress.warning("replacing everything in one step: logins fail from now on")
        announce(ref)
        mark_started(record, Phase.RETIRED, now())
        order = hosts_in_order(ref)
        write_everything(ref, claim)
        show_progress(ref)
        publish(ref, claim, f"{environment}: replace everything in one step")
        try:
            distribute(ref, Phase.RETIRED, order.hosts, claim.number, start=True)
        except RollOutFailed:
            if not is_first:
                put_back(ref, order.hosts, claim)
            raise
        canary.follow(Phase.RETIRED)  # external clients' owners can have theirs from now on
        verify_phase(ref, Phase.RETIRED)
        record_phase(ref, claim)
        show_progress(ref)
        publish(ref, claim, f"{environment}: everything was replaced")
        mark_ended(record, Phase.RETIRED, now())
        canary.watch_on()
    done = report(ref, record, Outcome.DONE, strategy=Strategy.DOWNTIME)
    announce_end(ref, done.outage.seconds if done.outage else None)
    return ended(done)
