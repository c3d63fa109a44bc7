"""Sign revocation lists, take those of others, and make sure that every CA above a client has one that holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rechain.certificate import Bundle, merge
from rechain.certs import bundle
from rechain.crl import Crl, crls_of, newest, read_given_crls, unlisted
from rechain.errors import InputError
from rechain.generation import Generation, Side
from rechain.phase import Phase
from rechain.revocation import due, renewed
from tasks.repository.files import read_given
from tasks.repository.generations import has_ca_keys, read_ca_keys
from tasks.repository.revocations import keep_generation_crls, keep_other_crls, read_known_crls
from tasks.state import EnvironmentRef, FleetState, now, observe
from tasks.step import progress, step


@step("renew-crls")
def renew_crls(ref: EnvironmentRef) -> tuple[str, ...]:
    """Sign the lists that are due, of every CA above clients whose key is ours, in the generations in use.

    Side effect: `generation-N/crl.pem`, by rename. The vault of CA keys is opened only when a list is due.
    Idempotent, safe to retry.

    Returns:
        Subjects of the CAs that signed a new list.
    """
    state = observe(ref)
    generations = (state.current, state.next) if state.fleet.reads_crls else ()
    made = [crl for one in generations if one for crl in _renew(state, one)]
    for crl in made:
        progress.info("revocation list %s of %s, valid until %s", crl.number, crl.issuer, f"{crl.next_update:%Y-%m-%d}")
    return tuple(crl.issuer for crl in made)


def _renew(state: FleetState, generation: Generation) -> tuple[Crl, ...]:
    ref, own = state.ref, generation.client_bundle
    wanting = due(own, state.crls, state.revoked, now())
    if not wanting.certificates or not has_ca_keys(ref.root, ref.environment, generation.number):
        return ()
    keys = read_ca_keys(ref.root, ref.environment, generation.number)
    made = renewed(wanting, keys, state.crls, state.revoked, now())
    if made:
        keep_generation_crls(ref.root, ref.environment, generation.number, crls_of(own, (*state.crls, *made)))
    return made


def take_crls(ref: EnvironmentRef, files: Sequence[Path]) -> tuple[Crl, ...]:
    """Keep lists that the owners of other CAs signed, once it is certain that servers can use them.

    Side effect: `rechain/ENV/other.crl.pem`, by rename. Idempotent, safe to retry.

    Raises:
        InputError: A file holds no list, or one of no CA above clients, one that has ended, or an older one.
    """
    state = observe(ref)
    trusted = client_cas(state)
    known = read_known_crls(ref.root, ref.environment)
    taken = tuple(crl for file in files for crl in read_given_crls(read_given(file), str(file)))
    for crl in taken:
        _refuse_useless(crl, trusted, known)
    if taken:
        keep_other_crls(ref.root, ref.environment, crls_of(trusted, (*known, *taken)))
    return taken


def require_crls(state: FleetState, phases: Iterable[Phase] = ()) -> None:
    """Refuse to give servers a bundle with a CA whose list is missing or has ended: they would refuse its clients.

    Args:
        state: The environment; nothing is required where no server reads lists.
        phases: The phases to come; what is deployed now when there is none.

    Raises:
        InputError: Names the CA and what to do.
    """
    if not state.fleet.reads_crls:
        return
    bundles = [bundle(state.rotating, phase, Side.CLIENT) for phase in phases] or [state.certs.client_chain]
    require_listed(state.ref.environment, merge(*bundles), state.crls)


def require_listed(environment: str, trusted: Bundle, crls: Sequence[Crl]) -> None:
    """Refuse a bundle for servers that read lists with a CA that has none that holds. Raises InputError."""
    for authority, reason in unlisted(trusted, crls, now()):
        raise InputError(
            environment,
            f"CA {authority.subject}: {reason}, and servers that read lists would refuse all its clients",
            f"run `rechain refresh-crls {environment}`; with --crl FILE where its key is somebody else's",
        )


def client_cas(state: FleetState) -> Bundle:
    """Every CA above clients, in any generation in use or in what is deployed."""
    upcoming = [state.next.client_bundle] if state.next else []
    return merge(state.certs.client_chain, state.current.client_bundle, *upcoming)


def _refuse_useless(crl: Crl, trusted: Bundle, known: Sequence[Crl]) -> None:
    where = f"revocation list of {crl.issuer}"
    signer = next((one for one in trusted.certificates if crl.is_signed_by(one)), None)
    if signer is None:
        raise InputError(where, "no CA that servers trust has signed it", "give the list of a CA in certs.client.chain")
    if crl.next_update is not None and crl.next_update <= now():
        raise InputError(where, f"it ended on {crl.next_update:%Y-%m-%d}", "ask its owner for the present one")
    present = newest(signer, known)
    if present is not None and present.this_update > crl.this_update:
        raise InputError(
            where, f"a newer one is known, of {present.this_update:%Y-%m-%d %H:%M} UTC", "leave this one out"
        )
