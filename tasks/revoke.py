"""Revoke a client's certificates: note them, sign the lists that name them, and report what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rechain.certificate import EMPTY, Bundle, merge
from rechain.crl import unlisted
from rechain.errors import InputError
from rechain.generation import Generation
from rechain.login import Refusal, Verdict
from rechain.revocation import Revoked, leaves_of, signers
from rechain.revocation_report import RevocationReport
from tasks.deploy_crls import open_sessions, refuse_unsettled, require_readers, shut_out
from tasks.renew_crls import renew_crls
from tasks.reporting import canary_report
from tasks.repository.generations import has_ca_keys, has_private_keys, read_ca_keys
from tasks.repository.owner import person
from tasks.repository.revocations import add_revoked, read_known_crls
from tasks.run_page import show_revocation
from tasks.state import EnvironmentRef, FleetState, now, observe
from tasks.step import step
from tasks.verify import Verification


@step("check-revocable")
def check_revocable(ref: EnvironmentRef, client: str, generation: int | None) -> None:
    """Refuse a revocation that could not be carried through, before anything is written.

    Side effect: one short session on each server. Safe to retry.

    Raises:
        InputError: There is no such client, its CA's key is not ours, another CA has no list, or a server reads none.
    """
    state = observe(ref)
    refuse_unsettled(state)
    _refuse_unknown(state, client, generation)
    ours: Bundle = EMPTY
    for one in _generations(state, None):
        signing = _signing(state, one)
        ours = merge(ours, signing)
        if generation in (None, one.number):
            _refuse_unsignable(state, client, one, signing)
    out = shut_out(state)
    others = Bundle(
        tuple(
            one
            for one in state.certs.client_chain.certificates
            if one not in ours.certificates and one.fingerprint not in out
        )
    )
    for authority, reason in unlisted(others, read_known_crls(ref.root, ref.environment), now()):
        raise InputError(
            ref.environment,
            f"CA {authority.subject}: {reason}, its key is not ours, and servers would refuse all its clients",
            f"give the list of its owner: rechain refresh-crls {ref.environment} --crl FILE",
        )
    require_readers(state)


@step("revoke-client")
def revoke_client(ref: EnvironmentRef, client: str, generation: int | None, reason: str) -> tuple[Revoked, ...]:
    """Note that a client's leaves are revoked, and sign the lists that say so; nothing is deployed.

    Side effect: revoked.yml and the lists of the generations in use. Idempotent, safe to retry.

    Args:
        ref: Which environment.
        client: Whose leaves.
        generation: The generation whose leaf is meant; of every generation in use when None.
        reason: Why, in a person's words.

    Returns:
        The client's revoked leaves.
    """
    state = observe(ref)
    leaves = leaves_of(client, _generations(state, generation), reason=reason, who=person(), now=now())
    serials = {one.serial for one in leaves}
    known = add_revoked(ref.root, ref.environment, leaves)
    renew_crls.fn(ref)
    return tuple(one for one in known if one.serial in serials)


def revocation_report(
    ref: EnvironmentRef, record: Path, revoked: Sequence[Revoked], verified: Verification
) -> RevocationReport:
    """Put together what a revocation came to.

    Side effect: one short session on each server, and the report on the run's page.
    """
    serials = {f"{one.serial:x}" for one in revoked}
    tried = {login.client_serial for login in verified.logins if login.client_serial in serials}
    live = open_sessions(observe(ref), [one.serial for one in revoked])
    made = RevocationReport(
        environment=ref.environment,
        revoked=tuple(revoked),
        refused=sum(one.refusal is Refusal.REVOKED and one.client_serial in serials for one in verified.logins),
        not_tested=tuple(sorted(serials - tried)),
        logged_in=sum(one.verdict is Verdict.LOGGED_IN for one in verified.logins),
        canary=canary_report(record),
        sessions=tuple(
            f"{one.user} from {one.address or 'a local socket'} on {one.endpoint}, "
            f"since {one.backend_start:%Y-%m-%d %H:%M} UTC"
            for one in live
        ),
    )
    show_revocation(ref, made)
    return made


def _generations(state: FleetState, number: int | None) -> tuple[Generation, ...]:
    used = tuple(one for one in (state.current, state.next) if one)
    return tuple(one for one in used if number in (None, one.number))


def _signing(state: FleetState, generation: Generation) -> Bundle:
    """The CAs above clients of a generation whose keys are ours."""
    ref = state.ref
    if not has_ca_keys(ref.root, ref.environment, generation.number):
        return EMPTY
    keys = read_ca_keys(ref.root, ref.environment, generation.number)
    return Bundle(tuple(certificate for certificate, _ in signers(generation.client_bundle, keys)))


def _refuse_unknown(state: FleetState, client: str, number: int | None) -> None:
    if client == state.settings.verify.role:
        raise InputError(client, "is the role that sessions are read as (rechain.yml: verify.role)", "name another")
    found = _generations(state, number)
    if not found:
        used = ", ".join(str(one.number) for one in _generations(state, None))
        raise InputError("--generation", f"generation {number} is not in use", f"those that are: {used}")
    if any(client in one.clients for one in found):
        return
    if any(client in one.servers for one in found):
        raise InputError(client, "is a server, and clients read no lists", "replace its certificate: rechain refresh")
    known = ", ".join(sorted({name for one in found for name in one.clients}))
    raise InputError(state.ref.environment, f"has no client {client!r}", f"clients there are: {known}")


def _refuse_unsignable(state: FleetState, client: str, generation: Generation, ours: Bundle) -> None:
    chain = generation.clients.get(client)
    if chain is None or any(one.has_issued(chain.leaf) for one in ours.certificates):
        return
    ref = state.ref
    fix = (
        f"have the CA revoke serial {chain.leaf.serial:x}, then give its list: "
        f"rechain refresh-crls {ref.environment} --crl FILE; or renew the whole chain"
    )
    if state.next is not None and not has_private_keys(ref.root, ref.environment, generation.number):
        fix = (
            f"it was retired once: have it retired again, `rechain refresh {ref.environment}`; its other certificate "
            f"can be revoked now, with --generation {state.next.number}"
        )
    where = f"{client} of generation {generation.number}"
    raise InputError(
        where, f"the key of its CA, {chain.leaf.issuer}, is not kept here, so its list can't be signed", fix
    )
