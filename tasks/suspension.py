"""What Prefect keeps of a run that was suspended at gates: its questions, and what people answered.

Kept as inputs of the run, which outlive server and worker. Prefect's own memory of a question is not enough: "Retry"
clears it, and it knows neither the order of questions nor what they listed.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.input import keyset_from_paused_state
from prefect.runtime import flow_run
from prefect.states import Suspended

from rechain.errors import TransitionRefused
from rechain.phase import Phase
from rechain.question import Question
from tasks.repository.rotation_yaml import read_rotation
from tasks.state import EnvironmentRef

_PREFIX = "rechain-question-"
_MOST = 200


def last_question() -> Question | None:
    """The last question of this run; None when it never asked, or is no run of a server."""
    return max(_questions(), key=lambda one: one.turn, default=None)


def remember_question(question: Question) -> None:
    """Keep a question before people see it. Side effect: an input of this run."""
    content = json.dumps(asdict(question) | {"listed": sorted(question.listed)})
    with get_client(sync_client=True) as client:
        client.create_flow_run_input(UUID(flow_run.id), key=f"{_PREFIX}{question.turn}", value=content)


def answer_to(question: Question) -> dict[str, Any] | None:
    """What the form of a question was answered with; None when nobody has."""
    keys = keyset_from_paused_state(Suspended(pause_key=question.key))
    return next(iter(_inputs(keys["response"])), None)


def finished_meanwhile(ref: EnvironmentRef) -> int | None:
    """The generation that this run waited for, when another run has finished its rotation since; else None.

    Raises:
        TransitionRefused: That generation was discarded. To go on would begin a rotation that nobody asked for.
    """
    asked, rotation = last_question(), read_rotation(ref.root, ref.environment)
    if asked is None or asked.generation == rotation.next:
        return None
    if asked.generation == rotation.current:
        return asked.generation
    raise TransitionRefused(
        ref.environment,
        f"this run waited for generation {asked.generation}, which was discarded meanwhile",
        "nothing was changed; start a new run to rotate again",
    )


def _questions() -> list[Question]:
    return [_read(content) for content in _inputs(_PREFIX)]


def _inputs(prefix: str) -> list[dict[str, Any]]:
    """The inputs of this run whose keys begin so."""
    if not flow_run.id:
        return []
    with get_client(sync_client=True) as client:
        found = client.filter_flow_run_input(UUID(flow_run.id), key_prefix=prefix, limit=_MOST, exclude_keys=set())
    return [json.loads(one.value) for one in found]


def _read(content: dict[str, Any]) -> Question:
    listed = frozenset((gate, client) for gate, client in content["listed"])
    return Question(content["turn"], content["generation"], Phase(content["phase"]), content["since"], listed)
