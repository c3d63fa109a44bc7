"""The prover: before anything is touched, every login in every state that a rotation can pass through.

A pair of client and server logs in when the client accepts the server's leaf and the server accepts the client's.
Each verdict depends on one leaf and the opposite bundle alone, so each distinct combination is judged once, however
many pairs and states it appears in; what is multiplied out is the naming of refused pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product

from rechain.certificate import EMPTY, Bundle, LeafChain
from rechain.certs import Rotating, bundle_of
from rechain.errors import ProofRefused
from rechain.fleet import Fleet
from rechain.generation import Side
from rechain.holdings import Holding, Step, count_states, of_external_clients, of_managed_clients, of_servers
from rechain.judge import HandshakeJudge, Judge
from rechain.phase import Age, is_legal
from rechain.premises import unmet
from rechain.refusal import Refusal

__all__ = ["HandshakeJudge", "Judge", "Proof", "Refusal", "Step", "prove"]

_SHOWN = 3
_COUNTABLE = 10**6


@dataclass(frozen=True, slots=True)
class Proof:
    """That no state of some steps refuses a login, forward or backward.

    Attributes:
        steps: The steps proven.
        states: How many states they can visit: every mix of sets at one phase or the other. May be astronomical.
        pairs: How many combinations of client, server and their holdings those states consist of.
        judgements: How many distinct combinations of leaf and opposite bundle were judged.
        ending_clients: Clients of the current generation without a leaf in the next: their logins end at `retired`.
    """

    steps: tuple[Step, ...]
    states: int
    pairs: int
    judgements: int
    ending_clients: tuple[str, ...]

    def __str__(self) -> str:
        resting = {start for start, target in self.steps if start is target}
        about = f"at phase {', '.join(resting)}" if resting else f"{len(self.steps)} steps"
        text = (
            f"{about}, {_count(self.states)} states, {self.pairs} logins: "
            f"none is refused, by {self.judgements} judgements of a leaf before a bundle"
        )
        if self.ending_clients:
            text += f"; logins that end at retired, having no next leaf: {', '.join(self.ending_clients)}"
        return text


def prove(
    fleet: Fleet, rotating: Rotating, steps: Sequence[Step], judge: Judge, *, now: datetime | None = None
) -> Proof:
    """Prove that every client can log in at every server in every state of some steps.

    A step is proven in both directions at once: forward and backward it visits the same states.

    Args:
        fleet: Hosts, services, managed and external clients.
        rotating: Both generations and the foreign CAs.
        steps: Pairs of phases; a legal rotation has neighbours only. A phase and itself: resting there.
        judge: Says whether a peer accepts a leaf.
        now: Aware UTC instant for a clear refusal of expired material; without it only the handshakes find it.

    Returns:
        What was proven, in numbers.

    Raises:
        ProofRefused: Some state refuses a login, or the material lacks or outlives something; `refusals` has all.
    """
    refusals = unmet(fleet, rotating, steps, now)
    if refusals:
        raise _refused(fleet, refusals)
    verdicts = _Verdicts(rotating, judge)
    groups = [group for step in steps for group in _groups(fleet, rotating, step)]
    refusals = tuple(refusal for group in groups for refusal in _refusals(group, rotating, verdicts))
    if refusals:
        raise _refused(fleet, refusals)
    return Proof(
        steps=tuple(steps),
        states=sum(count_states(fleet, step) for step in steps),
        pairs=sum(len(group.clients) * len(group.servers) for group in groups),
        judgements=verdicts.judgements,
        ending_clients=tuple(sorted(rotating.current.clients.keys() - rotating.next.clients.keys())),
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """The pairs of a step whose clients hold alike and whose servers hold alike."""

    step: Step
    clients: tuple[str, ...]
    client_holds: Holding
    servers: tuple[str, ...]
    server_holds: Holding


def _groups(fleet: Fleet, rotating: Rotating, step: Step) -> Iterator[_Group]:
    servers = tuple(dict.fromkeys(host.server_name for host in fleet.hosts if host.services))
    kinds = ((fleet.managed_clients, of_managed_clients(step)), (fleet.external_clients, of_external_clients(step)))
    for names, holdings in kinds:
        for client_holds, server_holds in product(holdings, of_servers(step)):
            leaves = rotating.generation(client_holds.leaf).clients
            clients = tuple(name for name in names if name in leaves)
            yield _Group(step, clients, client_holds, servers, server_holds)


def _refusals(group: _Group, rotating: Rotating, verdicts: _Verdicts) -> Iterator[Refusal]:
    """Judge each leaf of a group once, then name every pair that a refused leaf belongs to."""
    client, server = group.client_holds, group.server_holds
    servers = {name: verdicts.server(name, server, client) for name in group.servers if group.clients}
    clients = {name: verdicts.client(name, client, server) for name in group.clients if group.servers}
    if not any(servers.values()) and not any(clients.values()):
        return
    for pair in product(group.clients, group.servers):
        if reason := servers[pair[1]]:
            fix = _fix(group.step, verdicts.alone(Side.SERVER, pair[1], server.leaf), server.leaf)
            yield _refusal(group, pair, f"the client refuses the server leaf: {reason}", fix)
        if reason := clients[pair[0]]:
            fix = _fix(group.step, verdicts.alone(Side.CLIENT, pair[0], client.leaf), client.leaf)
            yield _refusal(group, pair, f"the server refuses the client leaf: {reason}", fix)


def _refusal(group: _Group, pair: tuple[str, str], reason: str, fix: str) -> Refusal:
    client, server = pair
    return Refusal(reason, fix, client, server, group.step, group.client_holds, group.server_holds)


def _fix(step: Step, alone: str | None, leaf: Age) -> str:
    """What to do about a refused leaf, told from whether the bundle of its own generation accepts it."""
    if step[0] is not step[1] and not is_legal(*step):
        return "take the phases one by one, in order"
    if alone is None:
        return "the two generations don't pass side by side: issue the next one with CA DNs of its own, or use downtime"
    if leaf is Age.CURRENT:
        return "this login fails today already: mend the current chain, or replace it with --strategy downtime"
    return "mend the chain spec (`rechain lint`), discard the next generation with `rechain rollback`, issue again"


class _Verdicts:
    """Judgements, each made once."""

    def __init__(self, rotating: Rotating, judge: Judge) -> None:
        self._rotating = rotating
        self._judge = judge
        self._known: dict[tuple[object, ...], str | None] = {}

    @property
    def judgements(self) -> int:
        """How many distinct ones there are."""
        return len(self._known)

    def server(self, name: str, server: Holding, client: Holding) -> str | None:
        """Why the client refuses the server's leaf, or None."""
        return self._verdict(Side.SERVER, name, server, client)

    def client(self, name: str, client: Holding, server: Holding) -> str | None:
        """Why the server refuses the client's leaf, or None."""
        return self._verdict(Side.CLIENT, name, client, server)

    def alone(self, side: Side, name: str, leaf: Age) -> str | None:
        """Why a leaf is refused where its own generation is all that anybody trusts, or None."""
        holding = Holding(leaf, (leaf,))
        return self._verdict(side, name, holding, holding)

    def _verdict(self, side: Side, name: str, presenter: Holding, judging: Holding) -> str | None:
        other = Side.CLIENT if side is Side.SERVER else Side.SERVER
        chain = self._rotating.generation(presenter.leaf).leaves(side)[name]
        trusted = bundle_of(self._rotating, judging.trusts, side)
        # OpenSSL looks into the presenter's own bundle only for a leaf that comes without intermediates.
        own = EMPTY if chain.intermediates else bundle_of(self._rotating, presenter.trusts, other)
        key = (side, name, _fingerprints(chain), _order(trusted), _order(own))
        if key not in self._known:
            ask = self._judge.server_leaf if side is Side.SERVER else self._judge.client_leaf
            self._known[key] = ask(name, chain, trusted, own)
        return self._known[key]


def _fingerprints(chain: LeafChain) -> tuple[str, ...]:
    return (chain.leaf.fingerprint, *(certificate.fingerprint for certificate in chain.intermediates))


def _order(authorities: Bundle) -> tuple[str, ...]:
    return tuple(certificate.fingerprint for certificate in authorities.certificates)


def _refused(fleet: Fleet, refusals: Iterable[Refusal]) -> ProofRefused:
    distinct = tuple(dict.fromkeys(refusals))
    shown = "; ".join(str(refusal) for refusal in distinct[:_SHOWN])
    more = f"; and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else ""
    where = f"environment {fleet.environment}"
    return ProofRefused(where, f"{len(distinct)} refused: {shown}{more}", distinct[0].fix, distinct)


def _count(number: int) -> str:
    return f"{number:,}" if number < _COUNTABLE else f"about 2^{number.bit_length() - 1}"
