"""Whether a service would start again, and a client log in again, with the files that lie on the host."""

from __future__ import annotations

from collections.abc import Iterator

from rechain.scan.seen import FileFacts, SetOnHost

_OTHERS = 0o077
_ROOT_GROUP_MAY_READ = 0o040


def restart_problems(one: SetOnHost) -> tuple[str, ...]:
    """Why a restart of the service would be fatal; nothing when it would not.

    References: PostgreSQL documentation, "SSL Server File Usage".
    """
    return tuple(_problems(one))


def client_problems(one: SetOnHost) -> tuple[str, ...]:
    """Why the client's next login would fail for its own files; nothing when it would not.

    References: PostgreSQL documentation, "Client Certificates" and "SSL Client File Usage" of libpq.
    """
    return tuple(_problems(one))


def _problems(one: SetOnHost) -> Iterator[str]:
    for file in (one.cert, one.key, one.ca):
        if file.problem:
            yield f"{file.path}: {file.problem}"
        elif file.readable is False:
            yield f"{file.path}: belongs to {file.owner}, and {one.owner} may not read it"
    if one.pair_problem:
        yield f"{one.key.path}: {one.pair_problem}"
    yield from _open_key(one.key, one.owner)


def _open_key(key: FileFacts, owner: str) -> Iterator[str]:
    if key.mode is None:
        return
    allowed = _ROOT_GROUP_MAY_READ if key.owner == "root" else 0
    if key.owner not in (owner, "root"):
        yield f"{key.path}: belongs to {key.owner}, not to {owner} or root"
    if key.mode & _OTHERS & ~allowed:
        yield f"{key.path}: has mode {key.mode:04o}; only 0600, or 0640 of root, is accepted"
