"""Change an environment's chain spec: in the working tree, or as a merge request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.repository.change_branch import Change, Requested, request_merge
from tasks.repository.spec_edit import with_clients, with_server
from tasks.repository.spec_file import parse_text


def request_clients(root: Path, environment: str, names: Sequence[str], reason: str | None) -> Requested:
    """Ask to merge further clients into the chain spec.

    Side effect: a branch, here and on the remote. Idempotent, safe to retry.

    Raises:
        InputError: They can't be added, or the clone is not fit for it; nothing was changed.
        RepositoryError: The remote refused the push; the commit is kept here.
    """
    role = "Each is" if len(names) > 1 else "It is"
    why = (
        f"{role} a PostgreSQL role that logs in with a certificate, issued by `rechain refresh --strategy add-clients`."
    )
    change = Change(
        environment,
        f"add client{'s' if len(names) > 1 else ''} {' '.join(names)}",
        reason or why,
        edit=lambda text: with_clients(root, environment, text, names),
        is_in=lambda text: set(names) <= set(parse_text(root, environment, text).clients),
    )
    return request_merge(root, change)


def request_server(root: Path, environment: str, name: str, names: Sequence[str], reason: str | None) -> Requested:
    """Ask to merge a further server into the chain spec; see `request_clients`."""
    change = Change(
        environment,
        f"add server {name}",
        reason or "Its certificate comes with the next `rechain refresh`.",
        edit=lambda text: with_server(root, environment, text, name, names),
        is_in=lambda text: name in parse_text(root, environment, text).servers,
    )
    return request_merge(root, change)
