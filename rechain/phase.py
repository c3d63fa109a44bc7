"""The phases of a rotation: the specification of `minimal-impact`, and what each one deploys.

A rotation goes from the current generation to the next. Each phase is a safe resting point: the fleet may stay
there for weeks, and every client that should log in can.

=========  ==================================  ==================  ================================
phase      bundles, servers' and clients'      leaves presented    why it exists
=========  ==================================  ==================  ================================
issued     current                             current             the next chain exists, vaulted
overlap    next and current                    current             both sides trust both, before any leaf moves
servers    next and current                    servers next        clients already trust the new server chain
clients    next and current                    all next            servers already trust the new client chain
retired    next                                all next            nobody presents current any more; at rest
=========  ==================================  ==================  ================================

Foreign CAs stay in every bundle of every phase. Forward the phases are taken one by one in this order; backward
in reverse; from `retired` the only way back is `clients`, and `issued` is left backward by discarding the next
generation. At rest the phase is `retired` with no next generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """A named, safe resting point of a rotation."""

    ISSUED = "issued"
    OVERLAP = "overlap"
    SERVERS = "servers"
    CLIENTS = "clients"
    RETIRED = "retired"

    @property
    def following(self) -> Phase | None:
        """The phase one step forward, None after the last."""
        position = _ORDER.index(self)
        return _ORDER[position + 1] if position + 1 < len(_ORDER) else None

    @property
    def preceding(self) -> Phase | None:
        """The phase one step backward, None before the first."""
        position = _ORDER.index(self)
        return _ORDER[position - 1] if position else None


_ORDER = (Phase.ISSUED, Phase.OVERLAP, Phase.SERVERS, Phase.CLIENTS, Phase.RETIRED)


class Age(StrEnum):
    """Which of a rotation's two generations."""

    CURRENT = "current"
    NEXT = "next"


@dataclass(frozen=True, slots=True)
class Material:
    """What a phase deploys, in terms of the two generations.

    Attributes:
        bundles: The generations in every bundle, in the order of the file.
        server_leaves: The generation whose leaves servers present.
        client_leaves: The generation whose leaves clients present.
    """

    bundles: tuple[Age, ...]
    server_leaves: Age
    client_leaves: Age


_BOTH = (Age.NEXT, Age.CURRENT)
_MATERIAL = {
    Phase.ISSUED: Material((Age.CURRENT,), Age.CURRENT, Age.CURRENT),
    Phase.OVERLAP: Material(_BOTH, Age.CURRENT, Age.CURRENT),
    Phase.SERVERS: Material(_BOTH, Age.NEXT, Age.CURRENT),
    Phase.CLIENTS: Material(_BOTH, Age.NEXT, Age.NEXT),
    Phase.RETIRED: Material((Age.NEXT,), Age.NEXT, Age.NEXT),
}


def material(phase: Phase) -> Material:
    """What a phase deploys."""
    return _MATERIAL[phase]


def is_legal(start: Phase, target: Phase) -> bool:
    """Whether a rotation may move from one resting point to another in one step, either way."""
    return target is start.following or target is start.preceding


def path(start: Phase, target: Phase) -> tuple[Phase, ...]:
    """The phases to pass from one to another, without the first, in either direction."""
    begin, end = _ORDER.index(start), _ORDER.index(target)
    if end >= begin:
        return _ORDER[begin + 1 : end + 1]
    return tuple(reversed(_ORDER[end:begin]))
