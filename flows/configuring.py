"""`rechain config`: change an environment's chain spec, comments and order kept; here, or as a merge request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from flows import terminal
from flows.options import HERE, Repo
from rechain.errors import InputError

if TYPE_CHECKING:
    from tasks.repository.change_branch import Requested

config = App(name="config", help="Change the chain spec of an environment; comments and order stay.")

MergeRequest = Annotated[
    bool,
    Parameter(
        name="--merge-request", negative="", help="Push it as a branch with a merge request; change nothing here."
    ),
]
Reason = Annotated[str | None, Parameter(help="With --merge-request: why, for those who review it.")]


@config.command
def add_client(
    env: str, *names: str, merge_request: MergeRequest = False, reason: Reason = None, repo: Repo = HERE
) -> int:
    """Add clients: PostgreSQL roles that log in with a certificate. Then: refresh ENV --strategy add-clients."""
    from tasks.change_spec import request_clients
    from tasks.repository.spec_edit import add_clients

    if not names:
        raise InputError("rechain config add-client", "got no name", "name one or more clients")
    _refuse_lonely_reason(reason, merge_request=merge_request)
    root, then = repo.resolve(), f"rechain refresh {env} --strategy add-clients"
    if merge_request:
        return _tell_request(request_clients(root, env, names, reason), then)
    return _tell_edit(root, add_clients(root, env, names), ", ".join(names), then)


@config.command
def add_server(
    env: str, name: str, *names: str, merge_request: MergeRequest = False, reason: Reason = None, repo: Repo = HERE
) -> int:
    """Add a server, and the further names and addresses in its certificate. Its leaf comes with the next refresh."""
    from tasks.change_spec import request_server
    from tasks.repository.spec_edit import add_server as add

    _refuse_lonely_reason(reason, merge_request=merge_request)
    root, then = repo.resolve(), f"rechain refresh {env}"
    if merge_request:
        return _tell_request(request_server(root, env, name, names, reason), then)
    return _tell_edit(root, add(root, env, name, names), name, then)


def _refuse_lonely_reason(reason: str | None, *, merge_request: bool) -> None:
    if reason is not None and not merge_request:
        raise InputError(
            "--reason", "is told to nobody without a merge request", "add --merge-request, or leave it out"
        )


def _tell_request(requested: Requested, then: str) -> int:
    where = requested.address or f"open it from branch {requested.branch} into {requested.base}"
    terminal.say(f"branch {requested.branch} is pushed; merge request: {where}")
    terminal.say(f"next, when it is merged: git pull, then {then}")
    return 0


def _tell_edit(root: Path, path: Path, added: str, then: str) -> int:
    """Say what was done, and what Java or PostgreSQL would refuse of the leaves that this spec gives."""
    from tasks.lint import lint_files

    terminal.say(f"{path.relative_to(root)}: added {added}")
    terminal.say(f"next: {then}")
    for finding in lint_files([path]):
        terminal.complain(str(finding))
    return 0
