"""Wake runs that wait at a gate once somebody has approved it on the command line."""

from __future__ import annotations

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
)
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import NotPausedError, PrefectException
from prefect.flow_runs import resume_flow_run
from prefect.settings import PREFECT_API_URL

from tasks.told_event import FLOWS

_MOST = 200
_WHY = "the approval is recorded all the same: press Resume on the run's page, and decide `wait`"


def wake_waiting_runs(environment: str, who: str, reason: str) -> tuple[str, ...]:
    """Let suspended runs of an environment look at their gates again. Side effect: they are scheduled at once.

    Args:
        environment: Whose runs.
        who: Who approved.
        reason: Why.

    Returns:
        A line for each run, and one where the server could not be asked; nothing where no server is configured.
    """
    if not PREFECT_API_URL.value():
        return ()
    try:
        with get_client(sync_client=True) as client:
            runs = _suspended(client, environment)
    except (PrefectException, OSError, RuntimeError) as error:
        return (f"no run was woken, the Prefect server can't be asked: {type(error).__name__}; {_WHY}",)
    return tuple(_wake(run, who, reason) for run in runs)


def _suspended(client: SyncPrefectClient, environment: str) -> list[FlowRun]:
    state = FlowRunFilterState(name=FlowRunFilterStateName(any_=["Suspended"]))
    ours = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
    found = client.read_flow_runs(flow_filter=ours, flow_run_filter=FlowRunFilter(state=state), limit=_MOST)
    return [run for run in found if run.parameters.get("environment") == environment]


def _wake(run: FlowRun, who: str, reason: str) -> str:
    """With the answer `wait`: it looks again, and what is approved by now is open; anything else it asks anew."""
    try:
        resume_flow_run(run.id, run_input={"decision": "wait", "who": who, "reason": reason})
    except NotPausedError:
        return f"run {run.name} was answered just now by somebody else"
    except (PrefectException, OSError, RuntimeError) as error:
        return f"run {run.name} was not woken: {type(error).__name__}; {_WHY}"
    return f"run {run.name} looks at its gates again"
