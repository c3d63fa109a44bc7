"""`rechain drain`: end sessions that still hold a certificate which clients have left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from flows import terminal
from flows.options import HERE, Formatted, Repo, Yes
from flows.rotating import WAITING
from flows.terminal import Format

if TYPE_CHECKING:
    from rechain.drain import Drained


def drain(
    env: str,
    *,
    client: Annotated[
        list[str] | None, Parameter(help="Whose sessions; repeatable. Else of all whose files rechain installs.")
    ] = None,
    batch: Annotated[int, Parameter(validator=Number(gte=1), help="Sessions at a time.")] = 10,
    pause: Annotated[float, Parameter(validator=Number(gte=0), help="Seconds between batches.")] = 5.0,
    busy: Annotated[bool, Parameter(negative="", help="Those in a transaction, too: their work is lost.")] = False,
    yes: Yes = False,
    repo: Repo = HERE,
    format: Formatted = Format.TABLE,
) -> int:
    """End sessions that still hold a certificate which clients have left, batch by batch."""
    from rechain.drain import as_json

    whose = ", ".join(client) if client else "clients whose files rechain installs"
    terminal.confirm(f"End sessions of {whose} in {env} that hold the certificate that they left?", yes=yes)
    terminal.prepare_prefect()
    from flows.drain import drain_sessions

    with terminal.progress():
        drained = drain_sessions(env, client, batch, pause, busy, str(repo.resolve()))
    terminal.show(as_json(drained), format, lambda: _print(drained))
    return WAITING if drained.left or drained.unreadable else 0


def _print(drained: Drained) -> None:
    terminal.say(f"{len(drained.ended)} sessions were ended")
    for one, reason in drained.left.items():
        terminal.say(f"left: {one}: {reason}")
    for server in drained.unreadable:
        terminal.say(f"not looked at: {server}")
    if not drained.left and not drained.unreadable:
        terminal.say("no session holds a certificate that its client has left")
