"""A login with a client certificate as evidence: what was tried, and what the answer proves.

libpq gives no code for a connection that failed, only its text, and only the server's own messages are translated.
So the verdict is read from what is never translated: libpq's words in English, OpenSSL's reasons, and the two spaces
that follow the severity of a server's message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rechain.fleet import Endpoint

NO_FILE = "/dev/null/none"
"""A path at which no file can be, where libpq would otherwise look in the home directory."""


class Verdict(StrEnum):
    """What a login proves about the chain."""

    LOGGED_IN = "logged_in"
    """TLS, the client certificate, the role and the database: all passed."""
    CERTIFICATE_ACCEPTED = "certificate_accepted"
    """TLS and the client certificate passed, then role, pg_hba or database refused: the chain is fine."""
    REFUSED = "refused"
    """TLS failed: one side does not accept the other's certificate, or its own files."""
    UNREACHABLE = "unreachable"
    """Nobody answered, or the server was starting or stopping: says nothing about certificates."""
    NOT_TESTED = "not_tested"
    """The key is not ours."""


class Refusal(StrEnum):
    """Who refused what when TLS failed."""

    UNKNOWN_CLIENT_CA = "unknown_client_ca"
    """The server does not trust the CA above the client's certificate."""
    REVOKED = "revoked"
    """The server has a revocation list with the client's certificate on it."""
    CLIENT_CERTIFICATE = "client_certificate"
    """The server refused the client's certificate for another reason: expired, wrong purpose, missing."""
    SERVER_CERTIFICATE = "server_certificate"
    """The client refused the server's certificate."""
    FILES = "files"
    """The client's own files: missing, open to others, a key that does not fit."""
    NOT_ASKED = "not_asked"
    """The server never asked for the client's certificate, so the login says nothing about it."""
    HANDSHAKE = "handshake"
    """TLS itself: not offered, no version or cipher in common."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt to log in.

    Attributes:
        verdict: What it proves.
        refusal: Who refused what; None unless the verdict is `refused`.
        error: The message, one line; None when logged in.
    """

    verdict: Verdict
    refusal: Refusal | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """The paths that libpq reads at every connect. Names files, never holds their content.

    Attributes:
        cert: `sslcert`: leaf and intermediate.
        key: `sslkey`.
        ca: `sslrootcert`: the server bundle.
        crl: `sslcrl`; libpq skips one that is not there.
    """

    cert: str
    key: str
    ca: str
    crl: str = NO_FILE


@dataclass(frozen=True, slots=True)
class Login:
    """One login, tried.

    Attributes:
        endpoint: Where.
        client: The role, which is the certificate's CN.
        generation: Generation of the client's material; None when it was taken from a host as it is.
        verdict: What it proves.
        refusal: Who refused what; None unless refused.
        error: The message, one line; None when logged in.
        server_fingerprint: Fingerprint of the leaf that the endpoint serves; None when it could not be seen.
        client_serial: Serial of the client's leaf in lower-case hex, as in gates and `openssl x509 -serial`.
        ms: How long it took, milliseconds.
    """

    endpoint: Endpoint
    client: str
    generation: int | None
    verdict: Verdict
    refusal: Refusal | None
    error: str | None
    server_fingerprint: str | None
    client_serial: str | None
    ms: int


@dataclass(frozen=True, slots=True)
class LoginCount:
    """How many logins were tried and how many of them failed."""

    attempted: int
    failed: int


def count(logins: Iterable[Login]) -> LoginCount:
    """Count logins; one whose certificate was accepted has not failed, one that was not tested was not tried."""
    verdicts = [login.verdict for login in logins if login.verdict is not Verdict.NOT_TESTED]
    return LoginCount(len(verdicts), sum(verdict in FAILED for verdict in verdicts))


FAILED = frozenset({Verdict.REFUSED, Verdict.UNREACHABLE})
"""The verdicts that make `verify` exit 1."""


def as_json(login: Login) -> dict[str, object]:
    """One row of `verify`'s `logins`."""
    return {
        "endpoint": str(login.endpoint),
        "client": login.client,
        "generation": login.generation,
        "verdict": login.verdict.value,
        "error": login.error,
        "server_fingerprint": login.server_fingerprint,
        "client_serial": login.client_serial,
    }


_PREFIX = re.compile(r'^connection to server (?:at|on) .*?"(?:, port \d+)? failed: ', re.DOTALL)
_SERVER_SAID = re.compile(r"^\S+:  \S")
_COMING_OR_GOING = re.compile(
    r"the database system is (starting|shutting|in recovery|not )|terminating connection due to", re.IGNORECASE
)
_SERVER_CERTIFICATE = re.compile(
    r"certificate verify failed|server certificate for|host name from server certificate|self.signed certificate"
)
_ALERT = re.compile(r"alert (.+)$")
_NOT_ABOUT_CERTIFICATES = re.compile(r"handshake failure|protocol version|insufficient security|internal error")
_CUT = re.compile(r"SSL SYSCALL error|unexpected eof|EOF detected|server closed the connection|Connection reset")
_FILES = re.compile(
    r"(certificate|private key) file|could not load private key|does not match private key|read certificate|SSL context"
)
_NO_TLS = re.compile(r"does not support SSL|SSL error: wrong version number|invalid response to SSL negotiation")
_NO_CERTIFICATE = re.compile(r"did not request an SSL certificate|without a valid SSL certificate")
_ASKS_FOR_PASSWORD = re.compile(r"no password supplied|authentication method", re.IGNORECASE)


def explain(message: str, *, encrypted: bool) -> Answer:
    """Read the verdict from what libpq says about a connection that failed.

    Args:
        message: libpq's error message.
        encrypted: Whether the connection had switched to TLS, so that what the server says came through it. With
            TLS 1.3 a client certificate is refused after the client's side of the handshake has ended (RFC 8446
            section 4.4.2.4), by an alert in place of the server's first answer.
    """
    text = " ".join(_PREFIX.sub("", message.strip()).split("\n", 1)[0].split("\t"))
    if _SERVER_SAID.match(text):
        return _server_said(text, encrypted=encrypted)
    if _ASKS_FOR_PASSWORD.search(text) and encrypted:
        return Answer(Verdict.CERTIFICATE_ACCEPTED, None, f"the server asks for a password ({text})")
    refusal = _refusal(text)
    if refusal is None:
        return Answer(Verdict.UNREACHABLE, None, text or "no answer")
    return Answer(Verdict.REFUSED, refusal, _TOLD[refusal].format(text))


_TOLD = {
    Refusal.UNKNOWN_CLIENT_CA: "the server does not trust the CA of the client certificate ({})",
    Refusal.REVOKED: "the server refused the client certificate, which is revoked ({})",
    Refusal.CLIENT_CERTIFICATE: "the server refused the client certificate ({})",
    Refusal.SERVER_CERTIFICATE: "the client refused the server certificate ({})",
    Refusal.FILES: "the client's own files are not usable ({})",
    Refusal.NOT_ASKED: "the server does not check client certificates: is ssl_ca_file set? ({})",
    Refusal.HANDSHAKE: "no TLS with this server ({})",
}


def _server_said(text: str, *, encrypted: bool) -> Answer:
    if not encrypted or _COMING_OR_GOING.search(text):
        return Answer(Verdict.UNREACHABLE, None, text)
    if "requires a valid client certificate" in text:
        return Answer(Verdict.REFUSED, Refusal.CLIENT_CERTIFICATE, _TOLD[Refusal.CLIENT_CERTIFICATE].format(text))
    return Answer(Verdict.CERTIFICATE_ACCEPTED, None, text)


def _refusal(text: str) -> Refusal | None:
    """Who refused what, or None when the transport failed."""
    for pattern, refusal in _PATTERNS:
        if pattern.search(text):
            return refusal
    return None


_PATTERNS: tuple[tuple[re.Pattern[str], Refusal | None], ...] = (
    (_FILES, Refusal.FILES),
    (_SERVER_CERTIFICATE, Refusal.SERVER_CERTIFICATE),
    (re.compile(r"alert unknown ca", re.IGNORECASE), Refusal.UNKNOWN_CLIENT_CA),
    (re.compile(r"alert certificate revoked", re.IGNORECASE), Refusal.REVOKED),
    (re.compile(rf"alert .*({_NOT_ABOUT_CERTIFICATES.pattern})"), Refusal.HANDSHAKE),
    (_ALERT, Refusal.CLIENT_CERTIFICATE),
    (_NO_CERTIFICATE, Refusal.NOT_ASKED),
    (_NO_TLS, Refusal.HANDSHAKE),
    (_CUT, None),
    (re.compile(r"SSL error"), Refusal.HANDSHAKE),
)
