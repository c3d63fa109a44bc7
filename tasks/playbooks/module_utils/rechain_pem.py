"""What must be true of certificates and keys before a host is touched.

Runs on the hosts: standard library of Python 3.8, the oldest that ansible-core 2.19 runs modules on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import ssl
from pathlib import Path

_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_END = re.compile(r"-----END ([A-Z0-9 ]+)-----")
_KEY_LABELS = ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY")
_LINE = 64


class Refused(Exception):
    """The input can't be installed; nothing was touched. The message never holds key material."""


def certificates(text: str, where: str) -> list[str]:
    """Read the certificates of a PEM text, as strictly as the pickiest reader of the fleet.

    Args:
        text: One or more PEM certificates.
        where: What to call the text in a refusal.

    Returns:
        Each certificate as PEM of its own, in order.

    Raises:
        Refused: There is none, a block is cut off or not base64, or two share a line.
    """
    found = [_armoured(body) for label, body in _blocks(text, where) if label == "CERTIFICATE"]
    if not found:
        raise Refused(f"{where} holds no PEM certificate")
    return found


def revocation_lists(text: str, where: str) -> int:
    """How many revocation lists a PEM text holds. Raises Refused when that is none, or one is cut off."""
    found = sum(label == "X509 CRL" for label, _body in _blocks(text, where))
    if not found:
        raise Refused(f"{where} holds no PEM revocation list")
    return found


def require_key(text: str, where: str) -> None:
    """Refuse a text that is not one unencrypted private key. Raises Refused."""
    if "ENCRYPTED" in text:
        raise Refused(f"{where} is encrypted with a passphrase, which a server can't ask for")
    labels = [label for label, _body in _blocks(text, where) if label != "EC PARAMETERS"]
    if len(labels) != 1 or labels[0] not in _KEY_LABELS:
        raise Refused(f"{where} is not one PEM private key")


def fingerprint(pem: str) -> str:
    """Lower-case hex SHA-256 of a certificate's DER."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def leaf_fingerprint(content: bytes | None) -> str | None:
    """The fingerprint of the first certificate of a file's content; None when it can't be read."""
    try:
        return fingerprint(certificates((content or b"").decode("ascii", "replace"), "file")[0])
    except Refused:
        return None


def require_pair(cert: Path, key: Path, where: str) -> None:
    """Refuse a key that does not fit the first certificate, judged as PostgreSQL and libpq do. Raises Refused."""
    _require_leaf_first(cert, where)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(str(cert), str(key), password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        raise Refused(f"{where}: private key and first certificate are no pair ({_reason(error)})") from None


def require_bundle(path: Path, where: str) -> None:
    """Refuse a bundle that OpenSSL does not load whole. Raises Refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(str(path))
    except (ssl.SSLError, ValueError) as error:
        raise Refused(f"{where}: the bundle does not load ({_reason(error)})") from None


def require_lists(path: Path, where: str) -> None:
    """Refuse revocation lists that OpenSSL does not load whole: no server would start with them. Raises Refused."""
    count = revocation_lists(path.read_bytes().decode("ascii", "replace"), where)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(str(path))
    except (ssl.SSLError, ValueError) as error:
        raise Refused(f"{where}: the revocation lists do not load ({_reason(error)})") from None
    if context.cert_store_stats()["crl"] != count:
        raise Refused(f"{where}: not all of the revocation lists load")


def _require_leaf_first(cert: Path, where: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=certificates(cert.read_bytes().decode("ascii", "replace"), where)[0])
    except (ssl.SSLError, ValueError) as error:
        raise Refused(f"{where}: the first certificate does not load ({_reason(error)})") from None
    if context.get_ca_certs():  # lists CAs only
        raise Refused(f"{where}: the first certificate is a CA; the leaf must stand first")


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or "it can't be parsed")


def _blocks(text: str, where: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    label: str | None = None
    lines: list[str] = []
    for line in text.splitlines():
        if "-----BEGIN" not in line and "-----END" not in line:
            lines.append(line.strip())
            continue
        begins = _label(line, label, where)
        if label is not None:
            found.append((label, _base64("".join(lines), where)))
        label, lines = begins, []
    if label is not None:
        raise Refused(f"{where}: a PEM block is cut off")
    return found


def _label(line: str, label: str | None, where: str) -> str | None:
    """The label of the block that a BEGIN line opens, None at the END line of the open one."""
    begin, end = _BEGIN.fullmatch(line.rstrip()), _END.fullmatch(line.rstrip())
    if not begin and not end:
        raise Refused(f"{where}: a newline is missing between two PEM blocks, and OpenSSL rejects the whole file")
    if begin and label is None:
        return begin.group(1)
    if end and end.group(1) == label:
        return None
    raise Refused(f"{where}: a PEM block is cut off")


def _base64(body: str, where: str) -> str:
    try:
        base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(f"{where}: a PEM block is not base64") from None
    return body


def _armoured(body: str) -> str:
    lines = [body[start : start + _LINE] for start in range(0, len(body), _LINE)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])
