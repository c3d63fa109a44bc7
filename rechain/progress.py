"""How far a run has come: where the fleet rests, where it is moving to, and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rechain.gate import Waiting
from rechain.phase import Phase, is_legal, path
from rechain.rotation import Direction, Rotation


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        percent: Of the whole way of the rotation, not of this run alone: a run that resumes one begins where it left.
        told: Where the fleet rests and what is next, for a person.
    """

    percent: float
    told: str


def progress(environment: str, rotation: Rotation, waiting: Sequence[Waiting] = ()) -> Progress | None:
    """How far the owner of the claim has come.

    Args:
        environment: The fleet.
        rotation: Where it stands; the claim says in which direction it moves, and up to which phase.
        waiting: What a closed gate waits for.

    Returns:
        None while nobody moves it.
    """
    claim, resting = rotation.claim, rotation.phase
    if claim is None or resting is None:
        return None
    way = path(_start(claim.direction, claim.target), claim.target)
    left = way[way.index(resting) + 1 :] if resting in way else way
    percent = 100.0 * (len(way) - len(left)) / len(way) if way else 100.0
    return Progress(percent, f"{environment} {_where(rotation, resting, left, waiting)}")


def finished(environment: str, resting: Phase | None) -> Progress:
    """The end of a run that did all that it was to do."""
    return Progress(100.0, f"{environment} rests at {resting or 'no phase'}; this run has done what it was to do")


def _start(direction: Direction, until: Phase) -> Phase:
    """Where the whole way begins."""
    if direction is Direction.REFRESH:
        return Phase.ISSUED
    return Phase.RETIRED if until is Phase.CLIENTS else Phase.CLIENTS


def _where(rotation: Rotation, resting: Phase, left: Sequence[Phase], waiting: Sequence[Waiting]) -> str:
    if rotation.target is not None:
        return _moving(resting, rotation.target, left)
    if waiting:
        gates = ", ".join(dict.fromkeys(one.gate.value for one in waiting))
        return f"rests at {resting} and waits at gate {gates}{_listed('; next', left)}"
    return f"rests at {resting}{_listed('; next', left)}"


def _moving(resting: Phase, target: Phase, left: Sequence[Phase]) -> str:
    rest = left[left.index(target) + 1 :] if target in left else left
    if target is resting:
        return f"returns to {resting}, from where it was left half way{_listed('; then', rest)}"
    safe = is_legal(resting, target)
    about = "every mix of the two is proven safe" if safe else "logins fail until it has ended"
    return f"moves from {resting} to {target}, {about}{_listed('; then', rest if safe else ())}"


def _listed(word: str, phases: Sequence[Phase]) -> str:
    return f"{word}: {', '.join(phases)}" if phases else ""
