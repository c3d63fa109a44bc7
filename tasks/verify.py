"""Verify a phase: log in as every client on every endpoint, and see from the wire what is served."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from rechain.certs import compose
from rechain.errors import VerificationFailed
from rechain.fleet import ServiceKind
from rechain.generation import Generation
from rechain.login import FAILED, Login, Refusal, Verdict
from rechain.phase import Phase
from rechain.scan.seen import listeners
from rechain.trust_path import outliving, still_trusted
from tasks.access import accepted_generations, leaf_keys, trusted_by_clients
from tasks.fleet.credentials import credentials, material
from tasks.fleet.login import LoginRequest, log_in_all, served_fingerprint
from tasks.run_page import show_logins
from tasks.state import EnvironmentRef, FleetState, observe
from tasks.step import progress, step

_LOGIN_KINDS = (ServiceKind.POSTGRESQL, ServiceKind.PGBOUNCER)
_WIRE_TIMEOUT_S = 5.0
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Verification:
    """What was seen of a phase.

    Attributes:
        phase: The phase that the fleet should be at.
        logins: Every client on every endpoint with every generation that the phase accepts.
        problems: What contradicts the phase, for a person; empty when it holds.
    """

    phase: Phase
    logins: tuple[Login, ...]
    problems: tuple[str, ...]


def look(state: FleetState, phase: Phase, *, tries_revoked: bool = False) -> Verification:
    """Log in as every client on every endpoint. Side effect: short sessions on the servers.

    Args:
        state: The environment.
        phase: The phase that the fleet should be at.
        tries_revoked: Whether revoked certificates are tried, too: servers must refuse them, and log that.
    """
    revoked = frozenset(one.serial for one in state.revoked)
    generations = accepted_generations(state, phase)
    logins = _log_in(state, phase, generations, frozenset() if tries_revoked else revoked)
    problems = (
        *_login_problems(logins, {f"{serial:x}" for serial in revoked}),
        *_served_problems(state, phase, logins),
    )
    return Verification(phase, logins, problems)


@step("verify-connections", run_name="{ref.environment}: verify {phase}")
def verify_phase(ref: EnvironmentRef, phase: Phase, *, tries_revoked: bool = False) -> Verification:
    """Prove from the outside that the fleet is at a phase.

    Side effect: short sessions named `rechain`, and a table on the run's page. Idempotent, safe to retry.

    Args:
        ref: Which environment.
        phase: The phase.
        tries_revoked: Whether revoked certificates are tried, too. Not in a rotation's own steps: older servers' logs
            do not tell such a refusal from any other, and the gate `server-log` would close.

    Raises:
        VerificationFailed: Names every login that failed and every endpoint that serves something else.
    """
    state = observe(ref)
    found = look(state, phase, tries_revoked=tries_revoked)
    show_logins(ref, phase, found.logins, found.problems)
    more = len(found.problems) - _SHOWN
    if found.problems:
        raise VerificationFailed(
            f"{ref.environment} at phase {phase}",
            "; ".join(found.problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else ""),
            "mend that and run the same command again"
            + (f", or `rechain rollback {ref.environment}`" if state.next else ""),  # at rest it undoes the last one
        )
    return found


def retired_logins(ref: EnvironmentRef) -> tuple[Login, ...]:
    """Log in with the generation that is being retired, trusting the servers as they are after it.

    Leaves whose CA stays trusted are left out: that they log in is no question.
    """
    state = observe(ref)
    trusted = still_trusted(state.rotating)
    clients = {name: chain for name, chain in state.current.clients.items() if name not in trusted}
    return _log_in(state, Phase.RETIRED, (replace(state.current, clients=clients),))


@step("refuse-retired")
def refuse_retired(ref: EnvironmentRef, before: tuple[Login, ...]) -> bool | None:
    """The negative check: what logged in just before `retired` is refused now, for its CA and nothing else.

    Returns:
        True when every such login is refused; there is at least one. None where the next generation has the same CA,
        so that nothing can be refused.

    Raises:
        VerificationFailed: Retired material still logs in, or is refused for another reason.
    """
    state = observe(ref)
    _warn_of_outliving(state)
    if len(still_trusted(state.rotating)) == len(state.current.clients):
        return None
    accepted = {(login.endpoint, login.client) for login in before if login.verdict not in FAILED}
    after = [login for login in retired_logins(ref) if login.verdict is not Verdict.NOT_TESTED]
    wrong = [login for login in after if login.refusal is not Refusal.UNKNOWN_CLIENT_CA]
    if wrong:
        raise VerificationFailed(
            f"{wrong[0].client} on {wrong[0].endpoint}",
            f"retired material is not refused as an unknown CA: {wrong[0].verdict} {wrong[0].error or ''}",
            "is its CA kept as a foreign one? see `rechain plan`",
        )
    return bool(after) and accepted <= {(login.endpoint, login.client) for login in after}


def _warn_of_outliving(state: FleetState) -> None:
    leaves = outliving(state.rotating)
    if leaves:
        progress.warning(
            "%s certificates of generation %s log in until %s unless their CA revokes them: it stays trusted",
            len(leaves),
            state.current.number,
            f"{leaves[0].not_after:%Y-%m-%d}",
        )


def _log_in(
    state: FleetState, phase: Phase, generations: Iterable[Generation], without: Collection[int] = ()
) -> tuple[Login, ...]:
    trusted = trusted_by_clients(state, phase)
    endpoints = state.fleet.endpoints(*_LOGIN_KINDS)
    requests: list[LoginRequest] = []
    with ExitStack() as stack:
        for generation in generations:
            wanted = credentials(generation, leaf_keys(state, generation), trusted)
            files = stack.enter_context(material(wanted))
            requests += [
                LoginRequest(endpoint, client, generation.number, files.get((client, generation.number)))
                for endpoint in endpoints
                for client, chain in generation.clients.items()
                if chain.leaf.serial not in without
            ]
        return log_in_all(requests, database=state.settings.verify.database)


def _login_problems(logins: Iterable[Login], revoked: Collection[str]) -> Iterator[str]:
    """Every login that failed, but for those with a revoked certificate, which must."""
    for login in logins:
        told = f"{login.client} (generation {login.generation}) on {login.endpoint}"
        if login.client_serial in revoked:
            if login.verdict is Verdict.LOGGED_IN:
                yield f"{told}: logs in, though serial {login.client_serial} is revoked"
            elif login.verdict is Verdict.UNREACHABLE:
                yield f"{told}: {login.verdict}, {login.error}"
        elif login.verdict in FAILED:
            yield f"{told}: {login.verdict}, {login.error}"


def _served_problems(state: FleetState, phase: Phase, logins: Iterable[Login]) -> list[str]:
    certs = state.certs if state.next is None else compose(state.rotating, phase)
    seen = {login.endpoint: login.server_fingerprint for login in logins}
    problems = []
    for listener in listeners(state.fleet):
        endpoint = listener.endpoint
        wanted = certs.servers[endpoint.server_name].leaf.fingerprint
        found = seen.get(endpoint) or served_fingerprint(endpoint, _WIRE_TIMEOUT_S, listener.kind)
        if found is None and listener.kind not in _LOGIN_KINDS:
            progress.warning("%s can't be seen from here; the roll-out has seen it on its host", endpoint)
        elif found != wanted:
            problems.append(f"{endpoint} serves {(found or 'nothing')[:16]} instead of {wanted[:16]}")
    return problems
