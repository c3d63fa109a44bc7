"""`rechain csr` and `rechain import`: ask an outside CA for certificates, and take them back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows import terminal
from flows.options import HERE, Formatted, Repo, TakeOver
from flows.terminal import Format
from rechain.errors import InputError
from rechain.generation import Side

if TYPE_CHECKING:
    from rechain.signing_request import Requests
    from tasks.import_certificates import Imported
    from tasks.request_certificates import Waiting
    from tasks.state import EnvironmentRef


def csr(
    env: str,
    *,
    side: Annotated[list[Side] | None, Parameter(help="Ask for this side only; our own CA issues the other.")] = None,
    name: Annotated[
        list[str] | None, Parameter(help="Ask for this leaf only; repeatable. All others keep theirs.")
    ] = None,
    intermediates: Annotated[
        bool, Parameter(negative="", help="Ask for the sides' intermediate CAs; we issue the leaves below.")
    ] = False,
    output: Annotated[Path | None, Parameter(help="Folder for one archive of all requests, ENV-csrs.tar.gz.")] = None,
    discard: Annotated[bool, Parameter(negative="", help="Drop the requests that wait, and their keys.")] = False,
    take_over: TakeOver = False,
    repo: Repo = HERE,
    format: Formatted = Format.TABLE,
) -> int:
    """Write signing requests (CSRs) for an outside CA; the keys stay here, vaulted."""
    from tasks.request_certificates import Asked, request_certificates
    from tasks.state import EnvironmentRef

    ref = EnvironmentRef(repo.resolve(), env)
    if discard:
        if side or name or intermediates or output:
            raise InputError("--discard", "drops all requests that wait", "leave the other options out")
        return _discard(ref, format, take_over=take_over)
    if name and intermediates:
        raise InputError("--name", "names leaves, and --intermediates asks for CAs", "leave one of the two out")
    asked = Asked(tuple(dict.fromkeys(side or ())), tuple(dict.fromkeys(name or ())), intermediates)
    archive = output.absolute() / f"{env}-csrs.tar.gz" if output else None
    waiting = request_certificates.fn(ref, asked, archive, take_over=take_over)
    terminal.show(_requests_json(env, waiting), format, lambda: _print_requests(env, waiting))
    return 0


def import_certificates(
    env: str, *files: Path, take_over: TakeOver = False, repo: Repo = HERE, format: Formatted = Format.TABLE
) -> int:
    """Take certificates and chain of an outside CA back, as the next generation; deploys nothing."""
    from tasks.import_certificates import import_certificates as take
    from tasks.state import EnvironmentRef

    if not files:
        raise InputError("rechain import", "got no file", "name what the CA sent, and its own certificates")
    imported = take.fn(EnvironmentRef(repo.resolve(), env), files, take_over=take_over)
    content = {"schema": 1, "environment": env, "next": imported.number, "trusted_for_logins": [*imported.client_roots]}
    terminal.show(content, format, lambda: _print_imported(env, imported))
    return 0


def _discard(ref: EnvironmentRef, format: Format, *, take_over: bool) -> int:
    from tasks.request_certificates import discard_requests

    dropped = discard_requests.fn(ref, take_over=take_over)
    content = {"schema": 1, "environment": ref.environment, "discarded": len(dropped.public_keys)}
    terminal.show(content, format, lambda: _print_dropped(dropped))
    return 0


def _print_dropped(dropped: Requests) -> None:
    terminal.say(f"{len(dropped.public_keys)} requests of {dropped.made_at:%Y-%m-%d} are dropped, with their keys")
    terminal.say("  certificates that the CA issues for them are useless from now on: tell the CA")


def _requests_json(env: str, waiting: Waiting) -> dict[str, object]:
    return {
        "schema": 1,
        "environment": env,
        "folder": str(waiting.folder),
        "made_at": waiting.requests.made_at.isoformat(),
        "requests": [
            {"side": one.side.value, "name": one.name, "file": one.file} for one in waiting.requests.public_keys
        ],
        "archive": str(waiting.archive) if waiting.archive else None,
    }


def _print_requests(env: str, waiting: Waiting) -> None:
    count, since = len(waiting.requests.public_keys), f"{waiting.requests.made_at:%Y-%m-%d %H:%M} UTC"
    what = f"{count} requests are in" if waiting.is_new else f"{count} requests wait since {since} in"
    terminal.say(f"{what} {waiting.folder}")
    if waiting.archive:
        terminal.say(f"{waiting.archive}: all of them, for the CA; nothing in it is secret")
    terminal.say("commit that folder: it holds the keys, vaulted, and without them the certificates are useless")
    terminal.say(f"next, with what the CA sends and its own certificates up to the root: rechain import {env} FILE…")


def _print_imported(env: str, imported: Imported) -> None:
    end = f"{imported.first_end.subject} ends first, on {imported.first_end.not_after:%Y-%m-%d}"
    terminal.say(f"generation {imported.number} is issued; {end}")
    for root in imported.client_roots:
        terminal.say(f"note: servers will trust {root}: whoever it gives a certificate of a role's name logs in as it")
    strategy = " --strategy downtime" if imported.is_first else ""
    terminal.say(f"next: rechain refresh {env}{strategy}")
