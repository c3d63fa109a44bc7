"""Drain sessions: end those that hold certificates which clients have left, batch by batch, and only when asked."""

from __future__ import annotations

import time

from prefect import flow
from pydantic import NonNegativeFloat, PositiveInt

from rechain.drain import Drained, Held, HeldSession, returned, to_end, why_left
from rechain.errors import InputError, TransitionRefused
from tasks.drain import end_sessions, held_sessions
from tasks.notify_hooks import on_crashed, on_failure
from tasks.repository.location import repository_root
from tasks.state import EnvironmentRef, observe
from tasks.step import progress

_MOVED = "the fleet moved on before its turn came"


@flow(
    name="drain-sessions",
    flow_run_name="drain-{environment}",
    persist_result=False,
    validate_parameters=True,
    on_failure=[on_failure],
    on_crashed=[on_crashed],
)
def drain_sessions(  # noqa: PLR0917  # the fields of the run form
    environment: str,
    clients: list[str] | None = None,
    batch: PositiveInt = 10,
    pause_s: NonNegativeFloat = 5.0,
    busy: bool = False,
    repository: str = "",
) -> Drained:
    """End sessions that still hold a certificate which clients have left, so that gate `clients` can open.

    A client that comes back with the certificate that it left is let be from then on: it has nothing newer.

    Args:
        environment: Name of the environment, as in `environments/ENV`.
        clients: Whose sessions; when empty those of every client whose files rechain installs. An external one is
            named once its owner has installed the next certificate.
        batch: How many sessions are ended at a time.
        pause_s: Seconds between batches, in which applications come back.
        busy: End sessions in the middle of a transaction, too: their work is lost.
        repository: Directory of the environment repository on the worker; where RECHAIN_REPO says when empty.

    Raises:
        RechainError: Says where, what, and what to do next; run it again to go on.
    """
    ref = EnvironmentRef(repository_root(repository), environment)
    first = held_sessions(ref)
    meant, came_back = _meant(ref, clients), frozenset[str]()
    ended: tuple[HeldSession, ...] = ()
    refused: dict[HeldSession, str] = {}
    waiting = to_end(first.sessions, meant, came_back)
    progress.info("%s sessions hold certificates that were left; %s are to be ended", len(first.sessions), len(waiting))
    held: Held | None = first
    while waiting and held is not None:
        chosen, waiting = waiting[:batch], waiting[batch:]
        done, kept = end_sessions(ref, chosen, busy=busy)
        ended, refused = (*ended, *done), {**refused, **kept}
        time.sleep(pause_s)
        held = _look_again(ref)
        came_back |= returned(first, held) if held else frozenset()
        waiting = to_end(waiting, meant, came_back)
    left = why_left(held.sessions, meant, came_back, refused) if held else {**refused, **dict.fromkeys(waiting, _MOVED)}
    progress.info("%s sessions were ended, %s are left", len(ended), len(left))
    return Drained(environment, ended, left, held.unreadable if held else ())


def _look_again(ref: EnvironmentRef) -> Held | None:
    """What is held by now; None when the fleet has moved on meanwhile, and there is nothing more to be drained."""
    try:
        return held_sessions(ref)
    except TransitionRefused as moved:
        progress.warning("%s", moved)
        return None


def _meant(ref: EnvironmentRef, clients: list[str] | None) -> frozenset[str]:
    """Whose sessions are to be ended. Raises InputError."""
    state = observe(ref)
    known = state.rotating.current.clients.keys()
    for name in clients or ():
        if name not in known:
            raise InputError(ref.environment, f"has no client {name!r}", f"those there are: {', '.join(known)}")
    return frozenset(clients or state.fleet.managed_clients)
