"""Plan the strategy `add-clients` without changing anything: the new leaves are issued in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rechain.addition import first_end
from rechain.addition_plan import about_dates, plan_addition, proof_at
from rechain.certificate import Certificate
from rechain.plan import Planned
from tasks.access import deployed_phase
from tasks.deploy_crls import refuse_worse
from tasks.new_clients import Made, as_kept, deployed_with_clients, issue_for_all, refuse_moving, refuse_unknown
from tasks.plan_notes import about_settings
from tasks.repository.deployment import check_repository
from tasks.repository.spec_file import read_spec
from tasks.state import EnvironmentRef, FleetState, observe


def plan_new_clients(ref: EnvironmentRef, only: Sequence[str] = ()) -> Planned:
    """Plan to add the clients that the chain spec has gained, at the resting point that the fleet is at.

    Side effect: none. Safe to repeat.

    Args:
        ref: Which environment.
        only: Clients to add; all that the spec has gained when empty.

    Raises:
        InputError: The environment is not fit, the spec has changed in other ways during a rotation, or servers read
            revocation lists and a CA has none that holds.
        ProofRefused: A present client would be disturbed, or a new one refused.
    """
    check_repository(ref.root, ref.environment)
    spec = read_spec(ref.root, ref.environment)
    refuse_unknown(ref, spec, only)
    state = observe(ref, spec.clients)
    refuse_moving(state)
    refuse_worse(state)
    state = as_kept(state)
    first = first_end(state.current)
    made = issue_for_all(state, spec, only)
    names = list(dict.fromkeys(name for one in made for name in one.added.keys.clients))
    judgements = sum(one.proof.judgements for one in made)
    trial = _with(state, made)
    after, phase = deployed_with_clients(trial), deployed_phase(state)
    notes = (*about_dates(first, _leaves(trial, names)), *about_settings(state.settings, state.foreign, is_trial=False))
    is_widened = after.client_chain != state.certs.client_chain
    return Planned(
        plan_addition(state.fleet, state.certs, after, phase, new=names, notes=notes),
        proof_at(state.fleet, after, phase, judgements, is_widened=is_widened),
    )


def _with(state: FleetState, made: Sequence[Made]) -> FleetState:
    """The environment with the new clients in every generation in use."""
    grown = {one.added.generation.number: one.added.generation for one in made}
    current = grown.get(state.current.number, state.current)
    following = grown.get(state.next.number, state.next) if state.next else None
    return replace(state, current=current, next=following)


def _leaves(trial: FleetState, names: list[str]) -> list[Certificate]:
    """The new clients' leaves that will be in use now."""
    certs = deployed_with_clients(trial)
    return [certs.clients[name].leaf for name in names if name in certs.clients]
