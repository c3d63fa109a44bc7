"""The way from a leaf up to a root, as OpenSSL looks for it: through what is presented and what is trusted.

With an outside CA, the way up from a retired leaf may stay trusted: its CA is then the next generation's, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rechain.certificate import Bundle, Certificate, LeafChain
from rechain.certs import Rotating, bundle
from rechain.generation import Side
from rechain.phase import Phase


def climb(certificate: Certificate, authorities: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """The CAs above a certificate, its issuer first: up to a self-signed root, else as far as there are any.

    Of several ways the complete one is taken, of those the one whose certificates end last.

    Args:
        certificate: A leaf, or a CA.
        authorities: CA certificates in any order.
    """
    if is_root(certificate):
        return ()
    issuers = [one for one in authorities if one.is_ca and one != certificate and one.has_issued(certificate)]
    ways = [(one, *climb(one, [other for other in authorities if other != one])) for one in issuers]
    return max(ways, key=_worth, default=())


def is_root(certificate: Certificate) -> bool:
    """Whether a CA signed itself: where a path ends. PostgreSQL and libpq accept no path that ends earlier."""
    return certificate.is_ca and certificate.has_issued(certificate)


def is_trusted(chain: LeafChain, bundle: Bundle) -> bool:
    """Whether a path leads from a leaf, over the intermediates that it is presented with, to a root of a bundle."""
    way = climb(chain.leaf, (*chain.intermediates, *bundle.certificates))
    return bool(way) and is_root(way[-1]) and way[-1].fingerprint in bundle.fingerprints


def still_trusted(rotating: Rotating) -> Mapping[str, LeafChain]:
    """Clients to their leaves of the current generation that servers go on to accept when it is retired.

    They share their CA with the next generation, or with foreign users: no bundle can tell them apart, a revocation
    list alone can.
    """
    trusted = bundle(rotating, Phase.RETIRED, Side.CLIENT)
    return {name: chain for name, chain in rotating.current.clients.items() if is_trusted(chain, trusted)}


def outliving(rotating: Rotating) -> tuple[Certificate, ...]:
    """The leaves of `still_trusted` that are replaced all the same, the one that ends last first."""
    kept = {chain.leaf for chain in rotating.next.clients.values()}
    replaced = (chain.leaf for chain in still_trusted(rotating).values() if chain.leaf not in kept)
    return tuple(sorted(replaced, key=lambda leaf: leaf.not_after, reverse=True))


def _worth(way: Sequence[Certificate]) -> tuple[bool, float]:
    return is_root(way[-1]), min(one.not_after for one in way).timestamp()
