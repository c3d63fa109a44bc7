"""Plan the strategy `add-clients` without changing anything: the new leaves are issued in memory."""

from __future__ import annotations

from dataclasses import replace

from rechain.addition import first_end
from rechain.addition_plan import about_dates, plan_addition, proof_at
from rechain.certificate import Certificate
from rechain.certs import adopt
from rechain.plan import Planned
from rechain.spec import ChainSpec
from tasks.access import deployed_phase
from tasks.new_clients import deployed_with_clients, growing, is_kept, issue_in_memory, refuse_moving, wanted_names
from tasks.plan_notes import about_settings
from tasks.repository.deployment import check_repository
from tasks.repository.spec_file import read_spec
from tasks.state import EnvironmentRef, FleetState, observe


def plan_new_clients(ref: EnvironmentRef) -> Planned:
    """Plan to add the clients that the chain spec has gained, at the resting point that the fleet is at.

    Side effect: none. Safe to repeat.

    Raises:
        InputError: The environment is not fit, or the spec has changed in other ways during a rotation.
        ProofRefused: A present client would be disturbed, or a new one refused.
    """
    check_repository(ref.root, ref.environment)
    spec = read_spec(ref.root, ref.environment)
    state = observe(ref, spec.clients)
    refuse_moving(state)
    if not is_kept(state):
        state = replace(state, current=adopt(state.certs, state.current.number))
    first = first_end(state.current)
    names = list(dict.fromkeys(name for one in growing(state) for name in wanted_names(state, spec, one)))
    trial, judgements = _with_trial(state, spec)
    after, phase = deployed_with_clients(trial), deployed_phase(state)
    notes = (*about_dates(first, _leaves(trial, names)), *about_settings(state.settings, state.foreign, is_trial=False))
    is_widened = after.client_chain != state.certs.client_chain
    return Planned(
        plan_addition(state.fleet, state.certs, after, phase, new=names, notes=notes),
        proof_at(state.fleet, after, phase, judgements, is_widened=is_widened),
    )


def _with_trial(state: FleetState, spec: ChainSpec) -> tuple[FleetState, int]:
    """The environment with the new clients in every generation in use, and how many judgements prove it."""
    bundle, judgements, made = state.certs.client_chain, 0, {}
    for generation in growing(state):
        names = wanted_names(state, spec, generation)
        if names:
            one = issue_in_memory(state, spec, generation, names, bundle)
            bundle, judgements = one.proof.bundle, judgements + one.proof.judgements
            made[generation.number] = one.added.generation
    current = made.get(state.current.number, state.current)
    following = made.get(state.next.number, state.next) if state.next else None
    return replace(state, current=current, next=following), judgements


def _leaves(trial: FleetState, names: list[str]) -> list[Certificate]:
    """The new clients' leaves that will be in use now."""
    certs = deployed_with_clients(trial)
    return [certs.clients[name].leaf for name in names if name in certs.clients]
