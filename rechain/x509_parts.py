"""The parts of an X.509 certificate that rechain looks at, each read once from what `cryptography` parsed."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rechain.usages import key_usage_names

_LINE = 64
_USAGE_NAMES = {ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth", ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth"}

Extensions = Mapping[type[x509.ExtensionType], x509.ExtensionType]


def armoured(der: bytes) -> str:
    """A certificate as PEM (RFC 7468)."""
    text = binascii.b2a_base64(der, newline=False).decode("ascii")
    lines = (text[start : start + _LINE] for start in range(0, len(text), _LINE))
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


@lru_cache(maxsize=4096)
def text(name: x509.Name) -> str:
    """The RFC 4514 string of a name; a fleet's certificates share few issuers."""
    return name.rfc4514_string()


def common_name(name: x509.Name) -> str | None:
    """The subject's CN, the last where there are several; None without one."""
    values = common_names(name)
    return values[-1] if values else None


def common_names(name: x509.Name) -> tuple[str, ...]:
    """Every CN of a subject, in order."""
    return tuple(str(attribute.value) for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME))


def alternative_names(extensions: Extensions) -> tuple[str, ...]:
    """DNS names and IP addresses of the subject alternative name, as text."""
    names = extensions.get(x509.SubjectAlternativeName)
    if not isinstance(names, x509.SubjectAlternativeName):
        return ()
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def is_ca(extensions: Extensions) -> bool:
    """Whether basicConstraints says CA."""
    constraints = extensions.get(x509.BasicConstraints)
    return isinstance(constraints, x509.BasicConstraints) and constraints.ca


def subject_key_identifier(extensions: Extensions) -> str | None:
    """The subject key identifier as hex, or None."""
    identifier = extensions.get(x509.SubjectKeyIdentifier)
    return identifier.digest.hex() if isinstance(identifier, x509.SubjectKeyIdentifier) else None


def authority_key_identifier(extensions: Extensions) -> str | None:
    """The authority key identifier's keyid as hex, or None."""
    identifier = extensions.get(x509.AuthorityKeyIdentifier)
    keyid = identifier.key_identifier if isinstance(identifier, x509.AuthorityKeyIdentifier) else None
    return keyid.hex() if keyid else None


def extended_key_usages(extensions: Extensions) -> frozenset[str] | None:
    """Names (`serverAuth`, `clientAuth`) or dotted OIDs; None without the extension."""
    usages = extensions.get(x509.ExtendedKeyUsage)
    if not isinstance(usages, x509.ExtendedKeyUsage):
        return None
    return frozenset(_USAGE_NAMES.get(usage, usage.dotted_string) for usage in usages)


def key_usages(extensions: Extensions) -> frozenset[str] | None:
    """Names of the bits of keyUsage; None without the extension."""
    usage = extensions.get(x509.KeyUsage)
    return key_usage_names(usage) if isinstance(usage, x509.KeyUsage) else None


def key_strength(certificate: x509.Certificate) -> tuple[str, int]:
    """Kind of the public key (`RSA`, `EC`, `DSA`, or another's class name) and its bits, 0 where that says nothing."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unknown", 0
    kind = type(key).__name__.removesuffix("PublicKey")
    return {"EllipticCurve": "EC"}.get(kind, kind), int(getattr(key, "key_size", 0))


def signature_hash(certificate: x509.Certificate) -> str | None:
    """Name of the signature's hash, as in `sha256`; None where the algorithm has none of its own."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    return algorithm.name if algorithm else None


def public_key_digest(key: object) -> str:
    """Lower-case hex SHA-256 of a public key's SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7)."""
    der = key.public_bytes(  # type: ignore[attr-defined]  # cryptography's public keys share no base class
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    return digest.finalize().hex()
