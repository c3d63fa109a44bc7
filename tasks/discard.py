"""Discard a next generation that was issued and never deployed; its number is not used again."""

from __future__ import annotations

from dataclasses import replace

from rechain.phase import Phase
from rechain.rotation import Rotation
from tasks.repository.generations import delete_generation
from tasks.repository.rotation_yaml import read_rotation, update_rotation
from tasks.state import EnvironmentRef, now
from tasks.step import step


@step("discard-generation")
def discard_next_generation(ref: EnvironmentRef) -> None:
    """Forget the next generation.

    Side effect: rotation.yml first, so that no kill leaves it pointing at nothing; then the generation's folder.
    """
    discarded = read_rotation(ref.root, ref.environment).next
    update_rotation(ref.root, ref.environment, _at_rest)
    if discarded is not None:
        delete_generation(ref.root, ref.environment, discarded)


def _at_rest(rotation: Rotation) -> Rotation:
    return replace(rotation, phase=Phase.RETIRED, next=None, approvals=(), reached_at=now())
