"""Draining: the live sessions that still hold the certificate which clients have left, and why some are let be.

A certificate is judged when a session begins: one that was opened before lives on, and keeps gate `clients` shut. An
application that comes back after its session was ended reads its files anew, and presents what they hold by then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rechain.generation import Generation


@dataclass(frozen=True, slots=True)
class HeldSession:
    """A live session of a client's certificate of the generation that is left.

    Attributes:
        endpoint: `server_name:port`.
        pid: Process of the backend; used again by later sessions, so `since` tells them apart.
        client: The client whose certificate it is.
        user: The role.
        address: Where it comes from, as text.
        since: When it began, aware UTC.
        is_idle: Whether it waits for its client, outside of a transaction.
    """

    endpoint: str
    pid: int
    client: str
    user: str
    address: str
    since: datetime
    is_idle: bool = field(compare=False)

    def __str__(self) -> str:
        where = f"from {self.address}" if self.address else "by a local socket"
        return f"{self.client} {where} on {self.endpoint}, since {self.since:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Held:
    """What servers tell of such sessions.

    Attributes:
        sessions: The sessions.
        read: The endpoints of which all sessions are told.
        unreadable: Servers that tell nothing, and why.
    """

    sessions: tuple[HeldSession, ...]
    read: frozenset[str]
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drained:
    """What draining an environment came to.

    Attributes:
        environment: The environment.
        ended: The sessions that were ended.
        left: Those that still hold the certificate that is left, and why.
        unreadable: Servers that tell nothing, and why.
    """

    environment: str
    ended: tuple[HeldSession, ...]
    left: Mapping[HeldSession, str]
    unreadable: tuple[str, ...] = ()


def left_serials(leaving: Generation, arriving: Generation) -> dict[int, str]:
    """Serial numbers of the certificates that clients leave, to the client; one that keeps its leaf leaves none."""
    return {
        chain.leaf.serial: name
        for name, chain in leaving.clients.items()
        if name not in arriving.clients or arriving.clients[name].leaf != chain.leaf
    }


def to_end(held: Iterable[HeldSession], clients: Collection[str], came_back: Collection[str]) -> list[HeldSession]:
    """The sessions to end: those of the clients meant that have not come back with the certificate that they left.

    The oldest come first. One that was ended and comes back with the same certificate would do so for ever.
    """
    meant = [one for one in held if one.client in clients and one.client not in came_back]
    return sorted(meant, key=lambda one: (one.since, one.endpoint, one.pid))


def returned(before: Held, now: Held) -> frozenset[str]:
    """Clients with a session that began since, with the certificate that they left: nothing newer is there.

    On a server that told nothing before, sessions may be old.
    """
    new = set(now.sessions) - set(before.sessions)
    return frozenset(one.client for one in new if one.endpoint in before.read)


def why_left(
    held: Iterable[HeldSession],
    clients: Collection[str],
    came_back: Collection[str],
    refused: Mapping[HeldSession, str],
) -> dict[HeldSession, str]:
    """Why sessions are let be, for a person; `refused` are those that a server did not end."""
    return {one: refused.get(one) or _why(one, clients, came_back) for one in held}


def _why(one: HeldSession, clients: Collection[str], came_back: Collection[str]) -> str:
    if one.client not in clients:
        return "not asked for: name it with --client once its owner has installed its next certificate"
    if one.client in came_back:
        return "its client came back with the certificate that it left: install the next one there first"
    if not one.is_idle:
        return "in the middle of something: run again later, or add --busy"
    return "it began meanwhile: run again"


def as_json(drained: Drained) -> dict[str, object]:
    """`drain` as a contract for programs (`"schema": 1`)."""
    return {
        "schema": 1,
        "environment": drained.environment,
        "ended": [_session(one) for one in drained.ended],
        "left": [{**_session(one), "reason": reason} for one, reason in drained.left.items()],
        "unreadable": list(drained.unreadable),
    }


def _session(one: HeldSession) -> dict[str, object]:
    return {
        "client": one.client,
        "user": one.user,
        "address": one.address,
        "endpoint": one.endpoint,
        "since": one.since.isoformat(),
    }
