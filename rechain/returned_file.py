"""Read what an outside CA sends: PEM with or without text around it, DER, or PKCS#7 in either form."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import pkcs7

from rechain.certificate import Certificate, from_x509, read_certificates
from rechain.errors import PemError

T = TypeVar("T")

_PKCS7 = re.compile(rb"-----BEGIN PKCS7-----.*?-----END PKCS7-----", re.DOTALL)
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_WRONG = {
    b"CERTIFICATE REQUEST-----": (
        "is a signing request, not a certificate",
        "give it to the CA, and this what comes back",
    ),
    b"PRIVATE KEY-----": ("holds a private key and no certificate", "give the certificates; the keys are in the vault"),
}
_FIX = "give certificates as PEM, DER or PKCS#7"


def read_returned(content: bytes, where: str) -> tuple[Certificate, ...]:
    """Read every certificate of a file.

    Args:
        content: The file, as it is.
        where: What to call it in an error.

    Raises:
        PemError: It holds no certificate, or one that can't be parsed.

    References: RFC 7468; RFC 2315 for PKCS#7.
    """
    blocks = _PKCS7.findall(content)
    found = [certificate for block in blocks for certificate in _from_pkcs7(block, where)]
    if _CERTIFICATE in content:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # somebody else's certificate may be odd; what matters is judged later
            found += read_certificates(content.decode("utf-8", "replace"), where)
    if found:
        return tuple(found)
    for sign, (what, fix) in _WRONG.items():
        if sign in content:
            raise PemError(where, what, fix)
    return tuple(_from_der(content, where))


def _from_pkcs7(block: bytes, where: str) -> Iterator[Certificate]:
    found = _attempt(pkcs7.load_pem_pkcs7_certificates, block)
    if found is None:
        raise PemError(where, "its PKCS#7 can't be parsed", "have it sent again, or as PEM")
    yield from (_value(one, where) for one in found)


def _from_der(content: bytes, where: str) -> Iterator[Certificate]:
    one = _attempt(x509.load_der_x509_certificate, content)
    found = [one] if one else _attempt(pkcs7.load_der_pkcs7_certificates, content)
    if not found:
        raise PemError(where, "holds no certificate", _FIX)
    yield from (_value(each, where) for each in found)


def _attempt(load: Callable[[bytes], T], content: bytes) -> T | None:
    """What a reader makes of a file, or None. It complains of BER, which old CAs write, and reads it all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return load(content)
        except (ValueError, UnsupportedAlgorithm):
            return None


def _value(certificate: x509.Certificate, where: str) -> Certificate:
    try:
        return from_x509(certificate)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise PemError(where, f"a certificate can't be parsed: {error}", "have the CA issue it again") from None
