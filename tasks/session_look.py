"""Which client certificates are in use on the servers of a fleet now."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from rechain.errors import RechainError
from rechain.fleet import ServiceKind
from rechain.scan.seen import Blind, InUse, Source
from tasks.access import reading_access
from tasks.fleet.connection import Unreadable
from tasks.fleet.sessions import sessions
from tasks.state import FleetState

_AT_ONCE = 16


def look_at_sessions(state: FleetState) -> tuple[tuple[InUse, ...], tuple[Blind, ...]]:
    """Read every live session's client certificate, as the role that verifies.

    Side effect: one short session on each server. Idempotent, safe to retry.

    Returns:
        Certificates in use, each once for a role, endpoint and address; and what could not be read.
    """
    endpoints = state.fleet.endpoints(ServiceKind.POSTGRESQL)
    try:
        with reading_access(state) as access, ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(lambda endpoint: sessions(endpoint, access), endpoints))
    except RechainError as error:
        return (), (Blind(Source.SESSIONS, error.where, error.what),)
    blind = tuple(Blind(Source.SESSIONS, one.where, one.reason) for one in answers if isinstance(one, Unreadable))
    found = [session for one in answers if not isinstance(one, Unreadable) for session in one]
    in_use = (InUse(one.endpoint, one.user, one.address, one.serial, one.issuer_dn) for one in found)
    return tuple(dict.fromkeys(in_use)), blind
