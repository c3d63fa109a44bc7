"""Waiting at a gate: a deployed run suspends and shows a form, a run started by hand ends and is started again.

A suspended run has no process and holds no claim. Whoever answers the form, or `rechain approve`, wakes it on any
worker, where its flow begins from the top: what was answered is kept by Prefect under the key of the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment
from pydantic import Field

from rechain.gate import Waiting
from rechain.gate_text import as_markdown
from rechain.phase import Phase
from rechain.question import Question, next_question
from tasks.approve import record_approval
from tasks.evidence import evidence
from tasks.gates import closed_gates
from tasks.state import EnvironmentRef, observe
from tasks.step import progress
from tasks.suspension import answer_to, last_question, remember_question
from tasks.tell_waiting import tell_waiting
from tasks.watch import Watched

GATE_TIMEOUT_S = 90 * 24 * 3600
"""How long a run may wait for an answer: longer than anybody should, shorter than certificates last."""
_WORDS = r"\S"  # a blank is no name, and no reason
_CONTINUE = "continue: open what is listed above; wait: look again, and ask again if something is still missing"


class Decision(StrEnum):
    """What the person at the gate decides."""

    CONTINUE = "continue"
    WAIT = "wait"
    ROLL_BACK = "roll back"


class _Form(RunInput):
    """What every form asks. Nothing has a default: an empty resume must not be taken as an answer."""

    who: str = Field(pattern=_WORDS, description="Who decides; recorded in rotation.yml")
    reason: str = Field(pattern=_WORDS, description="Why; recorded in rotation.yml, for those who ask in a year")


class GateInput(_Form):
    """The form of a gate on the way forward."""

    decision: Decision = Field(
        description=f"{_CONTINUE}; roll back: end this run, and start the way back to the current chain"
    )


class WayBackInput(_Form):
    """The form of a gate on the way back."""

    decision: Literal[Decision.CONTINUE, Decision.WAIT] = Field(description=_CONTINUE)


Form = type[GateInput] | type[WayBackInput]


@dataclass(frozen=True, slots=True)
class Passage:
    """Whether a run may go on.

    Attributes:
        waiting: What is still waited for; empty when the gate is open.
        turns_back: Whether a person decided to roll back.
    """

    waiting: tuple[Waiting, ...] = ()
    turns_back: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the next phase may begin."""
        return not self.waiting and not self.turns_back


def pass_gate(ref: EnvironmentRef, phase: Phase, canary: Watched, form: Form = GateInput) -> Passage:
    """Look at the gate before a phase; where it is closed, let a person decide.

    A deployed run suspends here and does not come back from this call: it begins from the top once it is answered.
    Only the run's last question counts. Who decided to roll back is heard even where the gate is open by now.
    """
    state = observe(ref)
    generation, since = state.rotating.next.number, str(state.rotation.reached_at)
    asked, answer = _answered(form) if deployment.id else (None, None)
    if asked and answer and asked.generation == generation and answer.decision is Decision.ROLL_BACK:
        progress.warning("%s decided to roll back: %s", answer.who, answer.reason)
        return Passage(turns_back=True)
    waiting = closed_gates(ref, phase, canary)
    if not waiting or not deployment.id:
        return Passage(waiting)
    if asked and answer and answer.decision is Decision.CONTINUE and asked.is_about(generation, phase, since):
        waiting = _opened(ref, asked, answer, waiting)
    following = next_question(asked, generation, phase, since, waiting)
    return _ask(ref, following, waiting, form) if waiting else Passage()


def _answered(form: Form) -> tuple[Question | None, GateInput | WayBackInput | None]:
    """This run's last question, and its answer."""
    asked = last_question()
    answer = answer_to(asked) if asked else None
    return asked, form(**answer) if answer else None


def _opened(ref: EnvironmentRef, asked: Question, answer: _Form, waiting: Sequence[Waiting]) -> tuple[Waiting, ...]:
    """Record the approvals of an answer. Returns what waits all the same."""
    opens = asked.opens(waiting)
    for one in opens:
        record_approval(ref, one.gate, one.client, answer.reason, who=answer.who)
    return tuple(one for one in waiting if one not in opens)


def _ask(ref: EnvironmentRef, asked: Question, waiting: Sequence[Waiting], form: Form) -> Passage:
    """Suspend. People are told first, for that ends the process."""
    shown = evidence(ref, asked.phase, waiting)
    remember_question(asked)
    tell_waiting(ref, shown, asked.key)
    shown_form = form.with_initial_data(description=as_markdown(shown))
    suspend_flow_run(wait_for_input=shown_form, timeout=GATE_TIMEOUT_S, key=asked.key)
    return Passage(tuple(waiting))
