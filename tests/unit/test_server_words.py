"""What the Prefect server writes by itself: JSON that Slack takes, whatever a run is called; nothing of an error."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from prefect.events.actions import CallWebhook

from tasks.server.automations import LOST_AFTER, PREFIX, automations
from tasks.server.words import LATE, LOST, UNTOLD, WAITING, Words, payload
from tasks.told_event import TOLD
from tests.plugins.slack_stub import wrong_with

_PAGE = "http://127.0.0.1:4200/runs/flow-run/1"


def _filled(words: Words, channel: str | None, name: str) -> dict[str, Any]:
    """As the server fills a template in."""
    environment = ImmutableSandboxedEnvironment()
    environment.filters["ui_url"] = lambda _run: _PAGE
    run = SimpleNamespace(name=name, tags=["rests at: overlap", "environment: acc", "moves to: servers"])
    body: dict[str, Any] = json.loads(environment.from_string(payload(words, channel)).render(flow_run=run))
    return body


@pytest.mark.parametrize("words", [LOST, UNTOLD, LATE, WAITING], ids=["lost", "untold", "late", "waiting"])
@pytest.mark.parametrize("name", ["refresh-acc", '"}],{{ 7*7 }}<!channel> & \\ é' * 20])
def test_slack_takes_every_message(words: Words, name: str) -> None:
    """Whatever the run's name holds: it is text, within Slack's limits, with a button to the run's page."""
    body = _filled(words, "#dba", name)
    assert wrong_with(body) is None
    assert body["channel"] == "#dba"
    assert words.title in body["text"]
    assert "environment: acc, moves to: servers, rests at: overlap" in json.dumps(body["blocks"])
    assert {block["text"]["type"] for block in body["blocks"] if "text" in block} == {"plain_text"}
    assert body["blocks"][-1]["elements"][0]["url"] == _PAGE
    assert "49" not in body["text"]


def test_a_webhook_names_no_channel() -> None:
    """It posts to its own."""
    assert "channel" not in _filled(LOST, None, "refresh-acc")


def test_without_slack_lost_runs_are_still_ended() -> None:
    """Nobody is told then, but a slot that a dead run holds would hold up every night."""
    [only] = automations(None, None)
    assert only.name == f"{PREFIX}a run without heartbeats is lost"
    trigger = only.trigger.model_dump(mode="json")
    assert trigger["within"] == LOST_AFTER.total_seconds()
    assert set(trigger["after"]) == {"prefect.flow-run.heartbeat", "prefect.flow-run.Running"}
    assert {"prefect.flow-run.heartbeat", "prefect.flow-run.Suspended"} <= set(trigger["expect"])
    assert "prefect.flow-run.Running" not in trigger["expect"]


def test_a_failure_is_told_by_the_server_only_when_nobody_else_has() -> None:
    """It waits for the event that hooks emit, longer than a hook may take."""
    by_name = {one.name.removeprefix(PREFIX): one for one in automations(uuid4(), "#dba")}
    trigger = by_name["tell a failure that was not told"].trigger.model_dump(mode="json")
    assert trigger["expect"] == [TOLD]
    assert set(trigger["after"]) == {"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}
    assert trigger["within"] > 30 + 180
    actions = [action for one in by_name.values() for action in one.actions if isinstance(action, CallWebhook)]
    assert len(actions) == len(by_name) - 1


def test_a_run_that_is_answered_or_queued_and_never_begins_is_told() -> None:
    """An answered gate without a worker, and a night behind one that hangs; to be taken for a moment is no start."""
    by_name = {one.name.removeprefix(PREFIX): one for one in automations(uuid4(), "#dba")}
    starts = by_name["tell that a run does not start"].trigger.model_dump(mode="json")
    assert {"prefect.flow-run.Late", "prefect.flow-run.Resuming"} == set(starts["after"])
    turn = by_name["tell that a run waits for its turn"].trigger.model_dump(mode="json")
    assert turn["after"] == ["prefect.flow-run.AwaitingConcurrencySlot"]
    assert "prefect.flow-run.Pending" not in turn["expect"]
    assert "prefect.flow-run.Running" in turn["expect"]


def test_no_text_of_a_state_is_passed_on() -> None:
    """Only the run's own hook knows which errors hold no secret."""
    actions = [
        action for one in automations(uuid4(), "#dba") for action in one.actions if isinstance(action, CallWebhook)
    ]
    assert actions
    assert not [action for action in actions if "state" in action.payload.split('"blocks"')[0]]
