"""Certificate revocation lists as values (RFC 5280 section 5)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from rechain.certificate import Bundle, Certificate
from rechain.errors import PemError

_BLOCK = re.compile(r"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Crl:
    """One revocation list.

    Attributes:
        pem: The list as PEM, ending in a newline.
        issuer: RFC 4514 string of the CA's name.
        aki: Key identifier of the CA's key as hex, or None.
        number: Its number, which grows with each list of a CA; None without one.
        this_update: When it was made, aware UTC.
        next_update: When it ends, aware UTC; None when it never does.
        serials: Serial numbers of the certificates that it revokes.
    """

    pem: str
    issuer: str
    aki: str | None
    number: int | None
    this_update: datetime
    next_update: datetime | None
    serials: frozenset[int]

    @property
    def fingerprint(self) -> str:
        """Lower-case hex SHA-256 of the DER."""
        der = x509.load_pem_x509_crl(self.pem.encode("ascii")).public_bytes(serialization.Encoding.DER)
        return hashlib.sha256(der).hexdigest()

    def is_signed_by(self, authority: Certificate) -> bool:
        """Whether a CA made it: OpenSSL goes by the name, and then the signature must fit."""
        if self.issuer != authority.subject:
            return False
        key = x509.load_pem_x509_certificate(authority.pem.encode("ascii")).public_key()
        try:
            return x509.load_pem_x509_crl(self.pem.encode("ascii")).is_signature_valid(key)  # type: ignore[arg-type]  # other kinds of key raise
        except (TypeError, UnsupportedAlgorithm):
            return False


def read_crls(text: str, where: str) -> tuple[Crl, ...]:
    """Read every revocation list of a PEM text.

    Raises:
        PemError: There is none, or one can't be parsed.
    """
    blocks = _BLOCK.findall(text)
    if not blocks:
        raise PemError(where, "holds no PEM revocation list", "put the list there, or remove the file")
    return tuple(_read(block, where) for block in blocks)


def read_given_crls(content: bytes, where: str) -> tuple[Crl, ...]:
    """Read every revocation list of a file as its owner publishes it: PEM, with or without text around it, or DER.

    Args:
        content: The file, as it is.
        where: What to call it in an error.

    Raises:
        PemError: There is none, or one can't be parsed.

    References: RFC 7468 section 6; RFC 5280 section 4.2.1.13 for DER, which a distribution point serves.
    """
    if b"-----BEGIN" in content:
        return read_crls(content.decode("utf-8", "replace"), where)
    try:
        return (from_x509(x509.load_der_x509_crl(content)),)
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion):
        raise PemError(where, "holds no revocation list", "give the list as PEM or DER") from None


def crls_of(bundle: Bundle, known: Iterable[Crl]) -> tuple[Crl, ...]:
    """The newest list of each CA of a bundle, in the bundle's order; a CA without one is left out."""
    lists = tuple(known)
    found = (newest(authority, lists) for authority in bundle.certificates)
    return tuple(dict.fromkeys(crl for crl in found if crl))


def newest(authority: Certificate, known: Iterable[Crl]) -> Crl | None:
    """The newest list that a CA signed; None when it signed none of them."""
    lists = [crl for crl in known if crl.is_signed_by(authority)]
    return max(lists, key=lambda crl: (crl.this_update, crl.number or 0), default=None)


def unlisted(bundle: Bundle, known: Iterable[Crl], now: datetime) -> tuple[tuple[Certificate, str], ...]:
    """The CAs of a bundle for which a server would have no usable list, each with the reason.

    A server that reads lists at all asks for one of every CA on the path, the root's own included, and refuses every
    client below a CA whose list is missing or has ended.

    Args:
        bundle: The servers' bundle.
        known: The lists that they have.
        now: Aware UTC instant.
    """
    lists = tuple(known)
    found = ((authority, _lack(newest(authority, lists), now)) for authority in bundle.certificates)
    return tuple((authority, reason) for authority, reason in found if reason)


def from_x509(crl: x509.CertificateRevocationList) -> Crl:
    """Make the value of a list that `cryptography` built or parsed."""
    return Crl(
        pem=crl.public_bytes(serialization.Encoding.PEM).decode("ascii"),
        issuer=crl.issuer.rfc4514_string(),
        aki=_aki(crl),
        number=_number(crl),
        this_update=crl.last_update_utc,
        next_update=crl.next_update_utc,
        serials=frozenset(entry.serial_number for entry in crl),
    )


def _lack(crl: Crl | None, now: datetime) -> str | None:
    if crl is None:
        return "there is no revocation list of it"
    if crl.next_update is not None and crl.next_update <= now:
        return f"its revocation list ended on {crl.next_update:%Y-%m-%d %H:%M} UTC"
    return None


def _read(block: str, where: str) -> Crl:
    try:
        return from_x509(x509.load_pem_x509_crl(block.encode("ascii", "replace")))
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion) as error:
        raise PemError(where, f"a revocation list can't be parsed: {error}", "replace it by a whole one") from None


def _aki(crl: x509.CertificateRevocationList) -> str | None:
    try:
        identifier = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    return identifier.hex() if identifier else None


def _number(crl: x509.CertificateRevocationList) -> int | None:
    try:
        return int(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)
    except x509.ExtensionNotFound:
        return None
