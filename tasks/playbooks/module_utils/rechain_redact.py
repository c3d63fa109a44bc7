"""Take private key material out of texts that other programs wrote.

Runs on the hosts too, before a message leaves them: standard library of Python 3.8.
"""

from __future__ import annotations

import re

_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_END_OF_KEY = re.compile(r"(?<![A-Za-z0-9+/=\s])[A-Za-z0-9+/=\s]+-----END [A-Z ]*PRIVATE KEY-----")
_BASE64_LINE = re.compile(r"[A-Za-z0-9+/]{48,}={0,2}")
_MASK = "(removed)"


def redact(text: str) -> str:
    """A text without private keys, without lines that could be part of one, and without terminal colours.

    Nothing that rechain starts should write a key. This is for the users' own playbooks and for error messages of
    programs that quote their input. The end of a key whose beginning was cut off takes the words before it along.
    """
    for pattern, mask in ((_TERMINAL, ""), (_KEY, _MASK), (_END_OF_KEY, f" {_MASK}"), (_BASE64_LINE, _MASK)):
        text = pattern.sub(mask, text)
    return text
