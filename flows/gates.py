"""Waiting at a gate: a deployed run suspends and shows a form, a run started by hand ends and is started again."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from pydantic import Field

from rechain.gate import Waiting
from tasks.approve import record_approval
from tasks.state import EnvironmentRef

GATE_TIMEOUT_S = 30 * 24 * 3600


class Decision(StrEnum):
    """What the person at the gate decides."""

    APPROVE = "approve"
    LOOK_AGAIN = "look again"


class GateInput(RunInput):
    """The form of a waiting gate. The decision is required: an empty resume must not be taken as an answer."""

    decision: Decision
    who: str = Field(description="Who decides")
    reason: str = Field(description="Why it may go on; recorded in rotation.yml")


def wait_at_gate(ref: EnvironmentRef, waiting: Sequence[Waiting]) -> bool:
    """Suspend a deployed run until a person decides; tell a run started by hand to end.

    Returns:
        Whether the gate has been opened.
    """
    if not deployment.id:
        return False
    told = "\n".join(f"- **{one.gate}** {one.reason}" for one in waiting)
    answer = suspend_flow_run(
        wait_for_input=GateInput.with_initial_data(description=told, reason=""),
        timeout=GATE_TIMEOUT_S,
        key=f"{waiting[0].gate}-{flow_run.run_count}",
    )
    if answer.decision is not Decision.APPROVE:
        return False
    for one in waiting:
        record_approval(ref, one.gate, one.client, answer.reason, who=answer.who)
    return True
