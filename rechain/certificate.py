"""X.509 certificates as values: read once from PEM, compared by fingerprint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from rechain import x509_parts
from rechain.errors import PemError
from rechain.x509_parts import public_key_digest

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One X.509 certificate.

    Attributes:
        pem: The certificate as PEM, ending in a newline.
        fingerprint: Lower-case hex SHA-256 of the DER.
        subject: RFC 4514 string of the subject.
        issuer: RFC 4514 string of the issuer.
        serial: The serial number.
        not_before: First instant of validity, aware UTC.
        not_after: Last instant of validity, aware UTC.
        common_name: The subject's CN, or None.
        names: DNS names and IP addresses of the subject alternative name, as text.
        is_ca: Whether basicConstraints says CA.
        ski: Subject key identifier as hex, or None.
        aki: Authority key identifier's keyid as hex, or None.
        extended_key_usages: Names (`serverAuth`, `clientAuth`) or dotted OIDs; None without the extension.
        key_usages: Names of the bits of keyUsage; None without the extension.
        key_kind: Kind of the public key: `RSA`, `EC`, `DSA`, or another's name.
        key_bits: Its size; 0 where that says nothing.
        signature_hash: Name of the signature's hash, as in `sha256`; None where the algorithm has none of its own.
    """

    pem: str
    fingerprint: str
    subject: str
    issuer: str
    serial: int
    not_before: datetime
    not_after: datetime
    common_name: str | None
    names: tuple[str, ...]
    is_ca: bool
    ski: str | None
    aki: str | None
    extended_key_usages: frozenset[str] | None
    key_usages: frozenset[str] | None
    key_kind: str
    key_bits: int
    signature_hash: str | None

    @property
    def public_key(self) -> str:
        """Lower-case hex SHA-256 of the SubjectPublicKeyInfo; equal for a certificate and its key."""
        return public_key_digest(_parsed(self).public_key())

    @property
    def common_names(self) -> tuple[str, ...]:
        """Every CN of the subject: programs differ in which of several they read."""
        return x509_parts.common_names(_parsed(self).subject)

    @property
    def is_self_issued(self) -> bool:
        """Whether subject and issuer are the same name, as in a root CA."""
        return self.subject == self.issuer

    def has_issued(self, child: Certificate) -> bool:
        """Whether this certificate's key signed the other one. Names alone don't tell CAs of equal DNs apart."""
        if self.subject != child.issuer:
            return False
        try:
            _parsed(child).verify_directly_issued_by(_parsed(self))
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Bundle:
    """The CA certificates that a peer trusts, in the order of the file."""

    certificates: tuple[Certificate, ...]

    @property
    def pem(self) -> str:
        """The bundle as the text of a file."""
        return "".join(certificate.pem for certificate in self.certificates)

    @property
    def fingerprints(self) -> frozenset[str]:
        """The fingerprints of its certificates."""
        return frozenset(certificate.fingerprint for certificate in self.certificates)


EMPTY = Bundle(())


@dataclass(frozen=True, slots=True)
class LeafChain:
    """A leaf and the intermediates that are presented with it, leaf first."""

    leaf: Certificate
    intermediates: tuple[Certificate, ...]

    @property
    def pem(self) -> str:
        """What `ssl_cert_file` or `sslcert` holds."""
        return self.leaf.pem + "".join(certificate.pem for certificate in self.intermediates)


def merge(*bundles: Bundle) -> Bundle:
    """Join bundles in the order given, each certificate once."""
    return unique(certificate for bundle in bundles for certificate in bundle.certificates)


def unique(certificates: Iterable[Certificate]) -> Bundle:
    """Make a bundle in which every certificate stands once, at its first place."""
    return Bundle(tuple({certificate.fingerprint: certificate for certificate in certificates}.values()))


def read_certificates(text: str, where: str) -> tuple[Certificate, ...]:
    """Read every certificate of a PEM text.

    Args:
        text: One or more PEM certificates; text between them is ignored, as OpenSSL does.
        where: What to call the text in an error.

    Raises:
        PemError: There is no certificate, one can't be parsed, or two run together on one line.
    """
    _refuse_joined_lines(text, where)
    certificates = tuple(_read_one(block, where) for block in _BLOCK.findall(text))
    if not certificates:
        raise PemError(where, "holds no PEM certificate", "put the certificate there, or remove the entry")
    return certificates


def read_leaf_chain(text: str, where: str) -> LeafChain:
    """Read a leaf followed by its intermediates. Raises PemError as `read_certificates` does."""
    leaf, *intermediates = read_certificates(text, where)
    return LeafChain(leaf, tuple(intermediates))


def read_bundle(text: str, where: str) -> Bundle:
    """Read a bundle in the order of its file. Raises PemError as `read_certificates` does."""
    return Bundle(read_certificates(text, where))


def from_x509(certificate: x509.Certificate) -> Certificate:
    """Make the value of a certificate that `cryptography` built or parsed. Each part is asked for once."""
    der, subject = certificate.public_bytes(serialization.Encoding.DER), certificate.subject
    kind, bits = x509_parts.key_strength(certificate)
    extensions = {type(one.value): one.value for one in certificate.extensions}
    return Certificate(
        pem=x509_parts.armoured(der),
        fingerprint=hashlib.sha256(der).hexdigest(),
        subject=x509_parts.text(subject),
        issuer=x509_parts.text(certificate.issuer),
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        common_name=x509_parts.common_name(subject),
        names=x509_parts.alternative_names(extensions),
        is_ca=x509_parts.is_ca(extensions),
        ski=x509_parts.subject_key_identifier(extensions),
        aki=x509_parts.authority_key_identifier(extensions),
        extended_key_usages=x509_parts.extended_key_usages(extensions),
        key_usages=x509_parts.key_usages(extensions),
        key_kind=kind,
        key_bits=bits,
        signature_hash=x509_parts.signature_hash(certificate),
    )


def _refuse_joined_lines(text: str, where: str) -> None:
    if "-----END CERTIFICATE----------BEGIN" in text:
        raise PemError(
            where,
            "two PEM blocks share a line, and OpenSSL rejects the whole file",
            "put a newline between -----END CERTIFICATE----- and -----BEGIN",
        )


def _read_one(block: str, where: str) -> Certificate:
    try:
        return from_x509(x509.load_pem_x509_certificate(block.encode("ascii", "replace")))
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise PemError(where, f"a PEM certificate can't be parsed: {error}", "replace it by a whole one") from None


def _parsed(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.pem.encode("ascii"))
