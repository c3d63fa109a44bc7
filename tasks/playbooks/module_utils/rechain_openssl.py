"""What OpenSSL says of files that PostgreSQL and libpq load by the same functions, in words.

OpenSSL judges; our own, stricter reader only finds the words, and tells what OpenSSL passes over in silence.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

import errno
import re
import ssl
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tasks.playbooks.module_utils.rechain_pem import Refused, certificates, require_key
else:
    from ansible.module_utils.rechain_pem import Refused, certificates, require_key

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")
_NO_FILE = "/dev/null/no-such-key"
_NO_SUCH = (errno.ENOTDIR, errno.ENOENT)
_NO_PAIR = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED", "UNKNOWN_CERTIFICATE_TYPE")


def chain_problem(path: Path, text: str) -> str | None:
    """Why a leaf with its intermediates does not load; None when it does."""
    try:
        _context().load_cert_chain(str(path), _NO_FILE)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) not in _NO_SUCH or isinstance(error, ssl.SSLError):
            return _in_words(text, error)
    return None  # the certificates are loaded first, and the key is missing on purpose


def bundle_problem(path: Path, text: str) -> str | None:
    """Why a bundle does not load; None when it does."""
    context = _context()
    try:
        context.load_verify_locations(str(path))
    except (OSError, ValueError) as error:
        return _in_words(text, error)
    return None if context.cert_store_stats()["x509"] else "holds no certificate"


def key_problems(cert: Path | None, key: Path, text: str) -> tuple[str | None, str | None]:
    """Why a private key can't be used, and why it is no pair with the first certificate.

    Args:
        cert: The certificate's file; None when it can't be loaded, so that only the key itself can be judged.
        key: The key's file.
        text: What the key's file holds.
    """
    refused = _key_in_words(text)
    if cert is None:
        return refused, None
    try:
        _context().load_cert_chain(str(cert), str(key), password=lambda: "")
    except (OSError, ValueError) as error:
        if getattr(error, "reason", None) in _NO_PAIR:
            return None, f"is not the key of the first certificate in {cert.name}"
        return refused or f"does not load ({_reason(error)})", None
    return None, None


def whole_blocks(text: str) -> tuple[list[str], str | None]:
    """The certificates of a text as PEM, and nothing else of it.

    Returns:
        Each one that OpenSSL can parse; and why that is not all that the text has, None when it is.
    """
    blocks = [f"{block}\n" for block in _BLOCK.findall(text)]
    found = [block for block in blocks if _is_certificate(block)]
    try:
        certificates(text, "")
    except Refused:
        return found, "a part of it is no whole certificate on lines of its own, and OpenSSL passes over that part"
    return found, None if len(found) == len(blocks) else "a PEM block in it is no certificate"


def _is_certificate(block: str) -> bool:
    """Whether it is one in more than its label: a key under the label of a certificate stays where it is."""
    try:
        _context().load_verify_locations(cadata=ssl.PEM_cert_to_DER_cert(block))
    except (ssl.SSLError, ValueError):
        return False
    return True


def _in_words(text: str, error: Exception) -> str:
    try:
        certificates(text, "the file")
    except Refused as refused:
        return str(refused)
    return f"does not load ({_reason(error)})"


def _key_in_words(text: str) -> str | None:
    try:
        require_key(text, "the file")
    except Refused as refused:
        return str(refused)
    return None


def _context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or "it can't be parsed")
