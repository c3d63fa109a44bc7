"""A run that was suspended at a gate wakes up in a world that went on: it never moves what nobody asked it to move."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from rechain.errors import TransitionRefused
from rechain.gate import Waiting
from rechain.phase import Phase
from rechain.question import next_question
from rechain.rotation import Gate
from tasks import suspension
from tasks.repository.rotation_yaml import write_rotation
from tasks.state import EnvironmentRef
from tasks.suspension import finished_meanwhile
from tests.environments import ISSUED, Environment

_WAITING = (Waiting(Gate.CLIENTS, "applicatie", "was not seen"), Waiting(Gate.CANARY, None, "3 logins failed"))

_ASKS = """\
import json, sys
from dataclasses import replace
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from uuid import UUID
from rechain.phase import Phase
from rechain.question import next_question
from rechain.question import Question
from tasks.suspension import answer_to, last_question, remember_question

first = Question(1, 2, Phase.RETIRED, "then", frozenset({("clients", "app"), ("canary", "")}))

@flow(log_prints=False)
def ask(answer):
    assert last_question() is None
    remember_question(first)
    assert last_question() == first
    second = replace(first, turn=2)
    for question, decision in ((first, "wait"), (second, answer)):
        if question is second:
            assert answer_to(second) is None
            remember_question(second)
        with get_client(sync_client=True) as client:
            key = f"suspended-{question.key}-response"
            client.create_flow_run_input(UUID(flow_run.id), key=key, value=json.dumps({"decision": decision}))
    assert last_question() == second
    return answer_to(last_question())["decision"]

assert last_question() is None
print(ask("continue"), ask("roll back"))
"""


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """This run was suspended once, for generation 2."""
    monkeypatch.setattr(suspension, "last_question", lambda: next_question(None, 2, Phase.RETIRED, "then", _WAITING))


def _ref(environment: Environment, current: int, upcoming: int | None) -> EnvironmentRef:
    phase = Phase.CLIENTS if upcoming else Phase.RETIRED
    write_rotation(environment.root, environment.name, replace(ISSUED, current=current, next=upcoming, phase=phase))
    return EnvironmentRef(environment.root, environment.name)


@pytest.mark.usefixtures("waited")
def test_it_goes_on_with_the_generation_that_it_waited_for(closed_environment: Environment) -> None:
    """The usual case: nothing happened meanwhile."""
    assert finished_meanwhile(_ref(closed_environment, 1, 2)) is None


@pytest.mark.usefixtures("waited")
def test_it_ends_when_another_run_has_finished_its_rotation(closed_environment: Environment) -> None:
    """Otherwise it would begin the next one, or reopen this one."""
    assert finished_meanwhile(_ref(closed_environment, 2, None)) == 2
    assert finished_meanwhile(_ref(closed_environment, 2, 3)) == 2


@pytest.mark.usefixtures("waited")
@pytest.mark.parametrize("upcoming", [None, 3])
def test_it_refuses_when_its_generation_was_discarded(closed_environment: Environment, upcoming: int | None) -> None:
    """A roll-back was somebody's decision; a new rotation is somebody's, too."""
    with pytest.raises(TransitionRefused, match="generation 2, which was discarded"):
        finished_meanwhile(_ref(closed_environment, 1, upcoming))


def test_a_run_that_never_waited_asks_nothing(closed_environment: Environment) -> None:
    """On the command line there is no run to ask about."""
    assert finished_meanwhile(_ref(closed_environment, 1, None)) is None


def test_questions_and_answers_outlive_the_run_s_process(prefect_api: dict[str, str]) -> None:
    """The last question is found with what it listed, and its own answer; nothing of another run's."""
    done = subprocess.run(
        [sys.executable, "-c", _ASKS], env={**os.environ, **prefect_api}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["continue", "roll", "back"]
