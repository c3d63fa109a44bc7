"""A next generation of which some certificates come from an outside CA.

What was not asked for is issued by our own CA; or, when a few leaves alone were asked for, it is carried over as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rechain.certificate import Bundle, LeafChain, from_x509, merge, unique
from rechain.certs import Certs, adopt
from rechain.generation import PrivateKeys, Side
from rechain.issue import Authority, Issued, PrivateKey, issue_intermediate, issue_leaves, issue_root, pem
from rechain.judge import HandshakeJudge, Judge
from rechain.returned import Problem, Returned
from rechain.signing_request import Wanted, names_of
from rechain.spec import ChainSpec, KeyType


@dataclass(frozen=True, slots=True, repr=False)
class Answered:
    """Requests that an outside CA has answered, with the keys that were made for them. Its text form shows no key.

    Attributes:
        certificates: What was asked for, to what came back.
        keys: The leaves' private keys, PEM.
        ca_keys: Side to the private key of its intermediate, where that was asked for.
        carried: The present generation and its keys, when it keeps all that was not asked for; else None.
    """

    certificates: Mapping[Wanted, Returned]
    keys: PrivateKeys
    ca_keys: Mapping[str, str]
    carried: Issued | None = None

    def __repr__(self) -> str:
        return f"Answered({len(self.certificates)} certificates, {self.keys!r})"

    def of(self, side: Side) -> dict[str, Returned]:
        """The leaves of a side that came back, by name."""
        return {wanted.name: one for wanted, one in self.certificates.items() if wanted.side is side and wanted.name}


@dataclass(frozen=True, slots=True, repr=False)
class _Issuing:
    """How our own CA issues what was not asked for."""

    spec: ChainSpec
    number: int
    now: datetime
    supply: Iterator[PrivateKey]


@dataclass(frozen=True, slots=True, repr=False)
class _Part:
    """One side of the next generation."""

    bundle: Bundle
    leaves: Mapping[str, LeafChain]
    keys: Mapping[str, str]
    ca_keys: Mapping[str, str] = field(default_factory=dict)


def own_key_types(spec: ChainSpec, asked: Collection[Wanted], *, carries: bool) -> tuple[KeyType, ...]:
    """The keys that `assemble` takes for what our own CA issues, in the order in which it uses them."""
    if carries:
        return ()
    types: list[KeyType] = []
    for side in Side:
        key, leaves = spec.intermediate(side).key, [spec.intermediate(side).key for _ in names_of(spec, side)]
        if Wanted(side, None) in asked:
            types += leaves
        elif not any(wanted.side is side for wanted in asked):
            types += [spec.root_key, key, *leaves]
    return tuple(types)


def assemble(spec: ChainSpec, number: int, answered: Answered, *, now: datetime, keys: Sequence[PrivateKey]) -> Issued:
    """Put a next generation together.

    Args:
        spec: What our own CA issues is to look like.
        number: The generation's number.
        answered: What came back, judged.
        now: Aware UTC instant.
        keys: One private key for each of `own_key_types`.
    """
    how = _Issuing(spec, number, now, iter(keys))
    parts = {side: _part(how, side, answered) for side in Side}
    server, client = (parts[side] for side in Side)
    carried = answered.carried.ca_keys if answered.carried else {}
    # `adopt` leaves the CAs above the leaves alone, as it will when the folder is read.
    generation = adopt(Certs(server.bundle, client.bundle, server.leaves, client.leaves), number)
    return Issued(generation, PrivateKeys(server.keys, client.keys), {**carried, **server.ca_keys, **client.ca_keys})


def refused_paths(issued: Issued, sides: Collection[Side], fallback: Judge | None = None) -> Iterator[Problem]:
    """Leaves of some sides that a peer refuses, by a TLS handshake that checks purpose, name and the whole path.

    Args:
        issued: The next generation.
        sides: Those of which anything came back.
        fallback: Judges leaves that are carried over and whose keys are not ours.
    """
    generation = issued.generation
    judge = HandshakeJudge({generation.number: issued.keys}, fallback)
    for side in sides:
        ask = judge.server_leaf if side is Side.SERVER else judge.client_leaf
        for name, chain in generation.leaves(side).items():
            if reason := ask(name, chain, generation.bundle(side)):
                fix = "have the CA issue again what OpenSSL refuses: `openssl verify -purpose` says more"
                yield Problem(f"{side} {name}", f"its peer refuses it: {reason}", fix)


def _part(how: _Issuing, side: Side, answered: Answered) -> _Part:
    intermediate, leaves = answered.certificates.get(Wanted(side, None)), answered.of(side)
    if answered.carried:
        return _carried(how.spec, side, answered, answered.carried)
    if intermediate:
        return _below(how, side, intermediate, answered.ca_keys[side.value])
    return _outside(leaves, answered.keys.of(side)) if leaves else _own(how, side)


def _outside(leaves: Mapping[str, Returned], keys: Mapping[str, str]) -> _Part:
    return _Part(_bundle(leaves.values()), {name: _presented(one) for name, one in leaves.items()}, keys)


def _below(how: _Issuing, side: Side, intermediate: Returned, key_pem: str) -> _Part:
    """Leaves of our own below an intermediate that an outside CA signed."""
    certificate = x509.load_pem_x509_certificate(intermediate.certificate.pem.encode())
    authority = Authority(certificate, load_pem_private_key(key_pem.encode(), None))  # type: ignore[arg-type]
    issued = issue_leaves(how.spec, side, authority, now=how.now, keys=how.supply)
    presented = _presented(intermediate)
    between = (presented.leaf, *presented.intermediates)
    return _Part(
        Bundle((intermediate.certificate, *intermediate.above)),
        {name: LeafChain(chain.leaf, between) for name, (chain, _) in issued.items()},
        {name: key for name, (_, key) in issued.items()},
        {side.value: key_pem},
    )


def _own(how: _Issuing, side: Side) -> _Part:
    spec, now = how.spec, how.now
    root = issue_root(spec, how.number, now=now, key=next(how.supply))
    authority = issue_intermediate(spec, side, how.number, root, now=now, key=next(how.supply))
    issued = issue_leaves(spec, side, authority, now=now, keys=how.supply)
    return _Part(
        Bundle((from_x509(authority.certificate), from_x509(root.certificate))),
        {name: chain for name, (chain, _) in issued.items()},
        {name: key for name, (_, key) in issued.items()},
        {"root": pem(root.key), side.value: pem(authority.key)},
    )


def _carried(spec: ChainSpec, side: Side, answered: Answered, present: Issued) -> _Part:
    """The side as it is now, but for the leaves that came back."""
    fresh, names = _outside(answered.of(side), answered.keys.of(side)), names_of(spec, side)
    leaves: dict[str, LeafChain] = {**present.generation.leaves(side), **fresh.leaves}
    keys = {**present.keys.of(side), **fresh.keys}
    return _Part(
        merge(fresh.bundle, present.generation.bundle(side)),
        {name: leaves[name] for name in names},
        {name: keys[name] for name in names if name in keys},
    )


def _bundle(returned: Collection[Returned]) -> Bundle:
    """Intermediates, then roots."""
    authorities = [authority for one in returned for authority in one.above]
    return unique(sorted(authorities, key=lambda authority: authority.is_self_issued))


def _presented(returned: Returned) -> LeafChain:
    """The certificate with what is between it and the root."""
    return LeafChain(returned.certificate, returned.above[:-1])
