"""The state of a rotation as rotation.yml records it: a hint, believed only when the fleet agrees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from rechain.errors import TransitionRefused
from rechain.phase import Phase, is_legal


class Gate(StrEnum):
    """What must be true before the next phase may start; the words that `approve` takes."""

    BASE_BRANCH = "base-branch"
    EXTERNAL_TRUST = "external-trust"
    CANARY = "canary"
    SERVER_LOG = "server-log"
    CLIENTS = "clients"


class Direction(StrEnum):
    """Which way a claim's owner moves the rotation."""

    REFRESH = "refresh"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who may act on the environment; hosts refuse a lower number than the highest they have seen.

    Attributes:
        number: Only grows.
        owner: `user@machine:pid:start`, so that an owner on the same machine can be found dead.
        direction: Which way the owner moves.
        target: The phase that the owner moves to.
        taken_at: When, aware UTC.
        expires_at: From when another may take it with `--take-over`, aware UTC.
    """

    number: int
    owner: str
    direction: Direction
    target: Phase
    taken_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Intent:
    """A change of certs.yml and the vault that is under way: SHA-256 of both files before and after."""

    certs_before: str
    vault_before: str
    certs_after: str
    vault_after: str


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word that opens a gate of one rotation.

    Attributes:
        gate: Which gate.
        client: The client it is about; None for all that wait.
        generation: The next generation that it was given for.
        reason: Why, in the person's words.
        who: Who gave it.
        when: When, aware UTC.
    """

    gate: Gate
    client: str | None
    generation: int
    reason: str
    who: str
    when: datetime


@dataclass(frozen=True, slots=True)
class Rotation:
    """Where an environment's rotation stands.

    Attributes:
        phase: The last resting point reached; None without certificates.
        current: Number of the current generation; None without certificates.
        next: Number of the next generation; None at rest.
        last_generation: Highest number ever used, so that none is reused.
        target: The phase that is under way, whose content certs.yml already holds; None at a resting point.
        reached_at: When `phase` was reached, aware UTC; None when unknown (adopted).
        last_claim: Highest claim number ever used.
        claim: Who moves it now; None when nobody does.
        intent: The file change under way; None when there is none.
        approvals: Given at this resting point; a word for one gate must not open another, so each move ends them.
        delivered: Whether external clients may hold the next generation's leaves: since `clients` was first begun.
    """

    phase: Phase | None
    current: int | None
    next: int | None
    last_generation: int
    target: Phase | None = None
    reached_at: datetime | None = None
    last_claim: int = 0
    claim: Claim | None = None
    intent: Intent | None = None
    approvals: tuple[Approval, ...] = ()
    delivered: bool = False

    @property
    def is_at_rest(self) -> bool:
        """Whether no rotation is under way."""
        return self.next is None and self.target is None

    @property
    def is_first(self) -> bool:
        """Whether certs.yml holds the environment's first generation, and no fleet was seen with it yet."""
        return self.current is not None and self.next is None and self.target is Phase.RETIRED


def beginning(rotation: Rotation, number: int) -> Rotation:
    """Begin with an environment's first generation: issued, in certs.yml, on its way to a fleet that has nothing."""
    return replace(
        rotation, phase=Phase.ISSUED, target=Phase.RETIRED, current=number, next=None, last_generation=number
    )


def toward(rotation: Rotation, target: Phase) -> Rotation:
    """Start moving to a neighbouring phase, go on with a move that did not end, or return from it.

    While a move is under way some hosts are past the resting point: from there the other neighbour is two steps away.

    Raises:
        TransitionRefused: The step is not legal from where the rotation is.
    """
    if not _may_move(rotation, target):
        way = f", with {rotation.target} under way," if rotation.target else ""
        raise TransitionRefused(
            "rotation.yml",
            f"phase {rotation.phase}{way} can't move to {target}",
            "take the phases one by one, in order, and end or undo a move before the next one",
        )
    return replace(rotation, target=target, delivered=rotation.delivered or target is Phase.CLIENTS)


def _may_move(rotation: Rotation, target: Phase) -> bool:
    if rotation.phase is None:
        return False
    if rotation.target is not None:
        return target in (rotation.target, rotation.phase)
    return is_legal(rotation.phase, target)


def is_replaced_half(rotation: Rotation) -> bool:
    """Whether a replacement in one step, or its undoing, was cut short: no generation logs in everywhere then."""
    return rotation.phase is Phase.ISSUED and rotation.target in (Phase.RETIRED, Phase.ISSUED)


def resting_place(rotation: Rotation) -> str:
    """Where a fleet is left by a run that ends early, in words."""
    if rotation.phase is None:
        return "has no certificates yet"
    if rotation.is_first:
        return "has its first certificates on some hosts at most: run the same command again"
    if is_replaced_half(rotation) and rotation.delivered:
        return "is replaced half: logins fail until the same command has ended well, or `rechain rollback` has"
    if rotation.target is None:
        return f"rests at phase {rotation.phase}"
    if rotation.target is rotation.phase:
        return f"rests at phase {rotation.phase}, or a step past it on some hosts; every mix is proven"
    return f"rests between phases {rotation.phase} and {rotation.target}; every mix of the two is proven"


def replacing(rotation: Rotation) -> Rotation:
    """Start replacing everything in one step, the strategy `downtime`: from `issued` to `retired` at once.

    A replacement that is under way, or is being undone, may be taken up again.

    Raises:
        TransitionRefused: Another strategy has already begun to move this rotation.
    """
    if rotation.phase is not Phase.ISSUED or rotation.target not in (None, Phase.RETIRED, Phase.ISSUED):
        raise TransitionRefused(
            "rotation.yml", f"phase {rotation.phase} can't be replaced in one step", "finish it with `rechain refresh`"
        )
    return replace(rotation, target=Phase.RETIRED, delivered=True)


def reached(rotation: Rotation, now: datetime) -> Rotation:
    """Record that the phase under way has been verified and is now the resting point; approvals end with the move.

    Raises:
        TransitionRefused: No phase is under way.
    """
    if rotation.target is None:
        raise TransitionRefused("rotation.yml", "no phase is under way", "start one with `rechain refresh`")
    delivered = rotation.delivered and rotation.target is not Phase.ISSUED
    arrived = replace(rotation, phase=rotation.target, target=None, reached_at=now, approvals=(), delivered=delivered)
    return ended(arrived) if arrived.phase is Phase.RETIRED else arrived


def ended(rotation: Rotation) -> Rotation:
    """End a rotation whose phase is `retired`: the next generation, if it is not the first, is the current one now."""
    return replace(rotation, current=rotation.next or rotation.current, next=None, approvals=(), delivered=False)
