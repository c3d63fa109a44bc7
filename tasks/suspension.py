"""What Prefect keeps of a run that was suspended at gates: keys of its questions, `gGENERATION-PHASE-DIGEST-TURN`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from rechain.errors import TransitionRefused
from rechain.gate import Waiting
from rechain.phase import Phase
from tasks.repository.rotation_yaml import read_rotation
from tasks.state import EnvironmentRef


def question(generation: int, phase: Phase, waiting: Sequence[Waiting]) -> str:
    """The key of a question, without its turn: an answer opens what was listed, and nothing that came to wait later."""
    listed = "\n".join(sorted(f"{one.gate} {one.client or ''}" for one in waiting))
    return f"g{generation}-{phase}-{hashlib.sha256(listed.encode()).hexdigest()[:12]}"


def times_asked(key: str) -> int:
    """How often this run was suspended with a question."""
    return sum(asked.rpartition("-")[0] == key for asked in _keys())


def finished_meanwhile(ref: EnvironmentRef) -> int | None:
    """The generation that this run waited for, when another run has finished its rotation since; else None.

    Raises:
        TransitionRefused: That generation was discarded. To go on would begin a rotation that nobody asked for.
    """
    generation = next((int(key.split("-")[0][1:]) for key in _keys()), None)
    rotation = read_rotation(ref.root, ref.environment)
    if generation is None or generation == rotation.next:
        return None
    if generation == rotation.current:
        return generation
    raise TransitionRefused(
        ref.environment,
        f"this run waited for generation {generation}, which was discarded meanwhile",
        "nothing was changed; start a new run to rotate again",
    )


def _keys() -> set[str]:
    if not flow_run.id:
        return set()
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run.id).empirical_policy.pause_keys or set()
