"""Which phases a run still has to deploy, from where a rotation was left, in either direction."""

from __future__ import annotations

from rechain.errors import TransitionRefused
from rechain.phase import Phase, path
from rechain.rotation import Direction, Rotation


def stations(rotation: Rotation, direction: Direction, until: Phase) -> tuple[Phase, ...]:
    """The phases to deploy, in order.

    A move that was left half way is finished when it leads in the wanted direction; else the run first returns to
    the resting point that it started from, which every host's mix allows.

    Raises:
        TransitionRefused: The rotation has already passed `until`, or there is none.
    """
    if rotation.phase is None:
        raise TransitionRefused("rotation.yml", "the environment has no certificates", "run `rechain generate` first")
    begun = _begun(rotation, rotation.phase, direction)
    start = begun or rotation.phase
    if _is_behind(start, until, direction):
        raise TransitionRefused(
            "rotation.yml", f"the rotation is already past {until}, at {rotation.phase}", "choose a later phase"
        )
    return (*((begun,) if begun else ()), *path(start, until))


def _begun(rotation: Rotation, resting: Phase, direction: Direction) -> Phase | None:
    """The phase to deploy first when a move was left half way."""
    if rotation.target is None:
        return None
    onward = resting.following if direction is Direction.REFRESH else resting.preceding
    return rotation.target if rotation.target is onward else resting


def _is_behind(start: Phase, until: Phase, direction: Direction) -> bool:
    order = tuple(Phase)
    if direction is Direction.REFRESH:
        return order.index(until) < order.index(start)
    return order.index(until) > order.index(start)
