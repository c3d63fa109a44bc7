"""What an endpoint serves, seen from the wire: no credentials, no trace in the server's log."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cryptography import x509

from rechain.certificate import Certificate
from rechain.errors import RechainError
from rechain.fleet import Endpoint, ServiceKind
from rechain.scan.seen import Listener
from tasks.fleet.presented import ANSWERS, ASK_FOR_TLS
from tasks.fleet.wire_scan import look_at_wire
from tasks.playbooks.module_utils.rechain_kinds import KINDS

_CA_NAMES = re.compile(
    r"^Acceptable client certificate CA names\n(.*?)^(?:Client Certificate|Requested|---)", re.M | re.S
)


class WireUnreadable(RechainError):
    """An endpoint's certificate could not be seen."""


def served(
    endpoint: Endpoint, timeout_s: float = 5.0, kind: ServiceKind = ServiceKind.POSTGRESQL
) -> tuple[Certificate, ...]:
    """The certificates that an endpoint presents, leaf first, in the order it sends them.

    Looks without judging: an expired or foreign certificate is returned like any other. Idempotent, safe to retry.

    Args:
        endpoint: Where to look.
        timeout_s: Limit for connection and handshake together.
        kind: HAProxy and etcd speak TLS at once; PostgreSQL and PgBouncer are asked to first.

    Raises:
        WireUnreadable: Nobody answers in time, or not in TLS.

    References: PostgreSQL documentation, "SSL Session Encryption" of the message flow.
    """
    (seen,) = look_at_wire([Listener(endpoint, kind)], timeout_s=timeout_s)
    if not seen.chain:
        raise _unreadable(endpoint, seen.problem or "it presents no certificate")
    return seen.chain


def why_refused(endpoint: Endpoint, ca: str, timeout_s: float = 5.0) -> str | None:
    """Why a client that trusts the bundle of a file refuses a PostgreSQL server's certificate, in OpenSSL's words.

    libpq says only `certificate verify failed`. None when it is not refused, or nothing can be seen.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(WireUnreadable, OSError):  # ssl's own errors are OSErrors too: only a verdict counts here
        context.load_verify_locations(ca)
        with _connected(endpoint, timeout_s) as (plain, deadline):
            plain.settimeout(_left(deadline))
            try:
                _leave(context.wrap_socket(plain, server_hostname=endpoint.server_name))
            except ssl.SSLCertVerificationError as error:
                return str(error.verify_message)
    return None


def acceptable_ca_names(
    endpoint: Endpoint, timeout_s: float = 5.0, kind: ServiceKind = ServiceKind.POSTGRESQL
) -> tuple[str, ...]:
    """The CA names that a server accepts client certificates of, as RFC 4514 strings like `Certificate.subject`.

    They show what a server trusts only where CAs have names of their own; a login proves it. Asks the `openssl`
    command, because Python's ssl does not tell.

    Raises:
        WireUnreadable: Nobody answers in time, or not in TLS.
    """
    address = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    first = ["-starttls", "postgres"] if KINDS[kind].asks_first else []
    arguments = ["openssl", "s_client", "-connect", f"{address}:{endpoint.port}", *first]
    text = _run([*arguments, "-servername", endpoint.server_name, "-nameopt", "RFC2253"], endpoint, timeout_s)
    if "CONNECTED" not in text or "SSL handshake has read 0 bytes" in text:
        raise _unreadable(endpoint, "openssl s_client sees no TLS there")
    found = _CA_NAMES.search(text)
    return tuple(_rfc4514(line) for line in found[1].splitlines()) if found else ()


@contextmanager
def _connected(endpoint: Endpoint, timeout_s: float) -> Iterator[tuple[socket.socket, float]]:
    """A connection that is ready for TLS, and the moment when the time is up. Translates every transport error."""
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection((endpoint.address, endpoint.port), timeout_s) as plain:
            _ask_for_tls(plain, endpoint, deadline)
            yield plain, deadline
    except ssl.SSLCertVerificationError:
        raise
    except TimeoutError:
        raise _unreadable(endpoint, f"no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise _unreadable(endpoint, error.strerror or str(error)) from None


def _ask_for_tls(plain: socket.socket, endpoint: Endpoint, deadline: float) -> None:
    plain.settimeout(_left(deadline))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else the last flight waits 40 ms for an ACK
    plain.sendall(ASK_FOR_TLS)
    answer = plain.recv(1)
    if answer != b"S":
        raise _unreadable(endpoint, ANSWERS.get(answer, f"it answers {answer!r} to a request for TLS"))


def _left(deadline: float) -> float:
    """Seconds left, never 0: that would mean without waiting at all."""
    return max(deadline - time.monotonic(), 0.001)


def _leave(tls: ssl.SSLSocket) -> None:
    """Say goodbye in TLS: PostgreSQL logs an error for every peer that just hangs up."""
    with suppress(OSError, ValueError):
        tls.settimeout(1)
        tls.unwrap()
    tls.close()


def _run(arguments: list[str], endpoint: Endpoint, timeout_s: float) -> str:
    try:
        ended = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _unreadable(endpoint, f"no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise _unreadable(endpoint, f"the openssl command can't be run: {error.strerror}") from None
    return ended.stdout


def _rfc4514(name: str) -> str:
    """An RFC 2253 name of OpenSSL in the notation of `Certificate.subject`; as it is when it can't be parsed."""
    try:
        return x509.Name.from_rfc4514_string(name, {"emailAddress": x509.oid.NameOID.EMAIL_ADDRESS}).rfc4514_string()
    except (ValueError, KeyError):
        return name


def _unreadable(endpoint: Endpoint, what: str) -> WireUnreadable:
    where = f"{endpoint} ({endpoint.address})"
    return WireUnreadable(where, f"its certificate can't be seen: {what}", "is the service up and reachable from here?")
