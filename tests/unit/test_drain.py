"""Which sessions are ended, which are let be, and what is told about those."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rechain.drain import Drained, Held, HeldSession, as_json, left_serials, returned, to_end, why_left
from tests.chains import NOW, make_chain

_FIRST = HeldSession("db1:5432", 71, "app", "app", "192.0.2.1", NOW, is_idle=True)
_LATER = replace(_FIRST, endpoint="db2:5432", since=NOW + timedelta(minutes=1))
_THEIRS = replace(_FIRST, pid=72, client="batch", user="batch")


def test_a_client_that_keeps_its_certificate_leaves_none() -> None:
    """An outside CA was asked for some of them only."""
    leaving, arriving = make_chain(1, ("db1",), ("app", "batch")), make_chain(2, ("db1",), ("app", "batch"))
    kept = {**arriving.generation.clients, "batch": leaving.generation.clients["batch"]}
    serials = left_serials(leaving.generation, replace(arriving.generation, clients=kept))
    assert serials == {leaving.generation.clients["app"].leaf.serial: "app"}


def test_the_oldest_sessions_of_those_who_are_meant_end_first() -> None:
    """Nobody else's, and none of a client that came back with what it had left."""
    every = [_LATER, _THEIRS, _FIRST]
    assert to_end(every, {"app"}, frozenset()) == [_FIRST, _LATER]
    assert to_end(every, {"app", "batch"}, frozenset({"app"})) == [_THEIRS]


def test_a_new_session_with_the_certificate_that_was_left_tells_that_nothing_newer_is_there() -> None:
    """A process number is used again; what is still the same session came back from nowhere."""
    again = replace(_FIRST, since=NOW + timedelta(seconds=9))
    before = Held((_FIRST, _THEIRS), frozenset({"db1:5432"}))
    assert returned(before, Held((_THEIRS,), before.read)) == frozenset()
    assert returned(before, Held((replace(_FIRST, is_idle=False), _THEIRS), before.read)) == frozenset()
    assert returned(before, Held((again, _THEIRS), before.read)) == {"app"}
    assert returned(before, Held((_LATER, _THEIRS), before.read)) == frozenset(), "db2 told nothing before"


def test_every_session_that_is_left_has_its_reason() -> None:
    """Not asked for, back again, busy, new."""
    busy = replace(_LATER, is_idle=False)
    assert "--client" in why_left([_FIRST], {"batch"}, frozenset(), {})[_FIRST]
    assert "install the next one" in why_left([busy], {"app"}, {"app"}, {})[busy]
    assert "--busy" in why_left([busy], {"app"}, frozenset(), {})[busy]
    assert why_left([_FIRST], {"app"}, frozenset(), {_FIRST: "not allowed"}) == {_FIRST: "not allowed"}
    told = as_json(Drained("acc", (_FIRST,), why_left([_LATER], {"app"}, frozenset(), {})))
    assert told["ended"] == [
        {"client": "app", "user": "app", "address": "192.0.2.1", "endpoint": "db1:5432", "since": NOW.isoformat()}
    ]
    assert "'reason': 'it began meanwhile: run again'" in str(told["left"])
