"""Which chain OpenSSL builds for a leaf at a given moment, and which certificate breaks it.

The model follows X509_verify_cert of OpenSSL 3 as libpq and PostgreSQL use it: issuers are looked for in the bundle
first, among those whose name, key identifier and validity fit; of CAs that fit by name but have ended, the one that
ended last is taken, and refused. Only when the bundle has none is one of those taken that the peer sent. A chain must
end at a self-signed certificate of the bundle. No signature is looked at until the chain stands.

References: openssl-verification-options(1), "Trust Anchors" and "Certification Path Building".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rechain.certificate import Bundle, Certificate, LeafChain

_DEEPEST = 10


@dataclass(frozen=True, slots=True)
class Broken:
    """Why a leaf is refused.

    Attributes:
        certificate: The one at fault: it ended, is not valid yet, or its issuer is unknown.
        why: In words that continue its name: `has ended`, `is not valid yet`, `has no issuer in the bundle`.
    """

    certificate: Certificate
    why: str


def refusal(chain: LeafChain, bundle: Bundle, moment: datetime) -> Broken | None:
    """Why a peer that trusts a bundle refuses a leaf at a moment; None when it accepts it.

    Args:
        chain: The leaf and what is sent with it.
        bundle: What the peer trusts, in the order of its file.
        moment: Aware UTC instant.
    """
    path = [chain.leaf]
    while not _ends(path[-1], bundle):
        issuer = _issuer(path[-1], bundle.certificates, moment) or _issuer(path[-1], chain.intermediates, moment)
        if issuer is None or issuer in path or len(path) > _DEEPEST:
            return Broken(path[-1], "has no issuer in the bundle")
        path.append(issuer)
    return _at_fault(path, moment)


def moments(chains: Iterable[LeafChain], bundles: Iterable[Bundle]) -> tuple[datetime, ...]:
    """The instants at which a verdict may change, ascending: the beginnings and ends of all validities."""
    certificates = [one for chain in chains for one in (chain.leaf, *chain.intermediates)]
    certificates += [one for bundle in bundles for one in bundle.certificates]
    return tuple(sorted({instant for one in certificates for instant in (one.not_before, one.not_after)}))


def _ends(certificate: Certificate, bundle: Bundle) -> bool:
    return certificate.is_self_issued and certificate.fingerprint in bundle.fingerprints


def _issuer(child: Certificate, among: Sequence[Certificate], moment: datetime) -> Certificate | None:
    fitting = [ca for ca in among if ca.is_ca and ca.subject == child.issuer and _identifies(child, ca)]
    valid = [ca for ca in fitting if _is_valid(ca, moment)]
    return valid[0] if valid else max(fitting, key=lambda ca: ca.not_after, default=None)


def _identifies(child: Certificate, ca: Certificate) -> bool:
    return child.aki is None or ca.ski is None or child.aki == ca.ski


def _at_fault(path: Sequence[Certificate], moment: datetime) -> Broken | None:
    """The first fault from the root down: OpenSSL judges signatures and dates in that order."""
    for depth in range(len(path) - 1, -1, -1):
        issuer, certificate = path[min(depth + 1, len(path) - 1)], path[depth]
        if not issuer.has_issued(certificate):
            return Broken(certificate, "was not signed by the CA of that name in the bundle")
        if moment >= certificate.not_after:
            return Broken(certificate, "has ended")
        if moment < certificate.not_before:
            return Broken(certificate, "is not valid yet")
    return None


def _is_valid(certificate: Certificate, moment: datetime) -> bool:
    return certificate.not_before <= moment < certificate.not_after
