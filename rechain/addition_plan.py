"""The plan of strategy `add-clients`: new leaves, and at most a further CA in the servers' bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rechain.certificate import Certificate
from rechain.certs import Certs
from rechain.fleet import Fleet
from rechain.phase import Phase
from rechain.plan import RotationPlan, Step, changes, intended_files, reloads
from rechain.prover import Proof
from rechain.report import Strategy

_REASON = "new clients get their leaves; nothing that exists is issued again"


def plan_addition(
    fleet: Fleet, before: Certs, after: Certs, phase: Phase, *, new: Sequence[str], notes: Iterable[str] = ()
) -> RotationPlan:
    """Plan to add clients at a resting point.

    Args:
        fleet: Hosts, services and clients, the new ones among them.
        before: What the hosts hold.
        after: What they will hold.
        phase: The resting point, which is not left.
        new: The new clients.
        notes: What else the person who starts it must know.
    """
    changed = changes(intended_files(fleet, before), intended_files(fleet, after))
    step = Step(phase, _REASON, changed, tuple(reloads(fleet, changed)))
    return RotationPlan(
        environment=fleet.environment,
        strategy=Strategy.ADD_CLIENTS,
        steps=(step,) if changed else (),
        tell=tuple(
            f"{name}: give its owner what `rechain deliver {fleet.environment} {name}` makes; nobody else does anything"
            for name in new
            if name in fleet.external_clients
        ),
        notes=(f"new clients: {', '.join(new) or 'none, so nothing is to be done'}", *notes),
    )


def proof_at(fleet: Fleet, after: Certs, phase: Phase, judgements: int, *, is_widened: bool) -> Proof:
    """What was proven, in the words of other plans: every mix of servers that have a wider bundle or not yet."""
    servers = sum(len(host.services) for host in fleet.hosts)
    return Proof(
        steps=((phase, phase),),
        states=2**servers if is_widened else 1,
        pairs=servers * len(after.clients),
        judgements=judgements,
        ending_clients=(),
    )


def about_dates(first: Certificate, added: Sequence[Certificate]) -> Iterator[str]:
    """That no date moves, and which ones there are."""
    yield (
        f"it moves no date: {first.subject} ends on {first.not_after:%Y-%m-%d}, and logins fail then; "
        "renew with --strategy minimal-impact"
    )
    if added:
        yield "the new certificates are not issued yet: their fingerprints here are a trial's"
    for leaf in added:
        yield f"the leaf of {leaf.common_name} will end on {leaf.not_after:%Y-%m-%d}"
