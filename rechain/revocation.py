"""Revocation: which certificates may no longer log in, and the signed lists that make servers refuse them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rechain.certificate import Bundle, Certificate, LeafChain
from rechain.crl import Crl, from_x509, newest
from rechain.generation import Generation
from rechain.issue import Authority
from rechain.x509_parts import public_key_digest

LIFETIME = timedelta(days=90)
"""How long a list is valid that is looked at every night."""
MARGIN = timedelta(days=60)
"""What must be left of it in the morning: two months of failed nights stop nobody, and scans warn in the second."""
_BACKDATED = timedelta(minutes=5)  # hosts' clocks run behind by less than that


@dataclass(frozen=True, slots=True)
class Revoked:
    """A certificate that may no longer log in, though it has not expired.

    Attributes:
        client: Whose it is.
        generation: The generation that it belongs to.
        serial: Its serial number.
        issuer: RFC 4514 string of the CA that issued it.
        reason: Why, in a person's words.
        who: Who revoked it.
        when: When, aware UTC.
    """

    client: str
    generation: int
    serial: int
    issuer: str
    reason: str
    who: str
    when: datetime


def signers(bundle: Bundle, ca_keys: Mapping[str, str]) -> tuple[tuple[Certificate, Authority], ...]:
    """The CAs of a bundle whose keys are ours, each able to sign its list; in the bundle's order."""
    keys = [load_pem_private_key(text.encode(), None) for text in ca_keys.values()]
    fitting = {public_key_digest(key.public_key()): key for key in keys}
    return tuple(
        (one, Authority(x509.load_pem_x509_certificate(one.pem.encode()), fitting[one.public_key]))  # type: ignore[arg-type]  # what CA keys are
        for one in bundle.certificates
        if one.public_key in fitting
    )


def first_crls(
    bundle: Bundle,
    ca_keys: Mapping[str, str],
    *,
    now: datetime,
    kept: Mapping[str, str],
    known: Collection[Crl] = (),
) -> tuple[Crl, ...]:
    """The first, empty lists of a client chain, signed while its CA keys are at hand.

    Args:
        bundle: The CAs of the chain.
        ca_keys: Their keys.
        now: Aware UTC instant.
        kept: Those of the keys that are kept. A CA whose key is discarded can't sign another list: this one lasts as
            long as the CA itself.
        known: Lists that exist. A CA that is carried over from the present generation needs no other one: its own
            names what it revoked.
    """
    lists, renewing = [], {certificate.fingerprint for certificate, _ in signers(bundle, kept)}
    for certificate, authority in signers(bundle, ca_keys):
        if newest(certificate, known):
            continue
        until = now + LIFETIME if certificate.fingerprint in renewing else certificate.not_after
        lists.append(sign(authority, (), number=1, now=now, until=until))
    return tuple(lists)


def sign(authority: Authority, revoked: Iterable[Revoked], *, number: int, now: datetime, until: datetime) -> Crl:
    """Sign a CA's revocation list.

    Args:
        authority: The CA; its certificate must allow cRLSign.
        revoked: The certificates on it.
        number: Higher than that of every list which it signed before.
        now: Aware UTC instant; the list is valid from 5 minutes earlier.
        until: When it ends, aware UTC; no later than the CA itself.

    References: RFC 5280 sections 5.1 and 5.2; PostgreSQL documentation, `ssl_crl_file`.
    """
    certificate, moment = authority.certificate, now.replace(microsecond=0)
    identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(certificate.subject)
        .last_update(moment - _BACKDATED)
        .next_update(min(until, certificate.not_valid_after_utc).replace(microsecond=0))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    for one in revoked:
        builder = builder.add_revoked_certificate(_entry(one))
    return from_x509(builder.sign(authority.key, hashes.SHA256()))


def renewed(
    bundle: Bundle, ca_keys: Mapping[str, str], known: Collection[Crl], revoked: Collection[Revoked], now: datetime
) -> tuple[Crl, ...]:
    """Sign the lists that are due, of the CAs whose keys are ours; none when all of them hold.

    Args:
        bundle: The CAs above clients.
        ca_keys: The CA keys that are kept.
        known: The lists that exist.
        revoked: All that has ever been revoked.
        now: Aware UTC instant.
    """
    lists = []
    for certificate, authority in signers(bundle, ca_keys):
        mine, present = _issued_by(certificate, revoked), newest(certificate, known)
        if _is_due(certificate, present, mine, now):
            number = (present.number or 0) + 1 if present else 1
            lists.append(sign(authority, mine, number=number, now=now, until=now + LIFETIME))
    return tuple(lists)


def due(bundle: Bundle, known: Collection[Crl], revoked: Collection[Revoked], now: datetime) -> Bundle:
    """The CAs of a bundle that lack a list which holds for a while and names all that it must."""
    return Bundle(
        tuple(one for one in bundle.certificates if _is_due(one, newest(one, known), _issued_by(one, revoked), now))
    )


def leaves_of(client: str, generations: Iterable[Generation], *, reason: str, who: str, now: datetime) -> list[Revoked]:
    """What revoking a client means: its leaf in each of some generations."""
    return [
        Revoked(client, one.number, leaf.leaf.serial, leaf.leaf.issuer, reason, who, now)
        for one in generations
        if (leaf := one.clients.get(client))
    ]


def refused_clients(revoked: Iterable[Revoked], presented: Iterable[Mapping[str, LeafChain]]) -> frozenset[str]:
    """Clients of which a leaf is revoked.

    Args:
        revoked: What servers refuse.
        presented: Client name to leaf, in each generation and wherever else leaves are in use.
    """
    serials = {one.serial for one in revoked}
    return frozenset(name for leaves in presented for name, chain in leaves.items() if chain.leaf.serial in serials)


def _issued_by(authority: Certificate, revoked: Iterable[Revoked]) -> list[Revoked]:
    return [one for one in revoked if one.issuer == authority.subject]


def _is_due(authority: Certificate, crl: Crl | None, revoked: Iterable[Revoked], now: datetime) -> bool:
    if crl is None or {one.serial for one in revoked} - crl.serials:
        return True
    return crl.next_update is not None and crl.next_update < min(now + MARGIN, authority.not_after)


def _entry(one: Revoked) -> x509.RevokedCertificate:
    return (
        x509.RevokedCertificateBuilder()
        .serial_number(one.serial)
        .revocation_date(one.when.replace(microsecond=0))
        .build()
    )
