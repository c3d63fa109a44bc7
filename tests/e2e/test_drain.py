"""Draining on a live fleet: sessions of certificates that clients have left end, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from lab.environment import ENVIRONMENT, EXTERNAL
from lab.login import Kind, connect, read_journal
from tests.plugins.desk import WAITING, Desk

_MANAGED = "pgfga"
_Connection = psycopg.Connection[tuple[object, ...]]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_sessions_end_batch_by_batch_and_only_those_that_are_meant(new_desk: Callable[..., Desk]) -> None:
    """Idle ones of managed clients; busy and external ones when they are named; who comes back unchanged is let be."""
    desk = new_desk()
    desk.refresh("--until", "servers", expect=WAITING)
    assert "sessions are drained there alone" in desk.run("drain", ENVIRONMENT, "--yes", expect=2).stderr
    desk.trust()
    desk.refresh("--until", "servers")
    with _sessions(desk, _MANAGED, 3) as (first, second, busy), _sessions(desk, EXTERNAL, 1) as (theirs,):
        busy.execute("begin")
        desk.refresh("--until", "clients")
        with _sessions(desk, _MANAGED, 1) as (new,):
            drained = desk.json("drain", ENVIRONMENT, "--yes", "--batch", "1", "--pause", "0.5", expect=WAITING)
            assert [one["client"] for one in drained["ended"]] == [_MANAGED, _MANAGED]
            assert {(one["client"], "--busy" in one["reason"]) for one in drained["left"]} == {
                (_MANAGED, True),
                (EXTERNAL, False),
            }
            assert [_lives(one) for one in (first, second, busy, theirs, new)] == [False, False, True, True, True]

            named = desk.json("drain", ENVIRONMENT, "--yes", "--busy", "--client", _MANAGED, expect=WAITING)
            assert [one["client"] for one in named["left"]] == [EXTERNAL]
            assert [_lives(one) for one in (busy, theirs, new)] == [False, True, True]
    assert "has no client 'nobody'" in desk.run("drain", ENVIRONMENT, "--yes", "--client", "nobody", expect=2).stderr

    application = desk.lab.run_application()
    _wait_for_its_pool(desk)
    back = desk.json("drain", ENVIRONMENT, "--yes", "--batch", "1", "--client", EXTERNAL, expect=WAITING)
    assert len(back["ended"]) == 1, "of a session on each server"
    assert {one["reason"].split(":")[0] for one in back["left"]} == {
        "its client came back with the certificate that it left"
    }
    desk.lab.owner.take_delivery()
    desk.lab.owner.recycle_pool(application, desk.lab.journal(EXTERNAL))
    assert desk.json("drain", ENVIRONMENT, "--yes", "--client", EXTERNAL)["left"] == []
    desk.lab.finish(application)


@contextmanager
def _sessions(desk: Desk, client: str, count: int) -> Iterator[list[_Connection]]:
    """Sessions on the primary with the certificate that the client has now."""
    identity = next(one for one in desk.lab.identities if one.client == client)
    with ExitStack() as stack:
        yield [stack.enter_context(connect(identity, desk.lab.endpoints[0])) for _ in range(count)]


def _wait_for_its_pool(desk: Desk) -> None:
    """Until the application has a session on each server."""
    deadline = time.monotonic() + 30
    journal = desk.lab.journal(EXTERNAL)
    while len({one.endpoint for one in read_journal(journal) if one.kind is Kind.QUERY and one.ok}) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _lives(session: _Connection) -> bool:
    try:
        return session.execute("select 1").fetchone() == (1,)
    except psycopg.Error:
        return False
