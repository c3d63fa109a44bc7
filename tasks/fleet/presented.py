"""The certificates that a TLS peer presented, read by parsing each distinct one once."""

from __future__ import annotations

import hashlib
import ssl
from _ssl import ENCODING_DER

from cryptography import x509

from rechain.certificate import Certificate, from_x509

ASK_FOR_TLS = bytes.fromhex("0000000804d2162f")  # PostgreSQL's SSLRequest: length 8, code 80877103
ANSWERS = {b"N": "it has TLS switched off", b"": "it closed the connection"}


class Unparsable(ValueError):
    """A certificate that OpenSSL passed on and nobody can read."""


class Reader:
    """Reads certificates from DER; a fleet's endpoints send the same intermediate over and over."""

    def __init__(self) -> None:
        self._known: dict[bytes, Certificate] = {}

    def chain(self, tls: ssl.SSLObject | ssl.SSLSocket) -> tuple[Certificate, ...]:
        """What a peer sent, leaf first; empty before it sent anything.

        Raises:
            Unparsable: One of the certificates can't be read.
        """
        return tuple(self._read(der) for der in _sent(tls))

    def _read(self, der: bytes) -> Certificate:
        digest = hashlib.sha256(der).digest()
        if digest not in self._known:
            try:
                self._known[digest] = from_x509(x509.load_der_x509_certificate(der))
            except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
                raise Unparsable(f"its certificate can't be parsed: {error}") from None
        return self._known[digest]


def _sent(tls: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """The DER of the certificates as sent. Public in Python 3.13; before that one level down, and frozen there."""
    if hasattr(tls, "get_unverified_chain"):
        return list(tls.get_unverified_chain() or ())
    inner = tls._sslobj  # type: ignore[union-attr]  # not in typeshed
    return [one.public_bytes(ENCODING_DER) for one in inner.get_unverified_chain() or ()]
