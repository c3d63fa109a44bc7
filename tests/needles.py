"""Find private keys in whatever a program left behind: as PEM lines, DER, base64 and hexadecimal digits."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")
_WINDOW = 16
_LINE_BYTES = 48


def keys_in(text: str) -> list[str]:
    """Every private key of a text, in PEM, without a vault's indentation."""
    return ["\n".join(line.strip() for line in found.splitlines()) for found in _PEM.findall(text)]


class Needles:
    """The private parts of keys, by name.

    Any 31 bytes in a row of a key in any form are found: every window of 16 bytes is known, and a content is probed
    every 16 bytes. What certificates hold too, the modulus, is no needle.

    Args:
        keys: Name to RSA key in PEM.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._windows = {
            form[start : start + _WINDOW]: name
            for name, pem in keys.items()
            for form in _forms(pem)
            for start in range(len(form) - _WINDOW + 1)
        }

    def find(self, content: bytes) -> frozenset[str]:
        """The names of the keys of which a content holds a part, as it is and with its base64 decoded."""
        return frozenset(
            self._windows[window]
            for text in (content, *_decoded(content))
            for start in range(0, len(text) - _WINDOW + 1, _WINDOW)
            if (window := text[start : start + _WINDOW]) in self._windows
        )


def lines(pem: str) -> list[str]:
    """The lines of a key in PEM that hold nothing public."""
    body = pem.splitlines()[1:-1]
    der = base64.b64decode("".join(body))
    return body[math.ceil(der.index(_exponent(pem)) / _LINE_BYTES) :]


def secret(pem: str) -> bytes:
    """The private part of a key's DER: from the private exponent on."""
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    return der[der.index(_exponent(pem)) :]


@cache
def _exponent(pem: str) -> bytes:
    key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, RSAPrivateKey), "needles of other keys are not made"
    number = key.private_numbers().d
    return number.to_bytes(math.ceil(number.bit_length() / 8), "big")


def _forms(pem: str) -> Iterator[bytes]:
    private = secret(pem)
    yield private
    yield private.hex().encode()
    yield private.hex().upper().encode()
    for each in (private, *(line.encode() for line in lines(pem))):
        yield each
        yield from _base64_forms(each)


def _base64_forms(content: bytes) -> Iterable[bytes]:
    """How base64 shows it, wherever in a text it begins."""
    return (base64.b64encode(bytes(shift) + content)[4:-4] for shift in range(3))


def _decoded(content: bytes) -> Iterator[bytes]:
    for found in _BASE64.findall(content):
        digits = found.rstrip(b"=")
        yield base64.b64decode(digits[: len(digits) // 4 * 4])
