"""A look at etcd as its clients take it: with a client certificate, and its name verified."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse

from lab.login import Entry, Identity, Kind
from rechain.fleet import Endpoint

ETCD = "etcd"
_TIMEOUT_S = 10
_ASK = b"GET /version HTTP/1.0\r\nHost: etcd\r\n\r\n"


def ask_store(identity: Identity, members: Sequence[Endpoint]) -> Entry:
    """Ask etcd for its version once, as its clients do: the first member that answers will do."""
    began, clock = time.time(), time.monotonic()
    errors: list[str] = []
    for member in members:
        try:
            _ask(identity, member)
        except (OSError, HTTPException) as failure:
            errors.append(f"{member}: {failure}")
        else:
            break
    error = None if len(errors) < len(members) else "; ".join(errors)
    took = int((time.monotonic() - clock) * 1000)
    return Entry(int(began * 1000), Kind.LOGIN, identity.client, identity.host, ETCD, error is None, error, took)


def _ask(identity: Identity, endpoint: Endpoint) -> None:
    files = identity.files()
    context = ssl.create_default_context(cafile=files["sslrootcert"])
    context.load_cert_chain(files["sslcert"], files["sslkey"])
    with (
        socket.create_connection((endpoint.address, endpoint.port), _TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=endpoint.server_name) as tls,
    ):
        tls.sendall(_ASK)
        answer = HTTPResponse(tls)
        answer.begin()
        if b"etcdserver" not in answer.read():
            raise HTTPException(f"status {answer.status}")
