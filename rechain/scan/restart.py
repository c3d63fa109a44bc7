"""Whether a service would start again, and a client log in again, with the files that lie on the host."""

from __future__ import annotations

from collections.abc import Iterator

from rechain.fleet import ServiceKind
from rechain.scan.seen import FileFacts, SetOnHost

_OTHERS = 0o077
_ROOT_GROUP_MAY_READ = 0o040


def restart_problems(one: SetOnHost) -> tuple[str, ...]:
    """Why a restart of the service would be fatal; nothing when it would not.

    Who else may read the key matters to PostgreSQL alone: PgBouncer, HAProxy and etcd start all the same.

    References: PostgreSQL documentation, "SSL Server File Usage".
    """
    return tuple(_restart_problems(one))


def client_problems(one: SetOnHost) -> tuple[str, ...]:
    """Why the client's next login would fail for its own files; nothing when it would not.

    References: PostgreSQL documentation, "Client Certificates" and "SSL Client File Usage" of libpq.
    """
    return (*_unusable(one), *_open_key(one.key))


def _restart_problems(one: SetOnHost) -> Iterator[str]:
    yield from _unusable(one)
    if one.kind in (None, ServiceKind.POSTGRESQL):
        if one.key.owner not in (None, one.owner, "root"):
            yield f"{one.key.path}: belongs to {one.key.owner}, not to {one.owner} or root"
        yield from _open_key(one.key)


def _unusable(one: SetOnHost) -> Iterator[str]:
    for file in (one.cert, one.key, one.ca):
        if file.problem:
            yield f"{file.path}: {file.problem}"
        elif file.readable is False:
            yield f"{file.path}: {one.owner} can't read it; it belongs to {file.owner}, mode {file.mode or 0:04o}"
    if one.pair_problem:
        yield f"{one.key.path}: {one.pair_problem}"


def _open_key(key: FileFacts) -> Iterator[str]:
    """The check that PostgreSQL and libpq share; libpq does not ask whose the key is."""
    allowed = _ROOT_GROUP_MAY_READ if key.owner == "root" else 0
    if (key.mode or 0) & _OTHERS & ~allowed:
        yield f"{key.path}: has mode {key.mode:04o}; only 0600, or 0640 of root, is accepted"
