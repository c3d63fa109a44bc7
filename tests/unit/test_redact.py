"""What other programs say is passed on without keys, and without what is left of a key that was cut off."""

from __future__ import annotations

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tasks.playbooks.module_utils.rechain_redact import redact

_KEY = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
_BODY = _KEY.splitlines()[1:-1]


@pytest.mark.parametrize("joined", ["\n", " ", "\r\n"], ids=["lines", "one line", "Windows' lines"])
def test_nothing_of_a_key_passes_wherever_it_was_cut(joined: str) -> None:
    """The first characters of a text, or the last ones, are often missing; words about it stay."""
    key = joined.join(_KEY.splitlines())
    for cut in range(0, len(key) - 30, 7):
        for text in (f"status 5: {key[cut:]}", f"status 5: {key[: len(key) - cut]}"):
            clean = redact(text)
            assert clean.startswith("status 5: ")
            assert not [line for line in _BODY if line[-20:] in clean or line[:20] in clean]


def test_plain_words_pass_and_a_long_text_takes_no_long_time() -> None:
    """Messages are what a person needs; a program may say megabytes."""
    assert redact("no such unit: postgresql-17 (see /var/log/messages)") == (
        "no such unit: postgresql-17 (see /var/log/messages)"
    )
    started = time.process_time()
    redact("plain words and more " * 50_000)
    assert time.process_time() - started < 1
