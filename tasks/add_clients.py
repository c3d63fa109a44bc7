"""Give new clients their leaves, and put them into what is deployed; nothing that exists is issued again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rechain.addition import Added
from rechain.crl import Crl, crls_of
from rechain.generation import Generation, PrivateKeys
from rechain.phase import material
from rechain.revocation import first_crls
from rechain.rotation import Claim
from tasks.access import deployed_phase, leaf_keys
from tasks.deploy_crls import refuse_worse
from tasks.new_clients import (
    Made,
    as_kept,
    deployed_with_clients,
    is_kept,
    issue_for_all,
    refuse_moving,
    refuse_unknown,
)
from tasks.next_generation import kept_ca_keys
from tasks.repository.additions import extend_generation
from tasks.repository.certs_yaml import read_keys, render_certs, render_keys
from tasks.repository.claim import refuse_lost
from tasks.repository.generations import snapshot
from tasks.repository.intent import deploy_files
from tasks.repository.layout import certs_paths
from tasks.repository.lock import issuing
from tasks.repository.revocations import read_known_crls
from tasks.repository.spec_file import read_spec
from tasks.repository.vault import encrypt, read_vault
from tasks.state import EnvironmentRef, FleetState, now, observe
from tasks.step import progress, step


@step("issue-clients")
def issue_clients(ref: EnvironmentRef, only: Sequence[str] = ()) -> tuple[str, ...]:
    """Issue leaves for clients that the chain spec has and a generation has not, in every generation in use.

    Side effect: the folders of those generations, once it is proven that no present client is disturbed. Idempotent:
    a client that has its leaf keeps it. Safe to retry.

    Args:
        ref: Which environment.
        only: Clients to issue for; all that are new when empty.

    Returns:
        The clients that got a leaf.

    Raises:
        InputError: The spec does not name such a client, has changed in other ways during a rotation, or servers read
            revocation lists and a CA has none that holds.
        ProofRefused: A present client would be disturbed.
    """
    with issuing(ref.root, ref.environment):
        spec = read_spec(ref.root, ref.environment)
        refuse_unknown(ref, spec, only)
        state = observe(ref, spec.clients)
        refuse_moving(state)
        refuse_worse(state)  # certs.yml will hold those that are known, and hosts lose what they had of their own
        made = issue_for_all(as_kept(state), spec, only)
        if made and not is_kept(state):
            snapshot(ref.root, ref.environment, state.current.number)
        for one in made:  # each of them is proven by now
            _extend(state, one)
        return tuple(dict.fromkeys(name for one in made for name in one.added.keys.clients))


@step("write-clients")
def write_clients(ref: EnvironmentRef, claim: Claim) -> bool:
    """Put the generations' clients into certs.yml and the vault; entries that exist keep their lines.

    Side effect: both files, through an intent that survives a kill between them. Idempotent, safe to retry.

    Returns:
        Whether anything had to be written.

    Raises:
        ClaimRefused: Somebody else has taken the claim.
    """
    state = observe(ref)
    refuse_lost(state.rotation, claim)
    certs_path, vault_path = certs_paths(ref.root, ref.environment)
    existing, ciphertext = (path.read_text(encoding="utf-8") for path in (certs_path, vault_path))
    text, vault = render_certs(existing, deployed_with_clients(state)), _vault_text(state, vault_path, ciphertext)
    if (text, vault) == (existing, ciphertext):
        return False
    deploy_files(ref.root, ref.environment, state.rotation, text, vault)
    return True


def _extend(state: FleetState, made: Made) -> None:
    """Write what was made for one generation."""
    ref, added = state.ref, made.added
    if added.ca_keys:
        progress.warning(
            "the key of generation %s's client intermediate is not ours: a client root and intermediate are added to "
            "the servers' bundle",
            added.generation.number,
        )
    kept = kept_ca_keys(added.ca_keys, state.settings.ca_keys)
    crls = _first_crls(state, added, kept)
    extend_generation(ref.root, ref.environment, replace(added, ca_keys=kept), crls)


def _first_crls(state: FleetState, added: Added, kept: Mapping[str, str]) -> tuple[Crl, ...]:
    """A generation's lists with those of a further client chain, whose keys may be discarded; empty without one."""
    if not added.ca_keys:
        return ()
    own = added.generation.client_bundle
    known = read_known_crls(state.ref.root, state.ref.environment)
    return crls_of(own, (*known, *first_crls(own, added.ca_keys, now=now(), kept=kept, known=known)))


def _vault_text(state: FleetState, vault: Path, ciphertext: str) -> str:
    """The vault with the keys of clients that it lacks; the same text when it has them all."""
    plain = read_vault(vault)
    deployed = read_keys(plain, str(vault))
    presented = _presented(state)
    stored = leaf_keys(state, presented).clients
    held = {name: chain.leaf.fingerprint for name, chain in state.certs.clients.items()}
    new = {name for name, chain in presented.clients.items() if held.get(name) != chain.leaf.fingerprint}
    missing = {name: key for name, key in stored.items() if name in new or name not in deployed.clients}
    return encrypt(render_keys(plain, PrivateKeys(clients=missing))) if missing else ciphertext


def _presented(state: FleetState) -> Generation:
    """The generation whose leaves clients present."""
    if state.next is None:
        return state.current
    return state.rotating.generation(material(deployed_phase(state)).client_leaves)
