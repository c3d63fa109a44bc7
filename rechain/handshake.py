"""TLS handshakes in memory: the oracle of the prover.

A library's path validation disagrees with PostgreSQL in places: one is web-shaped, another ignores purposes. A
handshake does not: it is OpenSSL's own code, with the contexts that PostgreSQL and libpq make and the bundle read as
a file, in its order. Keys and certificates pass through anonymous memory (memfd_create(2)): no disk, no network.

A peer carries its own bundle, too. OpenSSL completes the chain of a leaf that is presented without its intermediate
from the presenter's own trust store, and both PostgreSQL and libpq leave that switched on.

References: PostgreSQL documentation, "Secure TCP/IP Connections with SSL" and "SSL Support" of libpq;
`be_tls_init` and `initialize_SSL` in PostgreSQL's sources; RFC 8446.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_ROUNDS = 10  # a handshake takes three flights; more than ten means that nobody speaks
_BUNDLES = 32  # a rotation has a handful; each is read once for all the leaves that are held against it
_PEERS: dict[int, str] = {ssl.PROTOCOL_TLS_SERVER: "server", ssl.PROTOCOL_TLS_CLIENT: "client"}
_UNKNOWN_CA = "unknown CA"
_ALERTS = {  # what the refused peer reads, by X509_V_ERR_* (OpenSSL's ssl_x509err2alert)
    2: _UNKNOWN_CA,
    7: "decrypt error",
    10: "certificate expired",
    18: _UNKNOWN_CA,
    19: _UNKNOWN_CA,
    20: _UNKNOWN_CA,
    21: _UNKNOWN_CA,
    22: _UNKNOWN_CA,
    23: "certificate revoked",
    24: _UNKNOWN_CA,
    25: _UNKNOWN_CA,
    26: "unsupported certificate",
    79: _UNKNOWN_CA,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict of a mutual handshake, each direction judged by itself.

    Attributes:
        server_refused: Why a `verify-full` client refuses the server leaf, or None.
        client_refused: Why the server refuses the client leaf, or None.
    """

    server_refused: str | None
    client_refused: str | None

    @property
    def is_accepted(self) -> bool:
        """Whether TLS passes, so that a login gets as far as role and pg_hba."""
        return self.server_refused is None and self.client_refused is None


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """What a peer presents. Lives inside one task; its text form shows no key.

    Attributes:
        chain_pem: Leaf, then its intermediates.
        key_pem: The leaf's private key, not encrypted.
    """

    chain_pem: str
    key_pem: str

    def __repr__(self) -> str:
        return "Identity()"


def handshake(
    *,
    server_chain_pem: str,
    server_key_pem: str,
    client_bundle_pem: str,
    client_chain_pem: str,
    client_key_pem: str,
    server_bundle_pem: str,
    server_name: str,
) -> Outcome:
    """Let a server and a client meet as PostgreSQL and libpq do with `sslmode=verify-full`.

    Args:
        server_chain_pem: The server's `ssl_cert_file`.
        server_key_pem: The server's `ssl_key_file`.
        client_bundle_pem: The server's `ssl_ca_file`.
        client_chain_pem: The client's `sslcert`.
        client_key_pem: The client's `sslkey`.
        server_bundle_pem: The client's `sslrootcert`.
        server_name: The name that the client connects to.

    Returns:
        Both directions' verdicts; a file that can't be loaded refuses the directions that need it.
    """
    server = Identity(server_chain_pem, server_key_pem)
    client = Identity(client_chain_pem, client_key_pem)
    return Outcome(
        server_refused=server_leaf_refused(server, client_bundle_pem, server_bundle_pem, server_name),
        client_refused=client_leaf_refused(client, server_bundle_pem, client_bundle_pem),
    )


def server_leaf_refused(server: Identity, own_pem: str, trusted_pem: str, server_name: str) -> str | None:
    """Why a `verify-full` client refuses a server leaf, or None.

    Args:
        server: What the server presents.
        own_pem: The server's own bundle (`ssl_ca_file`); may be empty.
        trusted_pem: The client's bundle (`sslrootcert`).
        server_name: The name that the client connects to.
    """
    return _refusal(ssl.PROTOCOL_TLS_SERVER, server, own_pem, trusted_pem, server_name)


def client_leaf_refused(client: Identity, own_pem: str, trusted_pem: str) -> str | None:
    """Why a server refuses a client leaf, or None.

    Args:
        client: What the client presents.
        own_pem: The client's own bundle (`sslrootcert`); may be empty.
        trusted_pem: The server's bundle (`ssl_ca_file`).
    """
    return _refusal(ssl.PROTOCOL_TLS_CLIENT, client, own_pem, trusted_pem, None)


def verify_failure(code: int, message: str) -> str:
    """The line that tells a person why a certificate was refused: the alert that its owner reads, and the reason.

    Args:
        code: OpenSSL's X509_V_ERR_* number.
        message: OpenSSL's text for it.
    """
    return f"{_ALERTS.get(code, 'bad certificate')}: certificate verify failed: {message.rstrip('.')}"


def _refusal(side: int, identity: Identity, own_pem: str, trusted_pem: str, server_name: str | None) -> str | None:
    """Let two peers meet: one presents an identity, the other one judges it and presents nothing of its own."""
    try:
        if side == ssl.PROTOCOL_TLS_SERVER:
            _meet(_presenting(side, identity, own_pem), _judging(ssl.PROTOCOL_TLS_CLIENT, trusted_pem), server_name)
        else:
            _meet(_judging(ssl.PROTOCOL_TLS_SERVER, trusted_pem), _presenting(side, identity, own_pem), None)
    except _Unloadable as error:
        return str(error)
    except ssl.SSLCertVerificationError as error:
        return verify_failure(error.verify_code, error.verify_message)
    except ssl.SSLError as error:
        return f"handshake failed: {_words(error)}"
    except ValueError:  # the ssl module's own check, before anything is sent
        return f"{server_name!r} can't be a server name"
    return None


class _Unloadable(Exception):
    """A file that a peer can't load: PostgreSQL refuses the reload, libpq the connection."""


def _presenting(side: int, identity: Identity, own_pem: str) -> ssl.SSLContext:
    """The peer whose leaf is judged; it judges nobody, but its own bundle may complete its chain."""
    context = _context(side)
    if own_pem:
        _load_bundle(context, side, own_pem)
    _load_identity(context, side, identity)
    return context


@lru_cache(maxsize=_BUNDLES)
def _judging(side: int, trusted_pem: str) -> ssl.SSLContext:
    """The peer that judges by a bundle: a `verify-full` client, or a server that asks for a certificate."""
    context = _context(side)
    context.check_hostname = side == ssl.PROTOCOL_TLS_CLIENT
    context.verify_mode = ssl.CERT_REQUIRED
    _load_bundle(context, side, trusted_pem)
    if side == ssl.PROTOCOL_TLS_SERVER:
        _load_identity(context, side, _stand_in())
    return context


def _context(side: int) -> ssl.SSLContext:
    """A context like PostgreSQL's or libpq's, that judges nobody yet.

    A bare SSLContext keeps OpenSSL's defaults; what Python has changed over its versions (VERIFY_X509_STRICT,
    VERIFY_X509_PARTIAL_CHAIN) is cleared. Python asks for security level 2, the default of Debian, Ubuntu, Red Hat
    and of OpenSSL since 3.2.
    """
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if side == ssl.PROTOCOL_TLS_SERVER:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def _load_bundle(context: ssl.SSLContext, side: int, pem: str) -> None:
    try:
        with _anonymous_file(pem) as path:
            context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise _Unloadable(f"the {_PEERS[side]} can't load its bundle: {_words(error)}") from None


def _load_identity(context: ssl.SSLContext, side: int, identity: Identity) -> None:
    try:
        with _anonymous_file(identity.chain_pem) as chain, _anonymous_file(identity.key_pem) as key:
            context.load_cert_chain(chain, key, password="")  # so that OpenSSL asks no terminal for one
    except (ssl.SSLError, ValueError) as error:
        raise _Unloadable(f"the {_PEERS[side]} can't load its certificate and key: {_words(error)}") from None


@contextmanager
def _anonymous_file(text: str) -> Iterator[str]:
    """A path that OpenSSL can open, of a file that exists in memory alone and in no directory."""
    descriptor = os.memfd_create("rechain", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(text.encode("utf-8"))
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _meet(serving: ssl.SSLContext, calling: ssl.SSLContext, server_name: str | None) -> None:
    """Pass both peers' flights to each other until both are done. Raises what the verifying peer raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = calling.wrap_bio(to_client, to_server, server_hostname=server_name)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(_ROUNDS):
        waiting = [peer for peer in waiting if not _advance(peer)]
        if not waiting:
            return
    raise ssl.SSLError("the handshake came to no end")


def _advance(peer: ssl.SSLObject) -> bool:
    """Take what has arrived and answer it; whether the peer is done."""
    try:
        peer.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _words(error: Exception) -> str:
    """An SSLError's reason in words; nothing of the file's content."""
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(error.args[-1]).split(" (_ssl", maxsplit=1)[0]


@cache
def _stand_in() -> Identity:
    """A server that nobody verifies, for the direction in which the client alone is judged."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2049, 12, 31, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    return Identity(
        certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode("ascii"),
    )
