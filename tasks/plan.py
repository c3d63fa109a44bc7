"""Plan a rotation without changing anything: the files, the proof, whom to tell, and what is worth knowing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

from rechain.generation import PrivateKeys
from rechain.phase import Phase, path
from rechain.plan import Planned, plan
from rechain.prover import HandshakeJudge, Proof, prove
from rechain.trust_path import outliving
from tasks.access import leaf_keys
from tasks.first import refused_first
from tasks.fleet.openssl import OpensslJudge
from tasks.next_generation import refuse_changed_spec, refuse_outside
from tasks.plan_notes import about_clients, about_settings
from tasks.renew_crls import require_crls
from tasks.repository.deployment import check_repository
from tasks.repository.spec_file import read_spec
from tasks.state import EnvironmentRef, FleetState, now, observe
from tasks.trial import issue_trial


def plan_rotation(ref: EnvironmentRef) -> Planned:
    """Plan the rest of the rotation under way, or a new one with a chain that is issued in memory for this plan only.

    Side effect: none. Safe to repeat.

    Raises:
        InputError: The environment is not fit, some reachable state would refuse a login, or servers read revocation
            lists and a CA has none that holds.
    """
    check_repository(ref.root, ref.environment)
    state = observe(ref)
    if state.rotation.is_first:
        raise refused_first(ref, state.rotation.current)
    keys = {state.current.number: leaf_keys(state, state.current)}
    if state.next is None:
        refuse_outside(ref, state.rotation)
        state, trial = _with_trial(state)
        start, keys = Phase.ISSUED, {**keys, **trial}
    else:
        refuse_changed_spec(ref, state.next.number, read_spec(ref.root, ref.environment))
        start = state.rotation.phase or Phase.ISSUED
        keys[state.next.number] = leaf_keys(state, state.next)
    require_crls(state, (start, *path(start, Phase.RETIRED)))
    proof = prove(
        state.fleet,
        state.rotating,
        tuple(pairwise((start, *path(start, Phase.RETIRED)))),
        HandshakeJudge(keys, fallback=OpensslJudge()),
        now=now(),
    )
    return Planned(plan(state.fleet, state.rotating, start, Phase.RETIRED, tuple(_notes(ref, state))), proof)


def plan_of(ref: EnvironmentRef, start: Phase, until: Phase, proof: Proof) -> Planned:
    """The plan of what a run has just proven, in either direction. Changes nothing, opens no vault.

    On the way back nobody is told what to do for the way forward.

    Args:
        ref: Which environment; a rotation is under way.
        start: Where the fleet rests.
        until: Up to which phase the run moves.
        proof: What was proven.
    """
    state = observe(ref)
    made = plan(state.fleet, state.rotating, start, until, tuple(_notes(ref, state)))
    is_forward = tuple(Phase).index(until) >= tuple(Phase).index(start)
    return Planned(made if is_forward else replace(made, tell=()), proof)


def _with_trial(state: FleetState) -> tuple[FleetState, Mapping[int, PrivateKeys]]:
    spec = read_spec(state.ref.root, state.ref.environment)
    number = state.rotation.last_generation + 1
    trial = issue_trial(spec, number, state.fleet)
    issued = trial.issued
    return replace(state, next=issued.generation, crls=(*state.crls, *trial.crls)), {number: issued.keys}


def _notes(ref: EnvironmentRef, state: FleetState) -> Iterator[str]:
    yield from about_settings(state.settings, state.foreign, is_trial=state.rotation.next is None)
    yield (
        f"while overlap or clients is deployed, a roll-out from another state of the repository undoes it: both are "
        f"left only when {state.settings.git.base} holds their files; freeze roll-outs of {ref.environment} meanwhile"
    )
    if leaves := outliving(state.rotating):
        yield (
            f"{len(leaves)} client certificates of generation {state.current.number} have the same CA as the next "
            f"ones: they log in until {leaves[0].not_after:%Y-%m-%d} unless that CA revokes them"
        )
    yield from about_clients(state.current, state.rotating.next)
