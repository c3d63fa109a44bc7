"""What a person answered at a gate against what the gate looks like when the run wakes up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from flows import gates
from flows.gates import GateInput, Passage, WayBackInput, pass_gate
from rechain.gate import Waiting
from rechain.phase import Phase
from rechain.question import Question, next_question
from rechain.rotation import Gate

_APP = Waiting(Gate.CLIENTS, "app", "was not seen")
_ETL = Waiting(Gate.CLIENTS, "etl", "was not seen")
_LOGS = Waiting(Gate.SERVER_LOG, None, "db1 logged an alert")
_ASKED = next_question(None, 2, Phase.RETIRED, "then", [_APP, _ETL])


@dataclass
class Run:
    """A run at a gate.

    Attributes:
        waiting: What its gate waits for now.
        approved: The clients or gates that were approved.
        asked: The questions that it asked.
    """

    waiting: tuple[Waiting, ...] = ()
    approved: list[str] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)

    def passes(self, waiting: Sequence[Waiting] = (), phase: Phase = Phase.RETIRED) -> Passage:
        """Let it look at its gate. Raises Suspended."""
        self.waiting = tuple(waiting)
        return pass_gate(SimpleNamespace(), phase, SimpleNamespace())  # type: ignore[arg-type]  # nothing looks at them


class Suspended(Exception):
    """The run has no process any more."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A deployed run for generation 2, in a world that the test sets."""
    made = Run()

    def suspend(**_question: object) -> None:
        raise Suspended

    rotating = SimpleNamespace(next=SimpleNamespace(number=2))
    for name, value in {
        "deployment": SimpleNamespace(id="one"),
        "observe": lambda _ref: SimpleNamespace(rotating=rotating, rotation=SimpleNamespace(reached_at="then")),
        "closed_gates": lambda *_what: made.waiting,
        "record_approval": lambda _ref, gate, client, *_why, **_who: made.approved.append(client or gate.value),
        "evidence": lambda *_what: None,
        "as_markdown": lambda _shown: "what waits",
        "tell_waiting": lambda *_what: None,
        "remember_question": made.asked.append,
        "suspend_flow_run": suspend,
    }.items():
        monkeypatch.setattr(gates, name, value)
    _answered(monkeypatch, None, None)
    return made


def _answered(monkeypatch: pytest.MonkeyPatch, asked: Question | None, decision: str | None) -> None:
    answer = {"decision": decision, "who": "dba", "reason": "agreed"} if decision else None
    monkeypatch.setattr(gates, "last_question", lambda: asked)
    monkeypatch.setattr(gates, "answer_to", lambda _asked: answer)


def test_an_open_gate_asks_nobody(run: Run) -> None:
    """It is looked at, and passed."""
    assert run.passes() == Passage()


def test_a_closed_gate_asks_for_what_waits(run: Run) -> None:
    """The first time."""
    with pytest.raises(Suspended):
        run.passes([_APP])
    assert run.asked == [Question(1, 2, Phase.RETIRED, "then", frozenset({("clients", "app")}))]


def test_a_run_by_hand_ends_instead(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no form to answer."""
    monkeypatch.setattr(gates, "deployment", SimpleNamespace(id=None))
    assert run.passes([_APP]) == Passage((_APP,))
    assert run.asked == []


@pytest.mark.parametrize("waiting", [(), (_APP, _ETL), (_APP,), (_APP, _LOGS)], ids=["open", "same", "less", "more"])
def test_who_decides_to_roll_back_is_heard(run: Run, monkeypatch: pytest.MonkeyPatch, waiting: Any) -> None:
    """Whatever the gate looks like by now: an open one is no reason to go forward against a decision."""
    _answered(monkeypatch, _ASKED, "roll back")
    passage = run.passes(waiting)
    assert (passage.is_open, passage.turns_back) == (False, True)
    assert run.asked == []
    assert run.approved == []


def test_a_decision_about_another_rotation_turns_nothing_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was about the generation that its form named."""
    _answered(monkeypatch, replace(_ASKED, generation=1), "roll back")
    assert run.passes() == Passage()


@pytest.mark.parametrize(
    ("waiting", "approved"),
    [((), []), ((_APP, _ETL), ["app", "etl"]), ((_APP,), ["app"])],
    ids=["open", "same", "less"],
)
def test_continue_opens_what_its_form_listed(
    run: Run, monkeypatch: pytest.MonkeyPatch, waiting: Any, approved: list[str]
) -> None:
    """Also a part of it: nobody is asked twice about what was agreed to."""
    _answered(monkeypatch, _ASKED, "continue")
    assert run.passes(waiting) == Passage()
    assert run.approved == approved
    assert run.asked == []


def test_continue_opens_nothing_that_came_later(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was listed is approved; the rest is the next question."""
    _answered(monkeypatch, _ASKED, "continue")
    with pytest.raises(Suspended):
        run.passes([_APP, _LOGS])
    assert run.approved == ["app"]
    assert run.asked == [Question(2, 2, Phase.RETIRED, "then", frozenset({("server-log", "")}))]


def test_continue_was_about_its_own_phase(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same gate before another phase is another question."""
    _answered(monkeypatch, _ASKED, "continue")
    with pytest.raises(Suspended):
        run.passes([_APP], phase=Phase.SERVERS)
    assert run.approved == []
    assert run.asked[0].key == "g2-servers-2"


def test_continue_was_about_where_the_fleet_rested_then(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phase that was taken back since, and reached anew, has proven the approval wrong: a retried run asks."""
    _answered(monkeypatch, replace(_ASKED, since="before it was taken back"), "continue")
    with pytest.raises(Suspended):
        run.passes([_APP])
    assert run.approved == []


def test_wait_looks_again_and_asks_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is open by now is passed; what is not is asked about anew, under a name of its own."""
    _answered(monkeypatch, _ASKED, "wait")
    assert run.passes() == Passage()
    with pytest.raises(Suspended):
        run.passes([_ETL])
    assert [one.key for one in run.asked] == ["g2-retired-2"]
    assert run.approved == []


def test_a_question_that_nobody_answered_is_asked_anew(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is tried again from Prefect's list: its old form is gone."""
    _answered(monkeypatch, _ASKED, None)
    with pytest.raises(Suspended):
        run.passes([_APP, _ETL])
    assert [one.turn for one in run.asked] == [2]


@pytest.mark.parametrize("form", [GateInput, WayBackInput])
@pytest.mark.parametrize("blank", ["who", "reason"])
def test_a_blank_is_no_answer(form: Any, blank: str) -> None:
    """The server refuses it before it wakes the run."""
    answer = {"decision": "continue", "who": "dba", "reason": "agreed"}
    form(**answer)
    with pytest.raises(ValueError, match=blank):
        form(**{**answer, blank: "  "})
