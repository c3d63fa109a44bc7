"""Phases and rotations move by legal transitions only."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rechain.errors import TransitionRefused
from rechain.phase import Age, Phase, is_legal, material, path
from rechain.rotation import Rotation, beginning, reached, replacing, resting_place, toward

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ORDER = (Phase.ISSUED, Phase.OVERLAP, Phase.SERVERS, Phase.CLIENTS, Phase.RETIRED)
STEADY = settings(deadline=None, derandomize=True, max_examples=100)
phases = st.sampled_from(Phase)


def _rotation(phase: Phase | None, target: Phase | None = None) -> Rotation:
    return Rotation(phase=phase, current=1, next=2, last_generation=2, target=target)


def test_the_phases_are_the_design_s_in_order() -> None:
    """The words that rotation.yml, the command line and the reports use."""
    assert [phase.value for phase in Phase] == ["issued", "overlap", "servers", "clients", "retired"]
    assert tuple(Phase) == ORDER


@pytest.mark.parametrize("start", ORDER)
@pytest.mark.parametrize("target", ORDER)
def test_only_neighbours_are_one_step_apart(start: Phase, target: Phase) -> None:
    """A step leads to the next or the previous phase, never to itself or past one."""
    assert is_legal(start, target) == (abs(ORDER.index(start) - ORDER.index(target)) == 1)


def test_the_ends_have_one_neighbour() -> None:
    """Before `issued` and after `retired` there is nothing to step to."""
    assert Phase.ISSUED.preceding is None
    assert Phase.RETIRED.following is None
    assert [phase.following for phase in ORDER[:-1]] == list(ORDER[1:])
    assert [phase.preceding for phase in ORDER[1:]] == list(ORDER[:-1])


@STEADY
@given(phases, phases)
def test_a_path_takes_legal_steps_to_its_end(start: Phase, target: Phase) -> None:
    """Every path is made of legal steps, without the start, as short as can be."""
    stations = (start, *path(start, target))
    assert stations[-1] is target
    assert all(is_legal(one, other) for one, other in pairwise(stations))
    assert len(set(stations)) == len(stations)


@STEADY
@given(phases, phases)
def test_the_way_back_is_the_way_there_reversed(start: Phase, target: Phase) -> None:
    """A rollback passes the same resting points in reverse."""
    there, back = (start, *path(start, target)), (target, *path(target, start))
    assert back == tuple(reversed(there))


@pytest.mark.parametrize("phase", ORDER)
def test_every_presented_leaf_is_trusted_at_rest(phase: Phase) -> None:
    """At a resting point both sides trust the generations of both sides' leaves."""
    deployed = material(phase)
    assert {deployed.server_leaves, deployed.client_leaves} <= set(deployed.bundles)


def test_neighbours_differ_in_one_thing_at_a_time() -> None:
    """A step changes bundles, server leaves or client leaves: a pair and its trust never move together."""
    for one, other in pairwise(map(material, ORDER)):
        changed = [
            one.bundles != other.bundles,
            one.server_leaves is not other.server_leaves,
            one.client_leaves is not other.client_leaves,
        ]
        assert sum(changed) == 1


def test_the_next_generation_stands_first_in_a_bundle() -> None:
    """certs.yml's `chain` holds the next generation first."""
    assert material(Phase.OVERLAP).bundles == (Age.NEXT, Age.CURRENT)


@STEADY
@given(st.none() | phases, st.none() | phases, phases)
def test_toward_takes_legal_steps_only(phase: Phase | None, under_way: Phase | None, target: Phase) -> None:
    """At rest a neighbour; with a move under way its end or its start; without certificates nothing."""
    rotation = _rotation(phase, under_way)
    within = target in (under_way, phase) if under_way else phase is not None and is_legal(phase, target)
    if within and phase is not None:
        moved = toward(rotation, target)
        assert (moved.phase, moved.target) == (phase, target)
        assert (moved.current, moved.next) == (rotation.current, rotation.next)
    else:
        with pytest.raises(TransitionRefused, match="take the phases one by one"):
            toward(rotation, target)


def test_a_move_left_half_way_does_not_turn_to_the_other_side() -> None:
    """Between overlap and servers, `issued` is two steps away: its bundles don't trust a leaf that is already out."""
    half_way = toward(_rotation(Phase.OVERLAP), Phase.SERVERS)
    with pytest.raises(TransitionRefused, match="with servers under way"):
        toward(half_way, Phase.ISSUED)
    back = reached(toward(half_way, Phase.OVERLAP), NOW)
    assert toward(back, Phase.ISSUED).target is Phase.ISSUED


@pytest.mark.parametrize(
    ("rotation", "words"),
    [
        (_rotation(None), "has no certificates yet"),
        (_rotation(Phase.SERVERS), "rests at phase servers"),
        (_rotation(Phase.SERVERS, Phase.CLIENTS), "rests between phases servers and clients; every mix of the two is"),
        (_rotation(Phase.SERVERS, Phase.SERVERS), "rests at phase servers, or a step past it on some hosts; every"),
        (_rotation(Phase.ISSUED, Phase.ISSUED), "rests at phase issued, or a step past it on some hosts; every"),
        (replacing(_rotation(Phase.ISSUED)), "is replaced half: logins fail until the same command has ended well, or"),
        (replace(replacing(_rotation(Phase.ISSUED)), target=Phase.ISSUED), "is replaced half: logins fail until the"),
        (beginning(_rotation(None), 1), "has its first certificates on some hosts at most: run the same command"),
    ],
)
def test_a_run_that_fails_names_where_it_leaves_the_fleet(rotation: Rotation, words: str) -> None:
    """Half a replacement is not called safe; a move between neighbours is, and its way back, too."""
    assert resting_place(rotation).startswith(words)


def test_nothing_is_reached_without_a_move() -> None:
    """A resting point is recorded only for a move that was begun."""
    with pytest.raises(TransitionRefused, match="no phase is under way"):
        reached(_rotation(Phase.OVERLAP), NOW)


class RotationMoves(RuleBasedStateMachine):
    """Whatever is asked of a rotation, in any order, hosts never stand further than one step apart."""

    @initialize(start=phases)
    def begin(self, start: Phase) -> None:
        """Start at any resting point; every host is there."""
        self.rotation = _rotation(start)
        self.hosts = {start}

    @rule(phase=phases)
    def ask(self, phase: Phase) -> None:
        """Move towards a phase; from then on some hosts may have it."""
        try:
            self.rotation = toward(self.rotation, phase)
        except TransitionRefused:
            return
        self.hosts.add(phase)

    @rule()
    def arrive(self) -> None:
        """All hosts have taken the phase under way."""
        try:
            self.rotation = reached(self.rotation, NOW)
        except TransitionRefused:
            return
        assert self.rotation.phase is not None
        self.hosts = {self.rotation.phase}

    @invariant()
    def hosts_stand_on_neighbours(self) -> None:
        """Every mix of hosts lies between two neighbouring phases, which is what the prover proves."""
        places = sorted(ORDER.index(phase) for phase in getattr(self, "hosts", set()))
        assert not places or places[-1] - places[0] <= 1

    @invariant()
    def rests_only_when_reached(self) -> None:
        """A rotation is at its resting point with no move under way, else its target is beside it or itself."""
        rotation = getattr(self, "rotation", None)
        if rotation and rotation.target and rotation.phase:
            assert rotation.target is rotation.phase or is_legal(rotation.phase, rotation.target)


TestRotationMoves = RotationMoves.TestCase
TestRotationMoves.settings = settings(deadline=None, derandomize=True, max_examples=60, stateful_step_count=20)
