"""Slack, against a stand-in that counts and checks what arrives: told once, and kept up to date."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rechain.errors import InputError
from rechain.slack_message import Links
from tasks.notify.incidents import Told, tell, try_slack
from tasks.notify.settings import SlackSettings, slack_settings
from tests.plugins.slack_scans import ENDS, INCIDENT, NAME, NOW, WORSE, Scans
from tests.plugins.slack_stub import CHANNEL, CHANNEL_ID, Slack


def _text(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False)


def test_two_hundred_places_are_one_message(slack: Slack, scans: Scans) -> None:
    """It says what, where, when and what to press; ten rows, and how many more."""
    links = Links("https://prefect.example/runs/flow-run/1", {"acc": "https://prefect.example/deployments/1/run"})
    assert scans.tell(INCIDENT, links=links) == Told(posted=(NAME,))
    [post] = slack.posts
    text = _text(post)
    assert post["channel"] == CHANNEL
    assert text.count("seen by wire") == 10
    for part in ("WARNING acc", "and 190 more", INCIDENT.breaks, "2030-01-21", "20 days left", INCIDENT.fix):
        assert part in text
    [buttons] = [block for block in post["blocks"] if block["type"] == "actions"]
    assert [button["url"] for button in buttons["elements"]] == [links.run, links.refresh["acc"]]


def test_a_scan_that_finds_the_same_calls_nobody(slack: Slack, scans: Scans) -> None:
    """Not with another run's page either, nor an hour later, nor after a restart: the memory is a file."""
    scans.tell(INCIDENT)
    scans.now += timedelta(minutes=30)
    assert scans.tell(INCIDENT, links=Links("https://prefect.example/runs/flow-run/2")) == Told()
    assert len(slack.calls) == 1


def test_a_message_is_kept_up_to_date(slack: Slack, scans: Scans) -> None:
    """Days that pass edit the message, and say nothing in its thread."""
    scans.tell(INCIDENT)
    scans.now += timedelta(days=8)
    assert scans.tell(INCIDENT) == Told(updated=(NAME,))
    assert len(slack.posts) == 1
    [edit] = slack.edits
    assert "now 12 days left" in _text(edit)
    assert edit["channel"] == CHANNEL_ID
    assert slack.replies == []


def test_what_is_noteworthy_goes_into_the_thread(slack: Slack, scans: Scans) -> None:
    """More places and an earlier date do; once."""
    scans.tell(INCIDENT)
    more = replace(INCIDENT, rows=(*INCIDENT.rows, "db200", "db201"), when=ENDS - timedelta(days=3))
    assert scans.tell(more) == Told(updated=(NAME,), threaded=(NAME,))
    [reply] = slack.replies
    assert reply["thread_ts"] == next(iter(slack.messages))
    assert "2 more places: 202, 200 before" in reply["text"]
    assert "earlier: 2030-01-18" in reply["text"]
    assert scans.tell(more) == Told()
    assert len(slack.posts) == 1


def test_it_is_told_anew_when_it_gets_worse(slack: Slack, scans: Scans) -> None:
    """With the old message leading to the new one; becoming less urgent again is told in the thread."""
    scans.tell(INCIDENT)
    assert scans.tell(WORSE) == Told(posted=(NAME,))
    assert "CRITICAL acc" in _text(slack.posts[1])
    [edit] = slack.edits
    old, new = slack.messages
    assert edit["ts"] == old
    assert f"/archives/{CHANNEL_ID}/p{new.replace('.', '')}" in _text(edit)
    assert scans.tell(WORSE) == Told()
    assert scans.tell(INCIDENT) == Told(updated=(NAME,), threaded=(NAME,))
    assert (slack.edits[-1]["ts"], slack.replies[0]["thread_ts"]) == (new, new)
    assert scans.memory()["incidents"][0]["replaced"] == []


def test_recovery_edits_it_to_resolved_once(slack: Slack, scans: Scans) -> None:
    """It says what it was; the same incident years later is a new one."""
    scans.tell(INCIDENT)
    assert scans.tell() == Told(resolved=(NAME,))
    [edit] = slack.edits
    assert "resolved: acc: 200 certificates end" in _text(edit)
    assert "was WARNING since 2030-01-01" in _text(edit)
    assert scans.tell() == Told()
    assert scans.tell(INCIDENT) == Told(posted=(NAME,))


def test_what_was_not_looked_at_is_not_resolved(slack: Slack, scans: Scans) -> None:
    """Neither in an environment that was not scanned nor in one whose scan was incomplete."""
    scans.tell(INCIDENT)
    assert scans.tell(environments=["prod"]) == Told()
    assert scans.tell(unknown=["acc"]) == Told()
    assert len(slack.calls) == 1


def test_a_scan_that_did_not_see_everything_calms_nobody(slack: Slack, scans: Scans) -> None:
    """A host that is away every other night makes nothing look better, and then worse, which would be told anew."""
    scans.tell(WORSE)
    fewer = replace(INCIDENT, rows=INCIDENT.rows[:100], when=ENDS + timedelta(days=3))
    assert scans.tell(fewer, unknown=["acc"]) == Told()
    assert scans.tell(replace(fewer, severity=WORSE.severity), unknown=["acc"]).threaded == ()
    scans.tell(WORSE)
    assert slack.replies == []
    assert len(slack.posts) == 1
    assert scans.tell(INCIDENT).threaded == (NAME,)


def test_nothing_in_a_message_becomes_a_link_or_a_mention_by_itself(slack: Slack, scans: Scans) -> None:
    """Names of hosts and roles come from certificates: Slack is told to take them as they are."""
    scans.tell(replace(INCIDENT, breaks="every login of @channel on http://db1.example fails"))
    [post] = slack.posts
    texts = [part for block in post["blocks"] for part in (block.get("text"), *block.get("elements", ()))]
    marked = [part for part in texts if part and part["type"] == "mrkdwn"]
    assert marked
    assert all(part["verbatim"] is True for part in marked)


def test_a_rate_limit_is_obeyed(slack: Slack, scans: Scans) -> None:
    """The call is made again, not before Slack's Retry-After."""
    slack.script = ["429", "429"]
    assert scans.tell(INCIDENT) == Told(posted=(NAME,))
    times = [call.at for call in slack.calls]
    assert len(times) == 3
    assert min(later - earlier for earlier, later in pairwise(times)) >= 1


def test_a_rate_limit_that_asks_for_too_long_is_left_to_the_next_scan(slack: Slack, scans: Scans) -> None:
    """One call is made, and none of the other incidents waits for the same."""
    slack.always, slack.retry_after = "429", "3600"
    other = replace(INCIDENT, cause="policy:weak-key")
    told = scans.tell(INCIDENT, other)
    assert [name.split(": Slack")[0] for name in told.failed] == [NAME, "acc: policy:weak-key"]
    assert len(slack.calls) == 1


@pytest.mark.parametrize("word", ["message_not_found", "channel_not_found", "cant_update_message"])
def test_a_message_that_is_gone_is_posted_anew(slack: Slack, scans: Scans, word: str) -> None:
    """Somebody deleted it, or the app or the channel is another one."""
    scans.tell(INCIDENT)
    scans.now += timedelta(days=1)
    slack.script = [word]
    assert scans.tell(INCIDENT) == Told(posted=(NAME,))
    slack.script = [word]
    assert scans.tell() == Told(resolved=(NAME,))


def test_a_webhook_posts_and_no_more(slack: Slack, through_webhook: Scans) -> None:
    """At first sight, when it gets worse, and at the end."""
    scans = through_webhook
    assert scans.tell(INCIDENT) == Told(posted=(NAME,))
    scans.now += timedelta(days=1)
    assert scans.tell(replace(INCIDENT, rows=(*INCIDENT.rows, "db200"))) == Told()
    assert scans.tell(WORSE) == Told(posted=(NAME,))
    assert scans.tell(WORSE) == Told()
    assert scans.tell() == Told(resolved=(NAME,))
    assert [call.method for call in slack.calls] == ["webhook"] * 3


def test_a_token_takes_over_from_a_webhook(slack: Slack, through_webhook: Scans, with_token: SlackSettings) -> None:
    """What the webhook posted can't be edited: the next change is a message that can."""
    scans = through_webhook
    scans.tell(INCIDENT)
    scans.settings = with_token
    assert scans.tell(INCIDENT) == Told()
    scans.now += timedelta(days=1)
    assert scans.tell(INCIDENT) == Told(posted=(NAME,))
    scans.now += timedelta(days=1)
    assert scans.tell(INCIDENT) == Told(updated=(NAME,))


def test_nothing_configured_tells_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel alone is nothing; the caller can tell."""
    for variable in ("RECHAIN_SLACK_TOKEN_FILE", "RECHAIN_SLACK_WEBHOOK_FILE"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "rechain.yml").write_text("slack: {channel: '#dba'}")
    assert slack_settings(tmp_path) is None
    assert tell([INCIDENT], environments=["acc"], state_dir=tmp_path / "told", settings=None, now=NOW).is_off
    assert not (tmp_path / "told").exists()
    assert try_slack(None, NOW) == "Slack is not configured"


def test_settings_come_from_the_repository_and_name_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token without a channel is refused with what to do."""
    monkeypatch.setenv("RECHAIN_SLACK_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.delenv("RECHAIN_SLACK_WEBHOOK_FILE", raising=False)
    with pytest.raises(InputError, match=r"slack\.channel is not"):
        slack_settings(tmp_path)
    (tmp_path / "rechain.yml").write_text("slack: {channel: '#dba', base_url: 'https://relay.example/api/'}")
    found = slack_settings(tmp_path)
    assert found == SlackSettings("#dba", tmp_path / "token", None, "https://relay.example/api/")
