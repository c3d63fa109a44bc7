"""Plan a rotation without changing anything: the files, the proof, whom to tell, and what is worth knowing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from rechain.generation import PrivateKeys
from rechain.issue import issue, key_types
from rechain.phase import Phase, path
from rechain.plan import RotationPlan, plan
from rechain.prover import HandshakeJudge, Proof, prove
from tasks.access import leaf_keys
from tasks.fleet.openssl import OpensslJudge
from tasks.keys import generate_keys
from tasks.repository.deployment import check_repository
from tasks.repository.spec_file import read_spec
from tasks.repository.vault import has_own_ca_password
from tasks.state import EnvironmentRef, FleetState, now, observe


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and the proof that it holds."""

    plan: RotationPlan
    proof: Proof


def make_plan(ref: EnvironmentRef) -> Planned:
    """Plan the rest of the rotation under way, or a new one with a chain that is issued in memory for this plan only.

    Side effect: none. Safe to repeat.

    Raises:
        InputError: The environment is not fit, or some reachable state would refuse a login.
    """
    check_repository(ref.root, ref.environment)
    state = observe(ref)
    keys = {state.current.number: leaf_keys(state, state.current)}
    if state.next is None:
        state, trial = _with_trial(state)
        start, keys = Phase.ISSUED, {**keys, **trial}
    else:
        start = state.rotation.phase or Phase.ISSUED
        keys[state.next.number] = leaf_keys(state, state.next)
    proof = prove(
        state.fleet,
        state.rotating,
        tuple(pairwise((start, *path(start, Phase.RETIRED)))),
        HandshakeJudge(keys, fallback=OpensslJudge()),
        now=now(),
    )
    return Planned(plan(state.fleet, state.rotating, start, Phase.RETIRED, tuple(_notes(ref, state))), proof)


def _with_trial(state: FleetState) -> tuple[FleetState, Mapping[int, PrivateKeys]]:
    spec = read_spec(state.ref.root, state.ref.environment)
    number = state.rotation.last_generation + 1
    issued = issue(spec, number, now=now(), keys=generate_keys(key_types(spec)))
    return replace(state, next=issued.generation), {number: issued.keys}


def _notes(ref: EnvironmentRef, state: FleetState) -> Iterator[str]:
    if state.rotation.next is None:
        yield "the next generation is not issued yet: this is a trial, `rechain generate` makes the real one"
    for side, bundle in (("servers'", state.foreign.client), ("clients'", state.foreign.server)):
        for certificate in bundle.certificates:
            yield f"foreign CA in the {side} bundle is kept: {certificate.subject} ({certificate.fingerprint[:16]})"
    if not has_own_ca_password():
        yield "CA keys are vaulted with the ordinary password: set RECHAIN_CA_VAULT_PASSWORD_FILE to keep them apart"
    if state.settings.playbook:
        yield f"{state.settings.playbook.path} is used: pairs are not swapped atomically and nothing is restored"
    yield (
        f"while overlap or clients is deployed, a roll-out from another state of the repository undoes it: both are "
        f"left only when {state.settings.git.base} holds their files; freeze roll-outs of {ref.environment} meanwhile"
    )
    missing = sorted(set(state.current.clients) - set(state.rotating.next.clients))
    if missing:
        yield f"no certificate in the next generation for: {', '.join(missing)}; their logins end with phase retired"
