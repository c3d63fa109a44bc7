"""Gates: what must be true before the next phase may start, each a small function that gives reasons.

A gate is judged from evidence alone. What could not be read is "not met", never passed; a person's approval with a
reason opens any gate (rotation.yml holds it). Silence of an external client proves nothing: a monthly batch job has
no session, so such a client is either seen with the new certificate or confirmed by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rechain.certs import ForeignCAs, foreign_issuers
from rechain.fleet import Fleet
from rechain.generation import Generation
from rechain.phase import Phase
from rechain.rotation import Approval, Gate, Rotation

_JUDGED_EVERYWHERE = frozenset({Gate.CANARY, Gate.SERVER_LOG})
_OUT_OF = {
    Phase.OVERLAP: frozenset(Gate),  # `clients` on the way back
    Phase.SERVERS: _JUDGED_EVERYWHERE,
    Phase.CLIENTS: _JUDGED_EVERYWHERE | {Gate.BASE_BRANCH, Gate.CLIENTS},
}


def gates_out_of(phase: Phase | None) -> frozenset[Gate]:
    """The gates that can wait at a resting point, whichever way it is left."""
    return _OUT_OF.get(phase, frozenset()) if phase else frozenset()


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that a gate waits for.

    Attributes:
        gate: The gate, the word that `approve` takes.
        client: The client it is about, None when it is about the whole fleet.
        reason: What is missing, for a person.
    """

    gate: Gate
    client: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class CertificateUse:
    """A live session that presented a client certificate.

    Attributes:
        endpoint: `server_name:port`.
        user: The role.
        address: Where the session comes from, as text.
        serial: Serial number of its client certificate.
    """

    endpoint: str
    user: str
    address: str
    serial: int


@dataclass(frozen=True, slots=True)
class SessionEvidence:
    """What was seen of live sessions during the gate's window.

    Attributes:
        uses: Every session seen, at any moment of the window.
        unreadable: Reasons why some endpoint's sessions could not be read.
    """

    uses: tuple[CertificateUse, ...]
    unreadable: tuple[str, ...] = ()


def base_branch(base: str, is_merged: bool | None, why: str = "") -> tuple[Waiting, ...]:
    """What is deployed is on the base branch: otherwise a colleague's ordinary roll-out would undo it half way through.

    Args:
        base: The branch that ordinary roll-outs are made from.
        is_merged: Whether it holds this phase's certs files; None when that can't be told.
        why: Why it can't be told.
    """
    if is_merged:
        return ()
    reason = (
        f"whether {base} holds this phase's certs files can't be told: {why}"
        if is_merged is None
        else f"{base} does not hold this phase's certs files yet, so a roll-out from it would undo the phase: "
        f"merge the rotation's branch, or approve if nobody rolls out from {base}"
    )
    return (Waiting(Gate.BASE_BRANCH, None, reason),)


def external_trust(fleet: Fleet, foreign: ForeignCAs) -> tuple[Waiting, ...]:
    """Before any server leaf moves, everybody else's bundle must hold the next server chain, on its owner's word.

    The others are external clients, and whoever logs in under a foreign CA: nobody here knows their names.
    """
    names = [*fleet.external_clients, *(ca.common_name or ca.subject for ca in foreign_issuers(foreign))]
    return tuple(
        Waiting(
            Gate.EXTERNAL_TRUST,
            name,
            f"the owner of {name} has not confirmed that its sslrootcert holds the new server chain",
        )
        for name in names
    )


def canary(failures: Sequence[str], since: datetime) -> tuple[Waiting, ...]:
    """No canary login failed over TLS since the phase's last action."""
    if not failures:
        return ()
    reason = f"{len(failures)} canary logins failed since {since:%H:%M:%S} UTC; the last: {failures[-1]}"
    return (Waiting(Gate.CANARY, None, reason),)


def server_log(alerts: Mapping[str, Sequence[str]], unreadable: Mapping[str, str]) -> tuple[Waiting, ...]:
    """No server wrote a certificate alert into its log since the phase began."""
    found = [
        Waiting(
            Gate.SERVER_LOG, None, f"{host} logged {len(lines)} certificate alerts since the phase began: {lines[-1]}"
        )
        for host, lines in alerts.items()
        if lines
    ]
    unread = [
        Waiting(Gate.SERVER_LOG, None, f"the log of {host} can't be read: {why}") for host, why in unreadable.items()
    ]
    return (*found, *unread)


def clients(fleet: Fleet, leaving: Generation, arriving: Generation, seen: SessionEvidence) -> tuple[Waiting, ...]:
    """Every client has moved from one generation's certificates to the other's.

    Managed clients: no session used the generation that is left. External clients: seen with the one that arrives,
    and with none that is left.
    """
    unread = tuple(Waiting(Gate.CLIENTS, None, f"sessions can't be read: {why}") for why in seen.unreadable)
    managed, external = (
        [name for name in names if not _keeps(name, leaving, arriving)]
        for names in (fleet.managed_clients, fleet.external_clients)
    )
    used = [waiting for name in managed for waiting in _still_used(name, leaving, seen.uses)]
    unmoved = [waiting for name in external for waiting in _moved(name, leaving, arriving, seen.uses)]
    return (*unread, *used, *unmoved)


def still_closed(waiting: Iterable[Waiting], rotation: Rotation) -> tuple[Waiting, ...]:
    """What still waits once the approvals of this rotation are taken into account."""
    return tuple(one for one in waiting if not any(_opens(approval, one, rotation) for approval in rotation.approvals))


def _opens(approval: Approval, waiting: Waiting, rotation: Rotation) -> bool:
    about_it = approval.gate is waiting.gate and approval.generation == rotation.next
    return about_it and approval.client in (None, waiting.client)


def _keeps(name: str, leaving: Generation, arriving: Generation) -> bool:
    """Whether a client has the same certificate in both: an outside CA was asked for some of them only."""
    old, new = leaving.clients.get(name), arriving.clients.get(name)
    return old is not None and new is not None and old.leaf == new.leaf


def _still_used(name: str, leaving: Generation, uses: Iterable[CertificateUse]) -> list[Waiting]:
    if name not in leaving.clients:
        return []
    serial = leaving.clients[name].leaf.serial
    places = sorted({(use.user, use.address, use.endpoint) for use in uses if use.serial == serial})
    return [
        Waiting(
            Gate.CLIENTS,
            name,
            f"a session of {user} from {address} on {endpoint} still uses serial {serial:x} "
            f"of generation {leaving.number}",
        )
        for user, address, endpoint in places
    ]


def _moved(name: str, leaving: Generation, arriving: Generation, uses: tuple[CertificateUse, ...]) -> list[Waiting]:
    stale = _still_used(name, leaving, uses)
    if stale or name not in arriving.clients:
        return stale
    serial = arriving.clients[name].leaf.serial
    if any(use.serial == serial for use in uses):
        return []
    reason = f"{name} was not seen with its certificate of generation {arriving.number} (serial {serial:x})"
    return [Waiting(Gate.CLIENTS, name, reason)]
