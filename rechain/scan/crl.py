"""Certificate revocation lists as values (RFC 5280 section 5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from rechain.errors import PemError

_BLOCK = re.compile(r"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Crl:
    """One revocation list.

    Attributes:
        issuer: RFC 4514 string of the CA's name.
        aki: Key identifier of the CA's key as hex, or None.
        this_update: When it was made, aware UTC.
        next_update: When it ends, aware UTC; None when it never does.
        revoked: How many certificates it revokes.
    """

    issuer: str
    aki: str | None
    this_update: datetime
    next_update: datetime | None
    revoked: int


def read_crls(text: str, where: str) -> tuple[Crl, ...]:
    """Read every revocation list of a PEM text.

    Raises:
        PemError: There is none, or one can't be parsed.
    """
    blocks = _BLOCK.findall(text)
    if not blocks:
        raise PemError(where, "holds no PEM revocation list", "put the list there, or remove the file")
    return tuple(_read(block, where) for block in blocks)


def _read(block: str, where: str) -> Crl:
    try:
        crl = x509.load_pem_x509_crl(block.encode("ascii", "replace"))
        return Crl(crl.issuer.rfc4514_string(), _aki(crl), crl.last_update_utc, crl.next_update_utc, len(crl))
    except ValueError as error:
        raise PemError(where, f"a revocation list can't be parsed: {error}", "replace it by a whole one") from None


def _aki(crl: x509.CertificateRevocationList) -> str | None:
    try:
        identifier = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    return identifier.hex() if identifier else None
