"""X.509 certificates as values: read once from PEM, compared by fingerprint."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rechain.errors import PemError

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_USAGE_NAMES = {ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth", ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth"}


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
        public_key: Lower-case hex SHA-256 of the SubjectPublicKeyInfo; equal for a certificate and its key.
        ski: Subject key identifier as hex, or None.
        aki: Authority key identifier's keyid as hex, or None.
        extended_key_usages: Names (`serverAuth`, `clientAuth`) or dotted OIDs; None without the extension.
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
    public_key: str
    ski: str | None
    aki: str | None
    extended_key_usages: frozenset[str] | None

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
    """Make the value of a certificate that `cryptography` built or parsed."""
    return Certificate(
        pem=certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        common_name=_common_name(certificate.subject),
        names=_alternative_names(certificate),
        is_ca=_is_ca(certificate),
        public_key=public_key_digest(certificate.public_key()),
        ski=_subject_key_identifier(certificate),
        aki=_authority_key_identifier(certificate),
        extended_key_usages=_extended_key_usages(certificate),
    )


def public_key_digest(key: object) -> str:
    """Lower-case hex SHA-256 of a public key's SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7)."""
    der = key.public_bytes(  # type: ignore[attr-defined]  # cryptography's public keys share no base class
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    return digest.finalize().hex()


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


def _common_name(name: x509.Name) -> str | None:
    values = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(values[-1].value) if values else None


def _alternative_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _subject_key_identifier(certificate: x509.Certificate) -> str | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    except x509.ExtensionNotFound:
        return None


def _authority_key_identifier(certificate: x509.Certificate) -> str | None:
    try:
        identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    return identifier.hex() if identifier else None


def _extended_key_usages(certificate: x509.Certificate) -> frozenset[str] | None:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    return frozenset(_USAGE_NAMES.get(usage, usage.dotted_string) for usage in usages)
