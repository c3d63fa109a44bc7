"""A run that was suspended at a gate wakes up in a world that went on: it never moves what nobody asked it to move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rechain.errors import TransitionRefused
from rechain.gate import Waiting
from rechain.phase import Phase
from rechain.rotation import Gate
from tasks import suspension
from tasks.repository.rotation_yaml import write_rotation
from tasks.state import EnvironmentRef
from tasks.suspension import finished_meanwhile, question
from tests.environments import ISSUED, Environment

_WAITING = (Waiting(Gate.CLIENTS, "applicatie", "was not seen"), Waiting(Gate.CANARY, None, "3 logins failed"))


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """This run was suspended once, for generation 2."""
    monkeypatch.setattr(suspension, "_keys", lambda: {f"{question(2, Phase.RETIRED, _WAITING)}-1"})


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


def test_an_answer_belongs_to_what_its_form_listed() -> None:
    """In whatever order; another gate, client, phase or generation is another question. Reasons change with time."""
    asked = question(2, Phase.RETIRED, _WAITING)
    later = tuple(replace(one, reason="told again") for one in reversed(_WAITING))
    assert question(2, Phase.RETIRED, later) == asked
    others = [
        question(3, Phase.RETIRED, _WAITING),
        question(2, Phase.CLIENTS, _WAITING),
        question(2, Phase.RETIRED, _WAITING[:1]),
        question(2, Phase.RETIRED, (replace(_WAITING[0], client="etl"), _WAITING[1])),
    ]
    assert len({asked, *others}) == 5
