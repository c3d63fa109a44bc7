"""Connecting as libpq does, within a time limit, and undisturbed by the variables of whoever runs rechain."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from psycopg import conninfo, pq

from rechain.fleet import Endpoint
from rechain.login import NO_FILE, Answer, ClientFiles, Refusal, Verdict, explain

APPLICATION_NAME = "rechain"
# These four can't be overruled by an explicit parameter, so the variables themselves have to go.
_NOT_OVERRULED = ("PGSERVICE", "PGTZ", "PGDATESTYLE", "PGGEQO")
# libpq takes an empty value for "not set" everywhere but here.
_NO_EMPTY_VALUE = {"min_protocol_version": b"3.0", "max_protocol_version": b"3.0"}
_POLL_READING, _POLL_OK = pq.PollingStatus.READING, pq.PollingStatus.OK


def attempt(endpoint: Endpoint, user: str, files: ClientFiles, database: str, timeout_s: float) -> Answer:
    """Log in once and leave again.

    Tries each address that the endpoint's name has until one answers. Side effect: one short session on the server.
    """
    absent = _absent(files)
    if absent:
        return Answer(Verdict.REFUSED, Refusal.FILES, absent)
    answer = Answer(Verdict.UNREACHABLE, None, f"{endpoint.address} has no address")
    deadline = time.monotonic() + timeout_s
    for address in addresses(endpoint.address):
        answer = _attempt_at(parameters(endpoint, address, user, files, database), deadline, timeout_s)
        if answer.verdict is not Verdict.UNREACHABLE:
            break
    return answer


def parameters(endpoint: Endpoint, address: str, user: str, files: ClientFiles, database: str) -> dict[str, str]:
    """The connection parameters of a client: every one that the environment could set is set here.

    `sslcertmode=require` makes a server that never looked at the certificate no evidence for it; `sslpassword` keeps
    OpenSSL from asking a terminal for the passphrase of an encrypted key.

    References: PostgreSQL documentation, "Parameter Key Words" and "Environment Variables" of libpq.
    """
    own = {
        "host": endpoint.server_name,
        "hostaddr": address,
        "port": str(endpoint.port),
        "user": user,
        "dbname": database,
        "sslmode": "verify-full",
        "sslcert": files.cert,
        "sslkey": files.key,
        "sslrootcert": files.ca,
        "sslcrl": files.crl,
        "sslcertmode": "require",
        "sslpassword": "none",
        "gssencmode": "disable",
        "passfile": NO_FILE,
        "application_name": APPLICATION_NAME,
    }
    return {**_against_environment(os.environ), **own}


def addresses(address: str) -> tuple[str, ...]:
    """The numeric addresses of an address or a host name; none when the name is unknown."""
    try:
        return (str(ipaddress.ip_address(address)),)
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _against_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The compiled-in value of each parameter that the environment sets."""
    for variable in _NOT_OVERRULED:
        os.environ.pop(variable, None)
    return {
        (keyword := option.keyword.decode()): (option.compiled or _NO_EMPTY_VALUE.get(keyword, b"")).decode()
        for option in pq.Conninfo.get_defaults()
        if option.envvar and option.envvar.decode() in environment
    }


def _absent(files: ClientFiles) -> str | None:
    """What file is missing: libpq then connects without a certificate, which must not pass for a login with it."""
    for name, path in (("sslcert", files.cert), ("sslkey", files.key), ("sslrootcert", files.ca)):
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            return f"{name} {path}: {error.strerror}"
    return None


def _attempt_at(wanted: Mapping[str, str], deadline: float, timeout_s: float) -> Answer:
    connection = pq.PGconn.connect_start(conninfo.make_conninfo("", **wanted).encode())
    try:
        return _follow(connection, deadline, timeout_s)
    finally:
        connection.finish()


def _follow(connection: pq.abc.PGconn, deadline: float, timeout_s: float) -> Answer:
    """Drive one connection to its end; libpq's own time limit does not hold for this way of connecting."""
    encrypted = False
    waiting: int = pq.PollingStatus.WRITING
    while connection.status != pq.ConnStatus.BAD:
        if waiting == _POLL_OK:
            return Answer(Verdict.LOGGED_IN)
        if not _wait(connection.socket, waiting, deadline):
            return Answer(Verdict.UNREACHABLE, None, f"no answer within {timeout_s:g} s")
        waiting = connection.connect_poll()
        encrypted = encrypted or connection.ssl_in_use
    return explain(connection.get_error_message("utf-8"), encrypted=encrypted)


def _wait(descriptor: int, waiting: int, deadline: float) -> bool:
    """Wait until the socket is ready; False when the time is up."""
    poll = select.poll()  # select() itself refuses descriptors above 1023
    poll.register(descriptor, select.POLLIN if waiting == _POLL_READING else select.POLLOUT)
    left_ms = (deadline - time.monotonic()) * 1000
    return left_ms > 0 and bool(poll.poll(left_ms))
