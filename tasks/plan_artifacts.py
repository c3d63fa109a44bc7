"""Put a plan on the page of its run: before anything is touched, and when a run is to plan only."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prefect.runtime import deployment

from rechain.phase import Phase
from rechain.plan import Planned
from rechain.plan_page import plan_markdown, plan_rows, plan_summary
from rechain.prover import Proof
from tasks.page import Kind, Sheet, key_of, show
from tasks.plan import plan_of
from tasks.state import EnvironmentRef

MOST_ROWS = 2000


def publish_plan(planned: Planned) -> None:
    """Show a plan as a table, with its proof and whom to tell beside it. Never raises; safe to repeat.

    Side effect: two artifacts.
    """
    show(f"the plan of {planned.plan.environment}", lambda _page: _sheets(planned))


def publish_proven(ref: EnvironmentRef, start: Phase, until: Phase, proof: Proof) -> None:
    """Show the plan of what a run has proven and is about to do. Never raises; safe to repeat.

    Side effect: two artifacts.
    """
    show(f"the plan of {ref.environment}", lambda _page: _sheets(plan_of(ref, start, until, proof)))


def publish_plan_of(ref: EnvironmentRef, make: Callable[[EnvironmentRef], Planned]) -> None:
    """Plan and show it, for strategies that move without one. Never raises; safe to repeat.

    In a deployed run only: planning opens vaults, for seconds, and whoever types a command has `rechain plan`.

    Side effect: two artifacts.
    """
    if deployment.id:
        show(f"the plan of {ref.environment}", lambda _page: _sheets(make(ref)))


def _sheets(planned: Planned) -> Iterator[Sheet]:
    plan = planned.plan
    rows, summary = plan_rows(plan), plan_summary(plan)
    more = len(rows) - MOST_ROWS
    left_out = f"; {more} more are left out" if more > 0 else ""
    yield Sheet(Kind.MARKDOWN, key_of(plan.environment, "plan", "notes"), summary, plan_markdown(planned))
    yield Sheet(Kind.TABLE, key_of(plan.environment, "plan"), f"{summary}{left_out}", rows[:MOST_ROWS])
