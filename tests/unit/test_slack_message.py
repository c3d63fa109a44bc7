"""Slack's messages: within Slack's limits whatever certificates and hosts are called, and nobody's markup but ours."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rechain.finding import Severity
from rechain.scan.incident import Incident
from rechain.slack_message import (
    Failure,
    FailureKind,
    Links,
    Said,
    changes,
    changes_message,
    failure_message,
    incident_message,
    replaced_message,
    resolved_message,
    rises,
    said,
    trial_message,
)
from rechain.slack_text import Message, content_digest, escaped
from tests.plugins.slack_stub import wrong_with

NOW = datetime(2030, 1, 1, 3, tzinfo=UTC)
PLAIN = Incident("acc", "unseen", Severity.WARNING, "title", "logins fail", None, ("one", "two"), "mend it")
HOSTILE = "<!channel> <@U1> <https://evil.example|safe> & `*_~ \u202e \ud800 \x00\r\n```"
_texts = st.one_of(
    st.text(st.characters(), max_size=60),
    st.sampled_from([HOSTILE, HOSTILE * 60, "&" * 3001, "\N{PILE OF POO}" * 1501, "\n" * 10, "x" * 150, "x" * 151]),
)
_rows = st.text(st.characters(), max_size=60) | st.sampled_from([HOSTILE * 10, "&" * 400, "`" * 400])
_moments = st.datetimes(datetime(1970, 1, 2), datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
_severities = st.sampled_from(Severity)
_incidents = st.builds(
    Incident,
    environment=_texts,
    cause=_texts,
    severity=_severities,
    title=_texts,
    breaks=_texts,
    when=st.none() | _moments,
    rows=st.lists(_rows, max_size=12).map(tuple),
    fix=_texts,
)
_addresses = st.none() | _texts | st.sampled_from(["https://p.example/runs/1", "https://p.example/" + "x" * 4000])
_links = st.builds(Links, run=_addresses, refresh=st.dictionaries(_texts, _texts, max_size=2))
_failures = st.builds(
    Failure,
    run_id=_texts,
    environment=_texts,
    flow=_texts,
    kind=st.sampled_from(FailureKind),
    what=_texts,
    phase=st.none() | _texts,
    resting=st.none() | _texts,
    next_action=_texts,
    run_url=_addresses,
)


def _check(message: Message) -> None:
    body = {"text": message.text, "blocks": [dict(block) for block in message.blocks]}
    assert wrong_with(json.loads(json.dumps(body))) is None
    for text in (message.text, *_mrkdwn(body["blocks"])):
        assert re.search(r"[<>]|&(?!amp;|lt;|gt;)", text) is None, text
    json.dumps(body, ensure_ascii=False).encode()  # no half of a surrogate pair


def _mrkdwn(node: Any) -> list[str]:
    """Every text of a message in which Slack reads markup."""
    if isinstance(node, dict):
        own = [str(node["text"])] if node.get("type") == "mrkdwn" else []
        return [*own, *(text for each in node.values() for text in _mrkdwn(each))]
    return [text for each in node for text in _mrkdwn(each)] if isinstance(node, list | tuple) else []


def _shown(message: Message) -> str:
    return json.dumps(message.blocks, ensure_ascii=False)


@given(_incidents, _links, _moments, st.none() | _moments)
def test_every_incident_fits(incident: Incident, links: Links, now: datetime, since: datetime | None) -> None:
    """Whatever is in it; a message that Slack refuses would be told by nobody."""
    links = replace(links, refresh={**links.refresh, incident.environment: links.run or ""})
    _check(incident_message(incident, links=links, now=now, since=since))


@given(_incidents, _incidents, _moments, _addresses)
def test_what_follows_an_incident_fits(incident: Incident, later: Incident, now: datetime, address: str | None) -> None:
    """Its replies, its end, and the message that leads to a newer one."""
    was = said(incident, now)
    _check(resolved_message(was, now=now, links=Links(address)))
    _check(replaced_message(was, address=address, now=now))
    _check(changes_message([*changes(was, later), incident.title], later))


@given(_failures)
def test_every_failure_fits(failure: Failure) -> None:
    """Whatever the error said."""
    _check(failure_message(failure))


def test_the_trial_fits() -> None:
    """It is a message like the others."""
    _check(trial_message(NOW))


@given(st.text(st.characters()), st.integers(10, 40))
def test_a_text_is_cut_between_two_characters_and_no_sooner_than_needed(text: str, limit: int) -> None:
    """Half an entity would be shown as it is; what fits is whole."""
    cut = escaped(text, limit)
    assert len(cut.encode("utf-16-le")) // 2 <= limit
    whole = escaped(text, 10**6)
    assert cut == whole or (
        cut.endswith("…") and whole.startswith(cut[:-1]) and len(cut.encode("utf-16-le")) // 2 > limit - 6
    )
    assert re.search(r"&(?!amp;|lt;|gt;)", cut) is None


def test_rows_are_ten_and_how_many_more() -> None:
    """No row can end the block that it is shown in."""
    rows = tuple(f"row {number} ```" for number in range(200))
    text = _mrkdwn(list(incident_message(replace(PLAIN, rows=rows), links=Links(), now=NOW).blocks))[1]
    assert re.findall(r"row \d+", text) == [f"row {number}" for number in range(10)]
    assert text.count("```") == 2
    assert text.endswith("and 190 more")


@pytest.mark.parametrize(
    ("when", "left"),
    [
        (timedelta(days=12, hours=1), "12 days left"),
        (timedelta(days=1), "1 day left"),
        (timedelta(hours=3), "today"),
        (timedelta(hours=-3), "since today"),
        (timedelta(days=-2, hours=-3), "2 days ago"),
    ],
)
def test_the_message_says_how_long_is_left(when: timedelta, left: str) -> None:
    """With the date; an edit says so in its small print too."""
    incident = replace(PLAIN, when=NOW + when)
    assert f"UTC, {left}" in _shown(incident_message(incident, links=Links(), now=NOW))
    edited = _shown(incident_message(incident, links=Links(), now=NOW, since=NOW))
    assert (f"now {left}" in edited) is (when > timedelta())


@pytest.mark.parametrize(
    "address",
    [
        "",
        "javascript:alert(1)",
        "/runs/1",
        "https://",
        "https://p.example/a b",
        "https://p.example:port/",
        "https://é.example",
    ],
)
def test_what_is_no_page_is_no_button(address: str) -> None:
    """Slack refuses the whole message for one such button."""
    shown = incident_message(PLAIN, links=Links(address, {"acc": "https://p.example/run"}), now=NOW).blocks
    [actions] = [block for block in shown if block["type"] == "actions"]
    assert "Flow run" not in json.dumps(actions)
    assert "https://p.example/run" in json.dumps(actions)


def test_only_content_makes_two_messages_differ() -> None:
    """Neither the hour of the scan nor its page; each part of the incident does."""
    base = content_digest(incident_message(PLAIN, links=Links(), now=NOW).blocks)
    later = incident_message(PLAIN, links=Links("https://p.example/2"), now=NOW + timedelta(hours=1), since=NOW)
    assert content_digest(later.blocks) == base
    changed = [
        replace(PLAIN, severity=Severity.ERROR),
        replace(PLAIN, title="other"),
        replace(PLAIN, breaks=""),
        replace(PLAIN, when=NOW),
        replace(PLAIN, rows=("one",)),
        replace(PLAIN, fix="other"),
    ]
    digests = {content_digest(incident_message(one, links=Links(), now=NOW).blocks) for one in changed}
    assert len(digests - {base}) == len(changed)


def test_severity_rises_in_one_direction() -> None:
    """Note, warning, error."""
    for lower, higher in pairwise((Severity.NOTE, Severity.WARNING, Severity.ERROR)):
        assert rises(said(replace(PLAIN, severity=lower), NOW), replace(PLAIN, severity=higher))
        assert not rises(said(replace(PLAIN, severity=higher), NOW), replace(PLAIN, severity=lower))
        assert not rises(said(replace(PLAIN, severity=lower), NOW), replace(PLAIN, severity=lower))


def test_what_gets_better_or_nearer_by_itself_is_not_worth_a_reply() -> None:
    """Fewer places, a later date, the same; a date that is known for the first time."""
    was = said(replace(PLAIN, when=NOW), NOW)
    for incident in (replace(PLAIN, rows=()), replace(PLAIN, when=NOW + timedelta(1)), replace(PLAIN, when=None)):
        assert changes(was, incident) == ()
    assert changes(said(PLAIN, NOW), replace(PLAIN, when=NOW)) == ()


def test_what_people_are_told_at_the_end_says_what_it_was() -> None:
    """Severity, since when, in how many places."""
    was = Said("acc", "unseen", Severity.ERROR, "title", "logins fail", None, 1, NOW)
    shown = _shown(resolved_message(was, now=NOW + timedelta(3)))
    for part in ("resolved: acc: title", "logins fail", "was CRITICAL since 2030-01-01 03:00 UTC", "1 place"):
        assert part in shown


def test_a_failure_without_a_resting_point_says_how_to_find_it() -> None:
    """Nothing is claimed that is not known."""
    failure = Failure("1", "acc", "roll-back", FailureKind.CRASHED, "it crashed", None, None, "")
    shown = _shown(failure_message(failure))
    assert "not known; `rechain status` says it" in shown
    assert "rechain status acc" in shown
