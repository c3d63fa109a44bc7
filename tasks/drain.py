"""End sessions that hold a certificate which their clients have left; servers are asked before and after."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from rechain.drain import Held, HeldSession, left_serials
from rechain.errors import TransitionRefused
from rechain.fleet import Endpoint, ServiceKind
from rechain.phase import Phase
from tasks.access import reading_access
from tasks.fleet.connection import Access, Unreadable, connected, unreadable
from tasks.fleet.sessions import Session, sessions
from tasks.state import EnvironmentRef, FleetState, observe
from tasks.step import progress, step

_GONE_S = 10.0
_POLL_S = 0.2
# What is busy is judged at the moment of the ending; a pid may be another session's by now.
_END = """
    SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
    WHERE pid = %s AND backend_start = %s AND (%s OR state = 'idle')
"""


@step("find-held-sessions")
def held_sessions(ref: EnvironmentRef) -> Held:
    """The live sessions of certificates that clients leave in this rotation.

    Side effect: one short session on each server. Safe to retry.

    Raises:
        TransitionRefused: Clients have not left any: the environment does not rest at `clients`.
    """
    state = observe(ref)
    rotation = state.rotation
    if rotation.phase is not Phase.CLIENTS or rotation.target is not None:
        raise TransitionRefused(
            ref.environment,
            "clients have their next certificates at phase clients, and sessions are drained there alone",
            f"see `rechain status {ref.environment}`",
        )
    serials = left_serials(state.rotating.current, state.rotating.next)
    with reading_access(state) as access:
        endpoints = _endpoints(state)
        seen = [sessions(endpoint, access) for endpoint in endpoints]
    held = [one for found in seen if not isinstance(found, Unreadable) for one in found if one.serial in serials]
    return Held(
        tuple(_of_client(one, serials[one.serial]) for one in held),
        frozenset(str(endpoint) for endpoint, found in zip(endpoints, seen, strict=True) if isinstance(found, tuple)),
        tuple(str(found) for found in seen if isinstance(found, Unreadable)),
    )


@step("end-sessions")
def end_sessions(
    ref: EnvironmentRef, chosen: Sequence[HeldSession], *, busy: bool
) -> tuple[tuple[HeldSession, ...], dict[HeldSession, str]]:
    """End sessions, and wait until they are gone.

    Side effect: their clients lose them; those of applications come back by themselves. Idempotent: a session that is
    gone, or busy, is let be. Safe to retry.

    Args:
        ref: Which environment.
        chosen: The sessions.
        busy: Whether those in a transaction are ended, too.

    Returns:
        Those that were ended; and those that a server did not end though it was told to, with the reason.
    """
    state = observe(ref)
    endpoints = {str(endpoint): endpoint for endpoint in _endpoints(state)}
    ended, refused = [], {}
    with reading_access(state) as access:
        for one in chosen:
            endpoint = endpoints[one.endpoint]
            try:
                if _end(endpoint, access, one, busy=busy):
                    _wait_until_gone(endpoint, access, one)
                    progress.info("ended: %s", one)
                    ended.append(one)
            except psycopg.errors.InsufficientPrivilege:
                refused[one] = f"role {access.role} may not end it: it needs pg_signal_backend, a superuser's takes one"
            except psycopg.Error as error:
                refused[one] = unreadable(endpoint, error).reason
            except TimeoutError as error:
                refused[one] = str(error)
    return tuple(ended), refused


def _endpoints(state: FleetState) -> tuple[Endpoint, ...]:
    return tuple(state.fleet.endpoints(ServiceKind.POSTGRESQL))


def _of_client(one: Session, client: str) -> HeldSession:
    return HeldSession(str(one.endpoint), one.pid, client, one.user, one.address, one.backend_start, one.is_idle)


def _end(endpoint: Endpoint, access: Access, one: HeldSession, *, busy: bool) -> bool:
    """Raises psycopg.Error."""
    with connected(endpoint, access) as connection:
        return connection.execute(_END, [one.pid, one.since, busy]).fetchone() == (True,)


def _wait_until_gone(endpoint: Endpoint, access: Access, one: HeldSession) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + _GONE_S
    while _is_there(endpoint, access, one):
        if time.monotonic() > deadline:
            raise TimeoutError(f"it was told to end, and did not within {_GONE_S:.0f} s: look at pg_stat_activity")
        time.sleep(_POLL_S)


def _is_there(endpoint: Endpoint, access: Access, one: HeldSession) -> bool:
    found = sessions(endpoint, access)
    if isinstance(found, Unreadable):
        return True  # nobody has seen it gone
    return any((each.pid, each.backend_start) == (one.pid, one.since) for each in found)
