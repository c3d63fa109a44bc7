"""Key usages and extended key usages by the names that OpenSSL and chain specs use."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

SERVER_AUTH = "serverAuth"
CLIENT_AUTH = "clientAuth"
DIGITAL_SIGNATURE = "digitalSignature"

JAVA_KEY_USAGES = (DIGITAL_SIGNATURE, "keyEncipherment", "dataEncipherment")
"""What Java clients ask of both sides' leaves."""

_KEY_USAGES: Mapping[str, str] = {
    DIGITAL_SIGNATURE: "digital_signature",
    "nonRepudiation": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
}
LEAF_KEY_USAGES = tuple(name for name in _KEY_USAGES if name not in {"keyCertSign", "cRLSign"})
CA_KEY_USAGES = ("keyCertSign", "cRLSign")

_EXTENDED_KEY_USAGES: Mapping[str, x509.ObjectIdentifier] = {
    SERVER_AUTH: ExtendedKeyUsageOID.SERVER_AUTH,
    CLIENT_AUTH: ExtendedKeyUsageOID.CLIENT_AUTH,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "timeStamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "OCSPSigning": ExtendedKeyUsageOID.OCSP_SIGNING,
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}
EXTENDED_KEY_USAGES = tuple(_EXTENDED_KEY_USAGES)


def key_usage(names: Collection[str]) -> x509.KeyUsage:
    """The keyUsage extension with the named bits (RFC 5280 section 4.2.1.3)."""
    bits = {field: name in names for name, field in _KEY_USAGES.items()}
    return x509.KeyUsage(**bits, encipher_only=False, decipher_only=False)


def key_usage_names(usage: x509.KeyUsage) -> frozenset[str]:
    """The names of the bits that a keyUsage extension sets."""
    return frozenset(name for name, field in _KEY_USAGES.items() if getattr(usage, field))


def extended_key_usage(names: Collection[str]) -> x509.ExtendedKeyUsage:
    """The extendedKeyUsage extension with the named purposes (RFC 5280 section 4.2.1.12)."""
    return x509.ExtendedKeyUsage(_EXTENDED_KEY_USAGES[name] for name in names)


def read_as(name: str) -> str:
    """How an extended key usage of a spec appears on a certificate that was read: by its name, or by its OID."""
    return name if name in (SERVER_AUTH, CLIENT_AUTH) else _EXTENDED_KEY_USAGES[name].dotted_string
