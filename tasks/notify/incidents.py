"""Tell people of incidents: each once, edited while it lasts, told anew only when it gets worse, resolved at its end.

A Slack outage never fails a scan: it is logged and returned, and the next scan says what this one could not.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rechain.errors import RechainError
from rechain.scan.incident import Incident
from rechain.slack_message import (
    NO_LINKS,
    Links,
    Said,
    at_worst,
    changes,
    changes_message,
    eases,
    incident_message,
    replaced_message,
    resolved_message,
    rises,
    said,
    trial_message,
)
from rechain.slack_text import Message, content_digest
from tasks.notify.failure import owed, tell_owed
from tasks.notify.settings import SlackSettings
from tasks.notify.slack import MessageGone, Slack, SlackError, SlackRefused, connect
from tasks.notify.state import Book, Record, Replaced, opened

_log = logging.getLogger("rechain")


@dataclass(frozen=True, slots=True)
class Told:
    """What came of telling people; incidents are named `environment: cause`.

    Attributes:
        posted: Told for the first time, or anew because they got worse.
        updated: Messages that were edited.
        threaded: Messages that got a reply.
        resolved: Incidents that ended.
        failed: What could not be told, with the reason; the next scan tries again.
        is_off: Nothing is configured, so nobody was told.
    """

    posted: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    threaded: tuple[str, ...] = ()
    resolved: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    is_off: bool = False


def tell(
    incidents: Sequence[Incident],
    *,
    environments: Collection[str],
    unknown: Collection[str] = (),
    state_dir: Path,
    settings: SlackSettings | None,
    links: Links = NO_LINKS,
    now: datetime,
) -> Told:
    """Tell people what a scan found. Side effect: Slack, and the memory of it on this worker. Safe to repeat.

    Args:
        incidents: What was found, at most one for each environment and cause.
        environments: What was scanned; only there can an incident be over.
        unknown: Environments whose scan was incomplete: what was not found there may still be there, so nothing is
            over there, and nothing gets less urgent.
        state_dir: Where this worker remembers what it told, see `tasks.notify.state.told_directory`.
        settings: How Slack is reached; None when it is not configured.
        links: Where the buttons lead.
        now: Aware UTC instant of the scan.

    Returns:
        What was told. Nothing is raised: what could not be told is in `failed`, and was logged.
    """
    if settings is None:
        return Told(is_off=True)
    round_ = _Round(links, now, frozenset(environments) - frozenset(unknown))
    try:
        with opened(state_dir, now) as book:
            round_.tell(connect(settings), book, incidents)
    except Exception as error:  # a notification never fails what it is about
        round_.failed("Slack", error)
    return round_.told()


def try_slack(settings: SlackSettings | None, now: datetime) -> str:
    """Post one line, to try the settings.

    Raises:
        RechainError: It did not arrive; says why.
    """
    if settings is None:
        return "Slack is not configured"
    posted = connect(settings).post(trial_message(now))
    return f"posted to {posted.channel}" if posted.channel else "posted through the webhook"


@dataclass(slots=True)
class _Round:
    """One scan's telling."""

    links: Links
    now: datetime
    complete: Collection[str]
    posted: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    threaded: list[str] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def told(self) -> Told:
        """What came of it; what failed is logged once, not once for each incident."""
        if self.failures:
            _log.warning("%d could not be told in Slack: %s", len(self.failures), self.failures[0])
        return Told(
            posted=tuple(self.posted),
            updated=tuple(self.updated),
            threaded=tuple(self.threaded),
            resolved=tuple(self.resolved),
            failed=tuple(self.failures),
        )

    def failed(self, what: str, error: Exception) -> None:
        """Note what could not be told; of errors that are not ours only the kind, for they may quote anything."""
        self.failures.append(f"{what}: {error if isinstance(error, RechainError) else type(error).__name__}")

    def tell(self, slack: Slack, book: Book, incidents: Sequence[Incident]) -> None:
        """Tell all of it."""
        found = {(one.environment, one.cause) for one in incidents}
        over = [one for one in book.memory.incidents if one.key[0] in self.complete and one.key not in found]
        for incident in incidents:
            with self._each(_name(incident)):
                self._incident(slack, book, incident)
        for record in over:
            with self._each(_name(record.said)):
                self._resolve(slack, book, record)
        for run, failure in owed(book):
            with self._each(f"{failure.environment}: {failure.flow} {failure.kind}"):
                tell_owed(slack, book, run)
                self.posted.append(f"{failure.environment}: {failure.flow} {failure.kind}")

    @contextmanager
    def _each(self, name: str) -> Iterator[None]:
        """One message that does not get through keeps no other back."""
        try:
            yield
        except SlackError as error:
            self.failed(name, error)

    def _incident(self, slack: Slack, book: Book, incident: Incident) -> None:
        record = book.find(incident.environment, incident.cause)
        if record is None:
            self._post(slack, book, incident, None)
            return
        worse = rises(record.said, incident)
        if worse:
            record = self._post(slack, book, incident, record, (*record.replaced, _replaced(record)))
        self._point(slack, book, record)
        if not worse:
            self._follow(slack, book, incident, record)

    def _message(self, incident: Incident, record: Record | None) -> Message:
        since = record.said.since if record else None
        return incident_message(incident, links=self.links, now=self.now, since=since)

    def _post(
        self,
        slack: Slack,
        book: Book,
        incident: Incident,
        record: Record | None,
        replaced: tuple[Replaced, ...] = (),
    ) -> Record:
        message = self._message(incident, record)
        since = record.said.since if record else self.now
        posted = Record(
            place=slack.post(message),
            said=said(incident, since),
            digest=content_digest(message.blocks),
            replaced=replaced if slack.can_edit else (),
        )
        book.put(posted)
        self.posted.append(_name(incident))
        return posted

    def _point(self, slack: Slack, book: Book, record: Record) -> None:
        """Let older messages of an incident that got worse lead to the new one."""
        for done, old in enumerate(record.replaced, start=1):
            with suppress(SlackRefused):  # at worst nothing leads from there to here
                message = replaced_message(old.said, address=slack.address(record.place), now=self.now)
                slack.update(old.place, message)
            book.put(record.model_copy(update={"replaced": record.replaced[done:]}))

    def _follow(self, slack: Slack, book: Book, incident: Incident, record: Record) -> None:
        """Bring an incident's message and thread up to date; no call when nothing changed.

        What a scan did not see everything of only adds to what is known: otherwise a host that is away every other
        night would make the incident look better, and then worse, which is told anew.
        """
        sees_all = incident.environment in self.complete
        if not sees_all and eases(record.said, incident):
            return
        message = self._message(incident, record)
        digest, lines = content_digest(message.blocks), changes(record.said, incident)
        if digest == record.digest and not lines:
            return
        if slack.can_edit and record.place.ts is None:
            self._post(slack, book, incident, record)  # a webhook posted the first: it can't be edited
            return
        if slack.can_edit and digest != record.digest and not self._edit(slack, book, incident, record, message):
            return
        if slack.can_edit and lines:
            self._reply(slack, record, incident, lines)
        told = said(incident, record.said.since)
        known = told if sees_all else at_worst(record.said, told)
        book.put(Record(said=known, place=record.place, digest=digest))

    def _edit(self, slack: Slack, book: Book, incident: Incident, record: Record, message: Message) -> bool:
        """Edit a message; post anew when somebody deleted it."""
        try:
            slack.update(record.place, message)
        except MessageGone:
            self._post(slack, book, incident, record)
            return False
        book.put(record.model_copy(update={"digest": content_digest(message.blocks), "replaced": ()}))
        self.updated.append(_name(incident))
        return True

    def _reply(self, slack: Slack, record: Record, incident: Incident, lines: Sequence[str]) -> None:
        try:
            slack.post(changes_message(lines, incident), thread=record.place)
        except SlackRefused as error:  # the thread is gone: trying again every night would not bring it back
            self.failed(_name(incident), error)
        else:
            self.threaded.append(_name(incident))

    def _resolve(self, slack: Slack, book: Book, record: Record) -> None:
        message = resolved_message(record.said, now=self.now, links=self.links)
        if slack.can_edit and record.place.ts:
            self._point(slack, book, record)
            with suppress(MessageGone):
                slack.update(record.place, message)
        else:
            slack.post(message)
        book.forget(record)
        self.resolved.append(_name(record.said))


def _name(one: Incident | Said) -> str:
    return f"{one.environment}: {one.cause}"


def _replaced(record: Record) -> Replaced:
    return Replaced(place=record.place, said=record.said)
