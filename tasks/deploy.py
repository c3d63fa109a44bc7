"""Write what a phase deploys into certs.yml and the vault, and record phases in rotation.yml."""

from __future__ import annotations

from dataclasses import replace

from rechain.certs import compose
from rechain.errors import RepositoryError
from rechain.generation import Generation, PrivateKeys, Side
from rechain.phase import Phase, material
from rechain.rotation import Claim, Rotation, reached, replacing, toward
from tasks.repository.certs_yaml import parse_certs, read_keys, render_certs, render_keys
from tasks.repository.claim import refuse_lost
from tasks.repository.generations import (
    delete_private_keys,
    has_private_keys,
    known_generations,
    read_generation_keys,
    restore_texts,
)
from tasks.repository.intent import deploy_files
from tasks.repository.layout import certs_paths
from tasks.repository.rotation_yaml import read_rotation, update_rotation
from tasks.repository.vault import encrypt, read_vault
from tasks.state import EnvironmentRef, FleetState, now, observe
from tasks.step import step


@step("write-phase")
def write_phase(ref: EnvironmentRef, phase: Phase, claim: Claim) -> Rotation:
    """Make certs.yml and the vault hold what a phase deploys, and record that it is under way.

    Side effect: both files, through an intent that survives a kill between them. Idempotent, safe to retry.

    Raises:
        ClaimRefused: Somebody else has taken the claim.
    """
    state = observe(ref)
    refuse_lost(state.rotation, claim)
    rotation = toward(state.rotation, phase)
    if state.rotation.target is phase and state.certs == compose(state.rotating, phase):
        return state.rotation
    if phase is Phase.ISSUED:
        certs_text, vault_text = _restored_texts(state)
    else:
        certs_text, vault_text = _compose_texts(state, phase)
    return deploy_files(ref.root, ref.environment, rotation, certs_text, vault_text)


@step("write-everything")
def write_everything(ref: EnvironmentRef, claim: Claim) -> Rotation:
    """Make certs.yml and the vault hold the next generation alone, in one step: the strategy `downtime`.

    An environment that got its first generation just now has it in both files already.

    Side effect: both files, through an intent. Idempotent, safe to retry.

    Raises:
        ClaimRefused: Somebody else has taken the claim.
    """
    state = observe(ref)
    refuse_lost(state.rotation, claim)
    if state.next is None:
        return state.rotation
    certs_text, vault_text = _compose_texts(state, Phase.RETIRED)
    return deploy_files(ref.root, ref.environment, replacing(state.rotation), certs_text, vault_text)


@step("record-phase")
def record_phase(ref: EnvironmentRef, claim: Claim) -> Rotation:
    """Record that the phase under way has been verified; `retired` ends the rotation.

    Side effect: rotation.yml by rename; after `retired` the retired generation's private keys are deleted.

    Raises:
        ClaimRefused: Somebody else has taken the claim: the phase under way is theirs, and not what was verified.
    """

    def record(stored: Rotation) -> Rotation:
        refuse_lost(stored, claim)
        return reached(stored, now())

    rotation = update_rotation(ref.root, ref.environment, record)
    forget_retired_keys(ref)
    return rotation


def forget_retired_keys(ref: EnvironmentRef) -> None:
    """Delete the private keys of generations that are neither current nor next.

    A folder that rotation.yml does not know yet, of a run that died before it recorded it, is the next generation.
    """
    rotation = read_rotation(ref.root, ref.environment)
    if not rotation.is_at_rest:
        return
    for number in known_generations(ref.root, ref.environment):
        is_retired = number != rotation.current and number <= rotation.last_generation
        if is_retired and has_private_keys(ref.root, ref.environment, number):
            delete_private_keys(ref.root, ref.environment, number)


def _restored_texts(state: FleetState) -> tuple[str, str]:
    """Both files as they were, but for revocation lists: one of that day may have ended, and knows less."""
    ref = state.ref
    certs_text, vault_text = restore_texts(ref.root, ref.environment, state.current.number)
    crls = compose(state.rotating, Phase.ISSUED).crls
    if not crls:
        return certs_text, vault_text
    return render_certs(certs_text, replace(parse_certs(certs_text, "certs.yml"), crls=crls)), vault_text


def _compose_texts(state: FleetState, phase: Phase) -> tuple[str, str]:
    ref = state.ref
    certs_path, vault_path = certs_paths(ref.root, ref.environment)
    certs_text = render_certs(certs_path.read_text(encoding="utf-8"), compose(state.rotating, phase))
    plain = read_vault(vault_path)
    keys = _keys(state, phase, read_keys(plain, str(vault_path)))
    rendered = render_keys(plain, keys)
    # No key changes in `overlap` and `retired`: the vault stays as it is, and one rename does it.
    return certs_text, vault_path.read_text(encoding="utf-8") if rendered == plain else encrypt(rendered)


def _keys(state: FleetState, phase: Phase, deployed: PrivateKeys) -> PrivateKeys:
    """The keys that fit the phase's leaves; those already deployed serve where a generation's are gone.

    Raises:
        RepositoryError: A generation's keys are gone, and its leaves are not the ones that are deployed.
    """
    ref, leaves = state.ref, material(phase)
    stored = {
        age: read_generation_keys(ref.root, ref.environment, state.rotating.generation(age).number)
        for age in {leaves.server_leaves, leaves.client_leaves}
        if has_private_keys(ref.root, ref.environment, state.rotating.generation(age).number)
    }
    for side, age in ((Side.SERVER, leaves.server_leaves), (Side.CLIENT, leaves.client_leaves)):
        if age not in stored:
            _require_deployed(state, side, state.rotating.generation(age))
    empty = PrivateKeys()
    return PrivateKeys(
        servers={**deployed.servers, **stored.get(leaves.server_leaves, empty).servers},
        clients={**deployed.clients, **stored.get(leaves.client_leaves, empty).clients},
    )


def _require_deployed(state: FleetState, side: Side, generation: Generation) -> None:
    deployed = state.certs.leaves(side)
    for name, chain in generation.leaves(side).items():
        if name not in deployed or deployed[name].leaf != chain.leaf:
            raise RepositoryError(
                f"generation {generation.number}",
                f"the key of {side} {name} is gone, so its certificate can't be deployed",
                f"go forward: `rechain refresh {state.ref.environment}`",
            )
