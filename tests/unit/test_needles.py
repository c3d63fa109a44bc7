"""The search for keys finds one in every form that a program could leave it in, and takes no certificate for one."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from tests.chains import NOW
from tests.needles import Needles, keys_in, lines, secret

_KEYS = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
_PEMS = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode() for key in _KEYS]
_NEEDLES = Needles({"one": _PEMS[0], "other": _PEMS[1]})
_FORMS: dict[str, Callable[[str], bytes]] = {
    "one line": lambda pem: f"x{lines(pem)[3]}x".encode(),
    "the last whole line": lambda pem: lines(pem)[-2].encode(),
    "JSON": lambda pem: json.dumps({"key": pem}).encode(),
    "a piece of DER": lambda pem: b"\0\1" + secret(pem)[100:131] + b"\0",
    "hexadecimal digits": lambda pem: secret(pem)[7:40].hex().encode(),
    "a number": lambda pem: f"{_d(pem):X}".encode(),
    "base64 of a line": lambda pem: base64.b64encode(f"abc{lines(pem)[5]}".encode()),
    "base64 of DER, at an odd place": lambda pem: b"n" + base64.b64encode(b"12345" + secret(pem)),
    "a pickle in base64 in JSON": lambda pem: json.dumps(
        {"result": base64.b64encode(pickle.dumps({"key": pem})).decode()}
    ).encode(),
    "base64 twice": lambda pem: base64.b64encode(base64.b64encode(pem.encode())),
    "the older PEM": lambda pem: _key(pem).private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ),
}


@pytest.mark.parametrize("form", _FORMS)
def test_a_key_is_found_in_every_form_and_by_its_name(form: str) -> None:
    """And wherever in a content it stands."""
    content = _FORMS[form](_PEMS[0])
    for before in range(17):
        assert _NEEDLES.find(b"-" * before + content + b" and more") == {"one"}


def test_a_certificate_is_no_key() -> None:
    """The modulus is public; neither PEM nor DER of a certificate counts, nor another key's."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "one")])
    builder = x509.CertificateBuilder(name, name, _KEYS[0].public_key(), 1, NOW, NOW + timedelta(days=1))
    certificate = builder.sign(_KEYS[0], SHA256())
    for encoding in (Encoding.PEM, Encoding.DER):
        assert _NEEDLES.find(certificate.public_bytes(encoding)) == frozenset()
    assert _NEEDLES.find(_PEMS[1].encode()) == {"other"}


def test_keys_are_taken_out_of_an_indented_text() -> None:
    """As a vault holds them."""
    vault = "keys:\n" + "".join(f"  k: |\n    {pem.strip()}\n".replace("\n", "\n    ") for pem in _PEMS)
    assert keys_in(vault) == [pem.strip() for pem in _PEMS]


def _key(pem: str) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def _d(pem: str) -> int:
    return _key(pem).private_numbers().d
