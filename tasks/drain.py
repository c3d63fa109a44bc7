"""End sessions that hold a certificate which their clients have left; servers are asked before and after."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from rechain.drain import HeldSession, left_serials
from rechain.errors import RechainError, TransitionRefused, VerificationFailed
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
def held_sessions(ref: EnvironmentRef) -> tuple[HeldSession, ...]:
    """The live sessions of certificates that clients leave in this rotation.

    Side effect: one short session on each server. Safe to retry.

    Raises:
        TransitionRefused: Clients have not left any: the environment does not rest at `clients`.
        VerificationFailed: Some server's sessions can't be read.
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
        return tuple(one for endpoint in _endpoints(state) for one in _held(endpoint, access, serials))


@step("end-sessions")
def end_sessions(ref: EnvironmentRef, chosen: Sequence[HeldSession], *, busy: bool) -> tuple[HeldSession, ...]:
    """End sessions, and wait until they are gone.

    Side effect: their clients lose them; those of applications come back by themselves. Idempotent: a session that is
    gone, or busy, is let be. Safe to retry.

    Args:
        ref: Which environment.
        chosen: The sessions.
        busy: Whether those in a transaction are ended, too.

    Returns:
        Those that were ended.

    Raises:
        VerificationFailed: A server refuses it, or a session does not end.
    """
    state = observe(ref)
    endpoints = {str(endpoint): endpoint for endpoint in _endpoints(state)}
    with reading_access(state) as access:
        ended = tuple(one for one in chosen if _end(endpoints[one.endpoint], access, one, busy=busy))
        for one in ended:
            _wait_until_gone(endpoints[one.endpoint], access, one)
            progress.info("ended: %s", one)
    return ended


def _endpoints(state: FleetState) -> tuple[Endpoint, ...]:
    return tuple(state.fleet.endpoints(ServiceKind.POSTGRESQL))


def _held(endpoint: Endpoint, access: Access, serials: dict[int, str]) -> list[HeldSession]:
    return [_of_client(one, serials[one.serial]) for one in _read(endpoint, access) if one.serial in serials]


def _read(endpoint: Endpoint, access: Access) -> tuple[Session, ...]:
    found = sessions(endpoint, access)
    if isinstance(found, Unreadable):
        raise VerificationFailed(found.where, f"sessions can't be read: {found.reason}", "mend that, and run again")
    return found


def _of_client(one: Session, client: str) -> HeldSession:
    return HeldSession(str(one.endpoint), one.pid, client, one.user, one.address, one.backend_start, one.is_idle)


def _end(endpoint: Endpoint, access: Access, one: HeldSession, *, busy: bool) -> bool:
    try:
        with connected(endpoint, access) as connection:
            return connection.execute(_END, [one.pid, one.since, busy]).fetchone() == (True,)
    except psycopg.errors.InsufficientPrivilege:
        raise _refused(one, f"role {access.role} may not end it", "GRANT pg_signal_backend to that role") from None
    except psycopg.Error as error:
        raise _refused(one, unreadable(endpoint, error).reason, "mend that, and run again") from None


def _wait_until_gone(endpoint: Endpoint, access: Access, one: HeldSession) -> None:
    deadline = time.monotonic() + _GONE_S
    while any((each.pid, each.backend_start) == (one.pid, one.since) for each in _read(endpoint, access)):
        if time.monotonic() > deadline:
            raise _refused(one, f"it did not end within {_GONE_S:.0f} s", "look at it in pg_stat_activity")
        time.sleep(_POLL_S)


def _refused(one: HeldSession, what: str, fix: str) -> RechainError:
    return VerificationFailed(f"session of {one}", what, fix)
