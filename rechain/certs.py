"""The public half of what a phase deploys: the content of certs.yml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rechain.certificate import EMPTY, Bundle, Certificate, LeafChain, merge
from rechain.crl import Crl, crls_of
from rechain.generation import Generation, Side
from rechain.phase import Age, Phase, material


@dataclass(frozen=True, slots=True)
class Certs:
    """The content of certs.yml: `certs.{server,client}.{chain,NAME}`, and `certs.crl.client` where servers read lists.

    Attributes:
        server_chain: Server bundle, what clients trust.
        client_chain: Client bundle, what servers trust.
        servers: Server name to leaf and intermediate.
        clients: Client name to leaf and intermediate.
        crls: Revocation lists of the CAs in the client bundle; empty where no server reads any.
    """

    server_chain: Bundle
    client_chain: Bundle
    servers: Mapping[str, LeafChain]
    clients: Mapping[str, LeafChain]
    crls: tuple[Crl, ...] = ()

    def chain(self, side: Side) -> Bundle:
        """The bundle of one side."""
        return self.server_chain if side is Side.SERVER else self.client_chain

    def leaves(self, side: Side) -> Mapping[str, LeafChain]:
        """The leaves of one side, by name."""
        return self.servers if side is Side.SERVER else self.clients


@dataclass(frozen=True, slots=True)
class ForeignCAs:
    """CA certificates in deployed bundles that belong to no known generation: kept in every phase."""

    server: Bundle = EMPTY
    client: Bundle = EMPTY

    def of(self, side: Side) -> Bundle:
        """The foreign CAs of one side's bundle."""
        return self.server if side is Side.SERVER else self.client


@dataclass(frozen=True, slots=True)
class Rotating:
    """The two generations of a rotation and the foreign CAs that accompany them.

    Attributes:
        current: The generation that is left.
        next: The generation that arrives.
        foreign: CAs of others in the bundles.
        crls: Every revocation list that is known of CAs above clients; empty where no server reads any.
    """

    current: Generation
    next: Generation
    foreign: ForeignCAs
    crls: tuple[Crl, ...] = ()

    def generation(self, age: Age) -> Generation:
        """The current or the next generation."""
        return self.current if age is Age.CURRENT else self.next


def compose(rotating: Rotating, phase: Phase) -> Certs:
    """Put together what certs.yml holds in a phase: next generation first, then foreign CAs."""
    deployed, trusted = material(phase), bundle(rotating, phase, Side.CLIENT)
    return Certs(
        server_chain=bundle(rotating, phase, Side.SERVER),
        client_chain=trusted,
        servers=rotating.generation(deployed.server_leaves).servers,
        clients=rotating.generation(deployed.client_leaves).clients,
        crls=crls_of(trusted, rotating.crls),
    )


def bundle(rotating: Rotating, phase: Phase, side: Side) -> Bundle:
    """One side's bundle in a phase."""
    return bundle_of(rotating, material(phase).bundles, side)


def bundle_of(rotating: Rotating, ages: Iterable[Age], side: Side) -> Bundle:
    """One side's bundle of some generations, in the order given, then the foreign CAs."""
    generations = [rotating.generation(age).bundle(side) for age in ages]
    return merge(*generations, rotating.foreign.of(side))


def foreign_cas(
    certs: Certs, generations: Iterable[Generation], kept: Mapping[int, Certs] = MappingProxyType({})
) -> ForeignCAs:
    """The CA certificates of deployed bundles that no known generation accounts for.

    An organisation's CA that signs a later generation stays foreign where its own users needed it before that.

    Args:
        certs: What is deployed.
        generations: Every known generation.
        kept: Generation number to what was deployed with it, as far as that is kept.
    """
    known = list(generations)
    return ForeignCAs(_foreign(certs, known, kept, Side.SERVER), _foreign(certs, known, kept, Side.CLIENT))


def foreign_issuers(foreign: ForeignCAs) -> tuple[Certificate, ...]:
    """The foreign CAs that clients log in under: those in the client bundle with no other foreign CA below them."""
    authorities = foreign.client.certificates
    above = {ca.issuer for ca in authorities if not ca.is_self_issued}
    return tuple(ca for ca in authorities if ca.subject not in above)


def _foreign(certs: Certs, known: Sequence[Generation], kept: Mapping[int, Certs], side: Side) -> Bundle:
    deployed = certs.chain(side)
    earlier = (_unknown(held.chain(side), _until(known, number), side) for number, held in kept.items())
    strangers = merge(_unknown(deployed, known, side), *earlier).fingerprints
    return Bundle(tuple(one for one in deployed.certificates if one.fingerprint in strangers))


def _until(generations: Iterable[Generation], number: int) -> list[Generation]:
    return [one for one in generations if one.number <= number]


def _unknown(deployed: Bundle, generations: Iterable[Generation], side: Side) -> Bundle:
    known = {fingerprint for generation in generations for fingerprint in generation.bundle(side).fingerprints}
    return Bundle(tuple(certificate for certificate in deployed.certificates if certificate.fingerprint not in known))


def adopt(certs: Certs, number: int) -> Generation:
    """Take an environment that chainsmith made as a generation.

    Its own CAs are those above its leaves; any other CA in the bundle is foreign.
    """
    return Generation(
        number=number,
        server_bundle=_own(certs.server_chain, certs.servers.values()),
        client_bundle=_own(certs.client_chain, certs.clients.values()),
        servers=dict(certs.servers),
        clients=dict(certs.clients),
    )


def _own(deployed: Bundle, leaves: Iterable[LeafChain]) -> Bundle:
    """The CAs of a bundle that stand above some leaf, over the intermediates that the leaf is presented with."""
    wanted = [certificate for chain in leaves for certificate in (chain.leaf, *chain.intermediates)]
    found: dict[str, Certificate] = {}
    while wanted:
        child = wanted.pop()
        for candidate in deployed.certificates:
            if candidate.fingerprint not in found and candidate.has_issued(child):
                found[candidate.fingerprint] = candidate
                wanted.append(candidate)
    return Bundle(tuple(certificate for certificate in deployed.certificates if certificate.fingerprint in found))
