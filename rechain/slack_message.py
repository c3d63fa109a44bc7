"""What people read in Slack: an incident, what changed about it, its end, and a flow that failed.

Pure values. Nothing secret can be in them that was not in what is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from rechain.finding import Severity
from rechain.scan.incident import Incident
from rechain.slack_text import Message, buttons, context, fallback, header, lines, listing, section

SHOWN = 10
_WORD = {Severity.ERROR: "CRITICAL", Severity.WARNING: "WARNING", Severity.NOTE: "NOTE"}
_SIGN = {Severity.ERROR: "🔴", Severity.WARNING: "🟠", Severity.NOTE: "⚪"}
_RANK = (Severity.NOTE, Severity.WARNING, Severity.ERROR)


@dataclass(frozen=True, slots=True)
class Links:
    """Where the buttons lead; a missing address is a missing button.

    Attributes:
        run: Page of the flow run that found it.
        refresh: Environment to the page with the form that starts its refresh.
    """

    run: str | None = None
    refresh: Mapping[str, str] = field(default_factory=dict)


NO_LINKS = Links()


@dataclass(frozen=True, slots=True)
class Said:
    """What people were last told of an incident: enough to see what changed and to say that it is over.

    Attributes:
        environment: Where.
        cause: The incident's key.
        severity: How bad it was.
        title: What was wrong.
        breaks: What was to fail.
        when: When, aware UTC.
        rows: In how many places it showed.
        since: When people were first told, aware UTC.
    """

    environment: str
    cause: str
    severity: Severity
    title: str
    breaks: str
    when: datetime | None
    rows: int
    since: datetime


class FailureKind(StrEnum):
    """How a flow ended."""

    FAILED = "failed"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Failure:
    """A flow run that did not end well.

    Attributes:
        run_id: Which run; a run is told once.
        environment: Where.
        flow: Name of the flow.
        kind: Failed or crashed.
        what: What went wrong, without anything secret.
        phase: The phase that it was moving to; None when it moved nothing.
        resting: The phase that the environment rests at; None when that is not known.
        next_action: What to do.
        run_url: The run's page.
    """

    run_id: str
    environment: str
    flow: str
    kind: FailureKind
    what: str
    phase: str | None
    resting: str | None
    next_action: str
    run_url: str | None = None


def said(incident: Incident, since: datetime) -> Said:
    """What people know once an incident was told."""
    return Said(
        incident.environment,
        incident.cause,
        incident.severity,
        incident.title,
        incident.breaks,
        incident.when,
        len(incident.rows),
        since,
    )


def incident_message(incident: Incident, *, links: Links, now: datetime, since: datetime | None = None) -> Message:
    """An incident, for its first message, and for the edits of it.

    Args:
        incident: What is wrong.
        links: Where the buttons lead.
        now: Aware UTC instant of the scan.
        since: When people were first told; None for the first message.
    """
    title = f"{_WORD[incident.severity]} {incident.environment}: {incident.title}"
    left = _left(incident.when, now)
    when = f"{_moment(incident.when)}, {left}" if incident.when else ""
    first = f"told first on {_moment(since)}" if since else ""
    countdown = f"now {left}" if since and incident.when and incident.when > now else ""
    blocks = (
        header(f"{_SIGN[incident.severity]} {title}"),
        section(("What breaks:", incident.breaks or "nothing now"), ("When:", when)),
        *([listing(incident.rows, SHOWN)] if incident.rows else []),
        section(("Fix:", incident.fix or "`rechain scan` says more")),
        *buttons(("Flow run", links.run), ("Refresh…", links.refresh.get(incident.environment))),
        context("rechain scan", f"seen {_moment(now)}", first, countdown),
    )
    return Message(fallback(title, incident.breaks, when, incident.fix), blocks)


def resolved_message(was: Said, *, now: datetime, links: Links = NO_LINKS) -> Message:
    """The end of an incident, with what it was."""
    title = f"resolved: {was.environment}: {was.title}"
    rows = f"{was.rows} {'place' if was.rows == 1 else 'places'}" if was.rows else ""
    before = f"was {_WORD[was.severity]} since {_moment(was.since)}"
    blocks = (
        header(f"✅ {title}"),
        section(("It was:", was.breaks or was.title)),
        *buttons(("Flow run", links.run)),
        context("rechain scan", f"not found any more {_moment(now)}", before, rows),
    )
    return Message(fallback(title, before), blocks)


def replaced_message(was: Said, *, address: str | None, now: datetime) -> Message:
    """What a message becomes once its incident got worse and was told anew."""
    title = f"got worse: {was.environment}: {was.title}"
    blocks = (
        header(f"⬆️ {title}"),
        section(("It was:", was.breaks or was.title)),
        *buttons(("The new message", address)),
        context("rechain scan", f"told anew {_moment(now)}", f"was {_WORD[was.severity]} since {_moment(was.since)}"),
    )
    return Message(fallback(title, "told anew below"), blocks)


def rises(was: Said, incident: Incident) -> bool:
    """Whether it got so much worse that people must be told anew."""
    return _RANK.index(incident.severity) > _RANK.index(was.severity)


def eases(was: Said, incident: Incident) -> bool:
    """Whether it is less severe than people were told."""
    return _RANK.index(incident.severity) < _RANK.index(was.severity)


def at_worst(was: Said, now: Said) -> Said:
    """What people know after a scan that did not see everything: places and dates that they know of still count."""
    dates = [when for when in (was.when, now.when) if when]
    return replace(now, rows=max(was.rows, now.rows), when=min(dates, default=None))


def changes(was: Said, incident: Incident) -> tuple[str, ...]:
    """What is worth a line in the incident's thread; dates that come nearer by themselves are not."""
    return tuple(_changes(was, incident))


def _changes(was: Said, incident: Incident) -> Iterator[str]:
    more = len(incident.rows) - was.rows
    if more > 0:
        yield f"{more} more {'place' if more == 1 else 'places'}: {len(incident.rows)}, {was.rows} before"
    if was.when and incident.when and incident.when < was.when:
        yield f"earlier: {_moment(incident.when)}, not {_moment(was.when)}"
    if eases(was, incident):
        yield f"less urgent: {_WORD[incident.severity]}, {_WORD[was.severity]} before"


def changes_message(changed: Sequence[str], incident: Incident) -> Message:
    """The reply in the thread that says what changed."""
    told = "; ".join(changed)
    return Message(fallback(told), (lines(told, incident.title),))


def failure_message(failure: Failure) -> Message:
    """A flow that failed or crashed: where, at which phase, where the fleet rests, and what to do."""
    title = f"{failure.flow} {failure.kind} in {failure.environment}"
    resting = f"{failure.resting}, a safe resting point" if failure.resting else "not known; `rechain status` says it"
    blocks = (
        header(f"🔴 {title}"),
        section(
            ("What:", failure.what),
            ("Phase under way:", failure.phase or "none"),
            ("Last resting point:", resting),
        ),
        section(("Next:", failure.next_action or f"rechain status {failure.environment}")),
        *buttons(("Flow run", failure.run_url)),
        context("rechain", f"run {failure.run_id}"),
    )
    return Message(fallback(title, failure.what, f"rests at {resting}", failure.next_action), blocks)


def outage_begins(environment: str, *, now: datetime) -> Message:
    """What people are told before everything is replaced in one step."""
    title = f"{environment}: logins fail from now on"
    what = "every certificate is replaced in one step; a message follows when servers and managed clients log in again"
    external = "owners of external clients: install what you are given, at once"
    blocks = (
        header(f"🔧 {title}"),
        section(("What:", what), ("To do:", external)),
        context("rechain refresh --strategy downtime", f"began {_moment(now)}"),
    )
    return Message(fallback(title, what, external), blocks)


def outage_ended(environment: str, seconds: float | None, *, now: datetime) -> Message:
    """What people are told when everything was replaced.

    Args:
        environment: Where.
        seconds: How long logins of managed clients failed; None when none did, or nobody watched.
        now: Aware UTC instant.
    """
    title = f"{environment}: every certificate is replaced"
    lasted = "no failed login was seen" if seconds is None else f"logins failed for {seconds:.0f} s"
    external = "an external client whose owner has not installed its new files is still out"
    blocks = (
        header(f"✅ {title}"),
        section(("How long:", lasted), ("Mind:", external)),
        context("rechain refresh --strategy downtime", f"ended {_moment(now)}"),
    )
    return Message(fallback(title, lasted, external), blocks)


def trial_message(now: datetime) -> Message:
    """What is posted to try the settings."""
    text = "rechain can post here"
    return Message(fallback(text), (header(text), context("rechain", _moment(now))))


def _left(when: datetime | None, now: datetime) -> str:
    if when is None:
        return ""
    days = (when - now).days
    if when <= now:
        return f"{-days - 1} days ago" if days < -1 else "since today"
    return "today" if days == 0 else f"{days} {'day' if days == 1 else 'days'} left"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
