"""Put revocation lists where servers read them, and see what the servers make of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from posixpath import normpath

from rechain.certificate import Bundle
from rechain.crl import crls_of, unlisted
from rechain.errors import InputError, TransitionRefused
from rechain.fleet import Host, Service, ServiceKind
from rechain.rotation import Claim
from rechain.scan.seen import HostSeen
from tasks.access import reading_access
from tasks.fleet.connection import Unreadable
from tasks.fleet.host_look import look_at_hosts
from tasks.fleet.server_settings import server_setting
from tasks.fleet.sessions import Session, sessions
from tasks.renew_crls import require_listed
from tasks.repository.certs_yaml import render_certs
from tasks.repository.claim import refuse_lost
from tasks.repository.intent import deploy_files
from tasks.repository.layout import certs_paths
from tasks.state import EnvironmentRef, FleetState, now, observe
from tasks.step import step


@step("write-crls")
def write_crls(ref: EnvironmentRef, claim: Claim) -> bool:
    """Make certs.yml hold the newest list of each CA in the servers' bundle; all else in it stays.

    Side effect: certs.yml, by rename. Idempotent, safe to retry.

    Returns:
        Whether anything had to be written.

    Raises:
        InputError: A CA of the bundle has no list that holds, and had one: its clients would be refused.
        ClaimRefused: Somebody else has taken the claim.
    """
    state = observe(ref)
    refuse_lost(state.rotation, claim)
    refuse_worse(state)
    certs_path, vault_path = certs_paths(ref.root, ref.environment)
    existing = certs_path.read_text(encoding="utf-8")
    text = render_certs(existing, _with_crls(state).certs)
    if text == existing:
        return False
    deploy_files(ref.root, ref.environment, state.rotation, text, vault_path.read_text(encoding="utf-8"))
    return True


@step("look-for-crls")
def lacking_crls(ref: EnvironmentRef) -> tuple[str, ...]:
    """Where the newest lists are not in place yet: certs.yml, or files on hosts. Reads only, safe to retry.

    Returns:
        The places, as a person names them; empty when nothing is to be done.
    """
    state = observe(ref)
    wanted = _with_crls(state)
    if wanted.certs != state.certs:
        return ("certs.yml",)
    seen = {one.host: one for one in look_at_hosts(ref.root, ref.environment, state.fleet)}
    return tuple(
        f"{host.name}: {service.cert_dir}/{service.crl}"
        for host, service in readers(state)
        if not _holds(seen.get(host.name), service, wanted)
    )


def refuse_worse(state: FleetState) -> None:
    """Refuse to deploy lists that would shut out a CA's clients who can log in now; where no server reads any, none do.

    Whose list has ended already is no reason to keep the others' new lists back: theirs would end next.

    Raises:
        InputError: Names the CA.
    """
    if not state.fleet.reads_crls:
        return
    out = shut_out(state)
    others = [one for one in state.certs.client_chain.certificates if one.fingerprint not in out]
    require_listed(state.ref.environment, Bundle(tuple(others)), state.crls)


def shut_out(state: FleetState) -> frozenset[str]:
    """Fingerprints of the CAs whose clients are refused already, by lists that are deployed; none before the first."""
    if not state.certs.crls:  # hosts may have lists of their own, which nobody here knows
        return frozenset()
    lacking = unlisted(state.certs.client_chain, state.certs.crls, now())
    return frozenset(authority.fingerprint for authority, _ in lacking)


def readers(state: FleetState) -> tuple[tuple[Host, Service], ...]:
    """The services that judge clients by lists, with their hosts."""
    return tuple((host, service) for host in state.fleet.hosts for service in host.services if service.crl)


def refuse_unsettled(state: FleetState) -> None:
    """Refuse while a move is half way: rolling out certs.yml would finish it past its order and its gates.

    Raises:
        TransitionRefused: It is.
    """
    if state.rotation.target is not None:
        raise TransitionRefused(
            "rotation.yml",
            f"a move to {state.rotation.target} is under way",
            f"finish it with `rechain refresh {state.ref.environment}`, or walk back with `rechain rollback`: "
            "both take the lists along that are known by now",
        )


def require_readers(state: FleetState) -> None:
    """Refuse to revoke where some server would not notice: it must be set to read the file that is installed.

    Side effect: one short session on each server.

    Raises:
        InputError: Names the host, and the setting that it lacks.
    """
    with reading_access(state) as access:
        for host in state.fleet.hosts:
            for service in host.services:
                endpoint = host.endpoint(service)
                if endpoint and service.kind is ServiceKind.POSTGRESQL:
                    _require_reader(host, service, server_setting(endpoint, access, "ssl_crl_file"))


def open_sessions(state: FleetState, serials: Iterable[int]) -> tuple[Session, ...]:
    """Sessions that live on though their certificate is revoked: a list ends no session. Reads only."""
    revoked = set(serials)
    with reading_access(state) as access:
        found = [sessions(endpoint, access) for endpoint in state.fleet.endpoints(ServiceKind.POSTGRESQL)]
    return tuple(one for seen in found if not isinstance(seen, Unreadable) for one in seen if one.serial in revoked)


def _require_reader(host: Host, service: Service, setting: str | Unreadable) -> None:
    where = f"host {host.name}"
    if isinstance(setting, Unreadable):
        raise InputError(where, f"whether it reads revocation lists can't be told: {setting.reason}", "mend that first")
    if service.crl is None:
        raise InputError(
            where,
            "its server reads no revocation list, so that a revoked certificate would still log in there",
            "add `crl: root.crl` to it in rechain_services, then `rechain refresh-crls`",
        )
    path = f"{service.cert_dir}/{service.crl}"
    if normpath(setting or ".") != normpath(path):
        raise InputError(
            where,
            f"its ssl_crl_file is {setting!r}, so that a revoked certificate would still log in there",
            f"install the lists with `rechain refresh-crls`, set ssl_crl_file = '{path}', and reload",
        )


def _with_crls(state: FleetState) -> FleetState:
    crls = crls_of(state.certs.client_chain, state.crls)
    return replace(state, certs=replace(state.certs, crls=crls))


def _holds(host: HostSeen | None, service: Service, wanted: FleetState) -> bool:
    path = f"{service.cert_dir}/{service.crl}"
    files = [file for one in host.sets for file in one.crls if file.path == path] if host else []
    return any(file.crls == wanted.certs.crls for file in files)
