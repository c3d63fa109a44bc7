"""Who may hold what while a rotation steps from one phase to a neighbour: the states that the prover visits.

The unit that changes at once is a *set*: a service's three files, which take effect with its reload, or a managed
client's three files. Every set is at one phase or the other, independently of all others, on the same host too:
a host's sets are renamed one after the other. A step visits the same states forward and backward.

An external client's set is changed by its owner, whenever the owner likes, between what the gates demand:

=================  ===============  ====================  ====================================================
step               leaf             trusts                because
=================  ===============  ====================  ====================================================
issued, overlap    current          current, or both      `external-trust` is not confirmed yet
overlap, servers   current or next  both                  confirmed; on the way back a next leaf may be in use
servers, clients   current or next  both                  the delivery is made, nobody knows when it is used
clients, retired   next             both, or next         the gate `clients` has seen or confirmed the next leaf
=================  ===============  ====================  ====================================================

"Both" in either order: an owner appends the new CAs to what is there. On the way back `issued` may be entered only
when no external client uses a next leaf any more, as `retired` only when none uses a current one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from math import prod

from rechain.fleet import Fleet
from rechain.phase import Age, Phase, material

Step = tuple[Phase, Phase]

_CURRENT = (Age.CURRENT,)
_NEXT = (Age.NEXT,)
_BOTH = ((Age.NEXT, Age.CURRENT), (Age.CURRENT, Age.NEXT))
_EITHER = (Age.CURRENT, Age.NEXT)


@dataclass(frozen=True, slots=True)
class Holding:
    """What one set of files holds.

    Attributes:
        leaf: The generation of the leaf that it presents.
        trusts: The generations in its bundle, in the order of the file.
        phase: The phase that it is at; None for an external client's, which its owner changes.
    """

    leaf: Age
    trusts: tuple[Age, ...]
    phase: Phase | None = field(default=None, compare=False)

    def __str__(self) -> str:
        at = f"at {self.phase}" if self.phase else "in its owner's hands"
        return f"{at}, presents {self.leaf}, trusts {' and '.join(self.trusts)}"


_EXTERNAL = {
    frozenset((Phase.ISSUED, Phase.OVERLAP)): (_CURRENT, (_CURRENT, *_BOTH)),
    frozenset((Phase.OVERLAP, Phase.SERVERS)): (_EITHER, _BOTH),
    frozenset((Phase.SERVERS, Phase.CLIENTS)): (_EITHER, _BOTH),
    frozenset((Phase.CLIENTS, Phase.RETIRED)): (_NEXT, (_NEXT, *_BOTH)),
}


def of_servers(step: Step) -> tuple[Holding, ...]:
    """What a service's set may hold during a step; one holding when the step does not concern services."""
    return _distinct(Holding(material(phase).server_leaves, material(phase).bundles, phase) for phase in step)


def of_managed_clients(step: Step) -> tuple[Holding, ...]:
    """What a managed client's set may hold during a step; one holding when the step does not concern clients."""
    return _distinct(Holding(material(phase).client_leaves, material(phase).bundles, phase) for phase in step)


def of_external_clients(step: Step) -> tuple[Holding, ...]:
    """What an external client's owner may have installed during a step."""
    known = _EXTERNAL.get(frozenset(step))
    if known:
        leaves, bundles = known
        return tuple(Holding(leaf, trusts) for leaf, trusts in product(leaves, bundles))
    managed = of_managed_clients(step)  # a leap over phases: no gate holds anybody back
    return _distinct(Holding(one.leaf, other.trusts) for one, other in product(managed, managed))


def count_states(fleet: Fleet, step: Step) -> int:
    """The number of states that a step may visit: every mix of its sets' holdings."""
    services = sum(len(host.services) for host in fleet.hosts)
    managed = sum(len(host.clients) for host in fleet.hosts)
    holdings = (
        *(of_servers(step) for _ in range(services)),
        *(of_managed_clients(step) for _ in range(managed)),
        *(of_external_clients(step) for _ in fleet.external_clients),
    )
    return prod(len(choices) for choices in holdings)


def _distinct(holdings: Iterable[Holding]) -> tuple[Holding, ...]:
    return tuple(dict.fromkeys(holdings))
