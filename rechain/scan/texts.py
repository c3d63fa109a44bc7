"""Read as many certificates of a text as can be read, and say what is wrong with the rest."""

from __future__ import annotations

import re

from rechain.certificate import Certificate, read_certificates
from rechain.errors import PemError

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_BEGIN = "-----BEGIN CERTIFICATE-----"


def read_what_can_be(text: str) -> tuple[tuple[Certificate, ...], str | None]:
    """Read the certificates of a PEM text one by one.

    Returns:
        Those that can be read, in order; and why the text can't be read whole, None when it can.
    """
    found: list[Certificate] = []
    problem: str | None = None
    for block in _BLOCK.findall(text):
        try:
            found += read_certificates(block, "")
        except PemError as error:
            problem = problem or error.what
    return tuple(found), _whole(text) if problem is None else problem


def _whole(text: str) -> str | None:
    """What is wrong with a text whose blocks can all be read."""
    if text.count(_BEGIN) > len(_BLOCK.findall(text)):
        return "a PEM certificate is cut off"
    try:
        read_certificates(text, "")
    except PemError as error:
        return error.what
    return None
