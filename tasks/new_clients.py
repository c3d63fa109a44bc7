"""New clients in memory: what `add-clients` would issue and deploy, proven; nothing is written."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rechain.addition import Added, AdditionProof, add, find_authority, key_types, prove_addition
from rechain.certificate import Bundle, merge
from rechain.certs import Certs, adopt, compose
from rechain.crl import crls_of
from rechain.errors import InputError, TransitionRefused
from rechain.generation import Generation, PrivateKeys
from rechain.judge import HandshakeJudge
from rechain.spec import ChainSpec, digest_without_clients
from tasks.access import deployed_phase, leaf_keys
from tasks.fleet.openssl import OpensslJudge
from tasks.keys import generate_keys
from tasks.repository.generation_yaml import spec_digest
from tasks.repository.generations import has_ca_keys, has_private_keys, known_generations, read_ca_keys
from tasks.repository.spec_file import spec_path
from tasks.state import EnvironmentRef, FleetState, now


@dataclass(frozen=True, slots=True, repr=False)
class Made:
    """New clients of one generation, and the proof that they disturb nobody. Its text form shows no key."""

    added: Added
    proof: AdditionProof

    def __repr__(self) -> str:
        return f"Made({self.added!r})"


def growing(state: FleetState) -> tuple[Generation, ...]:
    """The generations in use that can be given leaves.

    One that was retired once, and that a walk back let servers trust again, can not: its keys were deleted, so none of
    its leaves is ever deployed again.
    """
    ref = state.ref
    if state.next is None:
        return (state.current,)
    return tuple(one for one in (state.current, state.next) if has_private_keys(ref.root, ref.environment, one.number))


def wanted_names(state: FleetState, spec: ChainSpec, generation: Generation, only: Sequence[str] = ()) -> list[str]:
    """The clients that a generation is to give a leaf.

    Args:
        state: The environment.
        spec: Its chain spec.
        generation: Which generation.
        only: Who is asked for by name: a revoked leaf of theirs is replaced, too. Empty: all that have no leaf.
    """
    return [name for name in only or spec.clients if _wants(state, generation, name, by_name=bool(only))]


def issue_for_all(state: FleetState, spec: ChainSpec, only: Sequence[str] = ()) -> list[Made]:
    """Issue leaves for new clients of every generation that can be given some; those that need none are left out.

    Each is proven before the servers' bundle that the one before it leaves. Raises as `issue_in_memory` does.
    """
    made: list[Made] = []
    deployed = deployed_with_clients(state).client_chain  # with what a run that was cut short has issued
    for generation in growing(state):
        names = wanted_names(state, spec, generation, only)
        if names:
            bundle = made[-1].proof.bundle if made else deployed
            made.append(issue_in_memory(state, spec, generation, names, bundle))
    return made


def issue_in_memory(
    state: FleetState, spec: ChainSpec, generation: Generation, names: Sequence[str], deployed: Bundle
) -> Made:
    """Issue leaves for new clients of one generation, and prove them.

    Side effect: none; the keys of CAs are read, and of the clients that are there.

    Args:
        state: The environment.
        spec: Its chain spec.
        generation: Which generation.
        names: The new clients.
        deployed: The servers' bundle before.

    Raises:
        InputError: The spec has changed in other ways since an unfinished generation was issued.
        ProofRefused: A present client would be disturbed, or a new one refused.
    """
    _refuse_other_changes(state, spec, generation)
    root, environment, number = state.ref.root, state.ref.environment, generation.number
    ca_keys = read_ca_keys(root, environment, number) if has_ca_keys(root, environment, number) else {}
    authority = find_authority(generation, ca_keys)
    keys = generate_keys(key_types(spec, names, with_authority=authority is None))
    added = add(spec, generation, names, authority, deployed, now=now(), keys=keys)
    # At `issued` no server trusts the next generation yet: its leaves are judged by what `overlap` will hold.
    trusted = merge(deployed, generation.client_bundle) if number == state.rotation.next else deployed
    return Made(added, prove_addition(generation, added, trusted, _judge(state, generation, added)))


def deployed_with_clients(state: FleetState) -> Certs:
    """What certs.yml is to hold at the phase it is at, every client of the generations in it."""
    if state.next is not None:
        return compose(state.rotating, deployed_phase(state))
    held, current = state.certs, state.current
    kept = {name: chain for name, chain in held.clients.items() if chain.leaf.serial not in _revoked(state)}
    clients = {**held.clients, **current.clients, **kept}
    trusted = merge(held.client_chain, current.client_bundle)
    return Certs(held.server_chain, trusted, held.servers, clients, crls_of(trusted, state.crls))


def is_kept(state: FleetState) -> bool:
    """Whether the current generation has a folder that knows every client of certs.yml; at rest it can be renewed."""
    has_folder = state.rotation.current in known_generations(state.ref.root, state.ref.environment)
    return not state.rotation.is_at_rest or (has_folder and state.certs.clients.keys() <= state.current.clients.keys())


def as_kept(state: FleetState) -> FleetState:
    """The environment as it will be once its current generation is kept, with every client that certs.yml has."""
    return state if is_kept(state) else replace(state, current=adopt(state.certs, state.current.number))


def refuse_moving(state: FleetState) -> None:
    """Refuse to add clients while hosts are between two phases.

    Raises:
        TransitionRefused: A move is under way.
    """
    if state.rotation.target is not None:
        raise TransitionRefused(
            "rotation.yml",
            f"a move to {state.rotation.target} is under way",
            f"finish it with `rechain refresh {state.ref.environment}`, then add the clients",
        )


def _wants(state: FleetState, generation: Generation, name: str, *, by_name: bool) -> bool:
    """Whether a client gets a leaf: it has none, or a person asks for one in place of a revoked one."""
    chain = generation.clients.get(name)
    return chain is None or (by_name and chain.leaf.serial in _revoked(state))


def _revoked(state: FleetState) -> frozenset[int]:
    return frozenset(one.serial for one in state.revoked)


def _judge(state: FleetState, generation: Generation, added: Added) -> HandshakeJudge:
    present = leaf_keys(state, generation)
    held = PrivateKeys(present.servers, {**present.clients, **added.keys.clients})
    return HandshakeJudge({generation.number: held}, fallback=OpensslJudge())


def refuse_unknown(ref: EnvironmentRef, spec: ChainSpec, only: Sequence[str]) -> None:
    """Refuse clients that the chain spec does not name. Raises InputError."""
    for name in only:
        if name not in spec.clients:
            raise InputError(
                str(spec_path(ref.root, ref.environment).relative_to(ref.root)),
                f"has no client {name!r}",
                f"add it with `rechain config add-client {ref.environment} {shlex.quote(name)}`",
            )


def _refuse_other_changes(state: FleetState, spec: ChainSpec, generation: Generation) -> None:
    """Of an unfinished generation only the clients may have changed since."""
    if generation.number != state.rotation.next:
        return
    if spec_digest(state.ref.root, state.ref.environment, generation.number) != digest_without_clients(spec):
        raise InputError(
            str(spec_path(state.ref.root, state.ref.environment).relative_to(state.ref.root)),
            f"has changed in more than its clients since generation {generation.number} was issued, which is not "
            "rolled out",
            "undo the other changes until the rotation has ended",
        )
