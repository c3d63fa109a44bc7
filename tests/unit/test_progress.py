"""How far a run is: in percent of the whole way, and in words that say where the fleet rests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rechain.gate import Waiting
from rechain.phase import Phase, path
from rechain.progress import progress
from rechain.rotation import Claim, Direction, Gate, Rotation

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _rotation(
    phase: Phase, target: Phase | None = None, until: Phase = Phase.RETIRED, way: Direction = Direction.REFRESH
) -> Rotation:
    claim = Claim(1, "dba@desk:1:1", way, until, _NOW, _NOW)
    return Rotation(phase, current=1, next=2, last_generation=2, target=target, claim=claim)


def _told(rotation: Rotation, *waiting: Waiting) -> str:
    far = progress("acc", rotation, waiting)
    assert far
    return far.told


@pytest.mark.parametrize(
    ("way", "start", "until"),
    [
        (Direction.REFRESH, Phase.ISSUED, Phase.RETIRED),
        (Direction.REFRESH, Phase.ISSUED, Phase.SERVERS),
        (Direction.ROLLBACK, Phase.CLIENTS, Phase.ISSUED),
        (Direction.ROLLBACK, Phase.RETIRED, Phase.CLIENTS),
    ],
)
def test_each_phase_is_an_equal_part_of_the_way(way: Direction, start: Phase, until: Phase) -> None:
    """From 0 to 100, in both directions; a run that resumes begins where the last one left."""
    stations = (start, *path(start, until))
    made = [progress("acc", _rotation(phase, until=until, way=way)) for phase in stations]
    parts = len(stations) - 1
    assert [one and one.percent for one in made] == [pytest.approx(100 * n / parts) for n in range(parts + 1)]


def test_a_move_names_both_ends_and_what_follows() -> None:
    """Whoever looks while it moves sees that this is safe, and what is still to come."""
    told = _told(_rotation(Phase.OVERLAP, Phase.SERVERS))
    assert told == "acc moves from overlap to servers, every mix of the two is proven safe; then: clients, retired"


def test_a_replacement_is_not_called_safe() -> None:
    """From issued to retired at once, logins fail."""
    assert _told(_rotation(Phase.ISSUED, Phase.RETIRED)).endswith("to retired, logins fail until it has ended")


def test_a_move_that_is_taken_back_says_so() -> None:
    """It leads to where the fleet rested."""
    told = _told(_rotation(Phase.SERVERS, Phase.SERVERS, Phase.ISSUED, Direction.ROLLBACK))
    assert told == "acc returns to servers, from where it was left half way; then: overlap, issued"


def test_a_closed_gate_is_named_with_what_is_next() -> None:
    """Once, however many clients are waited for."""
    waiting = [Waiting(Gate.CLIENTS, name, "was not seen") for name in ("app", "batch")]
    told = _told(_rotation(Phase.CLIENTS), *waiting)
    assert told == "acc rests at clients and waits at gate clients; next: retired"


def test_without_a_claim_nobody_moves() -> None:
    """A revocation's page shows no progress of somebody else's rotation."""
    assert progress("acc", replace(_rotation(Phase.OVERLAP), claim=None)) is None
