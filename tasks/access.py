"""Key material for the length of a task: every client's, and the verifying role's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rechain.certificate import Bundle
from rechain.certs import compose
from rechain.errors import InputError
from rechain.generation import Generation, PrivateKeys
from rechain.phase import Phase, material
from tasks.fleet.connection import Access
from tasks.fleet.credentials import credentials
from tasks.fleet.credentials import material as on_tmpfs
from tasks.repository.certs_yaml import read_keys
from tasks.repository.generations import has_private_keys, read_generation_keys
from tasks.repository.layout import certs_paths
from tasks.repository.vault import read_vault
from tasks.state import FleetState


def deployed_phase(state: FleetState) -> Phase:
    """The phase whose content certs.yml holds now."""
    return state.rotation.target or state.rotation.phase or Phase.RETIRED


def trusted_by_clients(state: FleetState, phase: Phase) -> Bundle:
    """The server bundle of a phase."""
    return state.certs.server_chain if state.next is None else compose(state.rotating, phase).server_chain


def accepted_generations(state: FleetState, phase: Phase) -> tuple[Generation, ...]:
    """The generations whose leaves log in during a phase."""
    if state.next is None:
        return (state.current,)
    return tuple(state.rotating.generation(age) for age in material(phase).bundles)


def leaf_keys(state: FleetState, generation: Generation) -> PrivateKeys:
    """The private keys of a generation's leaves; empty when they are not kept any more."""
    ref = state.ref
    if has_private_keys(ref.root, ref.environment, generation.number):
        return read_generation_keys(ref.root, ref.environment, generation.number)
    if state.next is None and generation.number == state.current.number:
        vault = certs_paths(ref.root, ref.environment)[1]
        return read_keys(read_vault(vault), str(vault))
    return PrivateKeys()


@contextmanager
def reading_access(state: FleetState) -> Iterator[Access]:
    """The verifying role's way into every server's views, whatever phase is being deployed.

    Raises:
        InputError: The role of `verify.role` has no client certificate whose key is ours.
    """
    phase, role = deployed_phase(state), state.settings.verify.role
    for generation in accepted_generations(state, phase):
        offered = credentials(generation, leaf_keys(state, generation), trusted_by_clients(state, phase))
        own = [each for each in offered if each.client == role]
        if own and _fits_everywhere(state, generation):
            with on_tmpfs(own) as files:
                yield Access(role, files[role, generation.number], state.settings.verify.database)
            return
    raise InputError(
        "rechain.yml",
        f"verify.role {role} has no client certificate whose key is in the vault, so sessions can't be read",
        "name a client of the chain spec that may read pg_stat_activity",
    )


@contextmanager
def accesses_midway(state: FleetState) -> Iterator[tuple[Access, ...]]:
    """The verifying role's ways in when no generation logs in everywhere: one a generation, trusting its own chain."""
    role, generations = state.settings.verify.role, [state.current, *([state.next] if state.next else [])]
    with ExitStack() as stack:
        ways = []
        for generation in generations:
            offered = credentials(generation, leaf_keys(state, generation), generation.server_bundle)
            files = stack.enter_context(on_tmpfs([each for each in offered if each.client == role]))
            if (role, generation.number) in files:
                ways.append(Access(role, files[role, generation.number], state.settings.verify.database))
        yield tuple(ways)


def _fits_everywhere(state: FleetState, generation: Generation) -> bool:
    """Whether every server accepts it even while a move is half way: bundles of both ends of the move hold it."""
    if state.next is None or state.rotation.phase is None:
        return True
    ends = (state.rotation.phase, deployed_phase(state))
    return all(generation in accepted_generations(state, end) for end in ends)
