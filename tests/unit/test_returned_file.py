"""Files that an outside CA sends are read in every form, and what is no certificate is refused in words."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from rechain.certificate import from_x509
from rechain.errors import PemError
from rechain.returned_file import read_returned
from tests.chains import make

_FILE = "returned.pem"


def test_every_form_that_a_ca_sends_is_read() -> None:
    """PEM with text around it, DER, and PKCS#7 in both forms; one file may hold many."""
    held = [make("root", ca=True).x509, make("pg1").x509]
    values = {from_x509(one) for one in held}
    pem = b"Certificate:\n    Data: caf\xe9\n".join(one.public_bytes(Encoding.PEM) for one in held)
    forms = [pem, *(pkcs7.serialize_certificates(held, encoding) for encoding in (Encoding.PEM, Encoding.DER))]
    forms.append(held[0].public_bytes(Encoding.PEM) + pkcs7.serialize_certificates(held[1:], Encoding.PEM))
    assert [set(read_returned(form, _FILE)) for form in forms] == [values] * len(forms)
    assert read_returned(held[0].public_bytes(Encoding.DER), _FILE) == (from_x509(held[0]),)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no certificate"),
        (b"\x30\x03\x02\x01\x05", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n", "is a signing request"),
        (b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", "holds a private key"),
        (b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "can't be parsed"),
        (b"-----BEGIN PKCS7-----\nAA==\n-----END PKCS7-----\n", "PKCS#7 can't be parsed"),
    ],
)
def test_what_is_no_certificate_is_refused_in_words(content: bytes, says: str) -> None:
    """One line that names the file."""
    with pytest.raises(PemError, match=says) as caught:
        read_returned(content, _FILE)
    assert caught.value.where == _FILE
    assert "\n" not in str(caught.value)
