"""What the canary saw: logins all through a rotation, added up by phase.

The canary ends with the run that started it, and a run that is started again starts another. Each writes a recording
of its own, a segment, one JSON object a line; they are added up, and the time between them is listed as unwatched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from rechain.login import Verdict


@dataclass(frozen=True, slots=True)
class Attempt:
    """One login of the canary.

    Attributes:
        at: When it began, aware UTC.
        client: The role.
        host: The host whose files it used; empty for an external client.
        endpoint: `server_name:port`.
        verdict: What it proves.
        error: The message; None when logged in.
        ms: How long it took, milliseconds.
    """

    at: datetime
    client: str
    host: str
    endpoint: str
    verdict: Verdict
    error: str | None
    ms: int

    @property
    def failed(self) -> bool:
        """Whether an application would have had no login. Every client that is watched logged in at first."""
        return self.verdict is not Verdict.LOGGED_IN

    def __str__(self) -> str:
        place = f"{self.client} of {self.host}" if self.host else self.client
        return f"{self.at:%H:%M:%S.%f}"[:-3] + f" {place} on {self.endpoint}: {self.error or self.verdict}"


@dataclass(frozen=True, slots=True)
class Unwatched:
    """A login that the canary does not try, because it did not work before anything was touched.

    Attributes:
        client: The role.
        host: The host whose files it would have used; empty for an external client.
        endpoint: `server_name:port`.
        reason: The verdict and the message of the first try.
    """

    client: str
    host: str
    endpoint: str
    reason: str

    def __str__(self) -> str:
        place = f"{self.client} of {self.host}" if self.host else self.client
        return f"{place} on {self.endpoint}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Segment:
    """One uninterrupted recording.

    Attributes:
        started: When watching began, aware UTC.
        ended: When it ended, or the last thing it wrote before it was killed, aware UTC.
        attempts: Every login, in the order they ended.
        unwatched: Logins that it did not try.
    """

    started: datetime
    ended: datetime
    attempts: tuple[Attempt, ...]
    unwatched: tuple[Unwatched, ...] = ()


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time, from and until an aware UTC instant."""

    started: datetime
    ended: datetime

    def __str__(self) -> str:
        seconds = (self.ended - self.started).total_seconds()
        return f"nobody watched from {self.started:%H:%M:%S} to {self.ended:%H:%M:%S} UTC ({seconds:.1f} s)"


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """When a phase was.

    Attributes:
        name: Its name.
        started: Its first instant, aware UTC.
        ended: The first instant that is no longer its own, aware UTC; None when it lasts.
    """

    name: str
    started: datetime
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class PhaseCount:
    """The logins of one phase: those that began in it."""

    name: str
    attempted: int
    failed: int


@dataclass(frozen=True, slots=True)
class CanarySummary:
    """All that the canary saw.

    Attributes:
        attempted: Logins tried.
        failed: Logins that failed.
        failures: The failed ones, in the order they began.
        longest_gap_ms: The longest that any one client had to wait for its next successful login, on whichever
            endpoint, milliseconds; 0 when nothing was tried. Time that nobody watched is no gap.
        phases: The count of each phase.
        intervals: Time between segments.
        unwatched: Logins that were never tried.
    """

    attempted: int
    failed: int
    failures: tuple[Attempt, ...]
    longest_gap_ms: int
    phases: tuple[PhaseCount, ...]
    intervals: tuple[Interval, ...]
    unwatched: tuple[Unwatched, ...]


def summary(segments: Iterable[Segment], phases: Sequence[PhaseSpan] = ()) -> CanarySummary:
    """Add up the segments of a rotation.

    Args:
        segments: Its recordings, in any order.
        phases: When each phase was; a login belongs to the phase in which it began.
    """
    recordings = sorted(segments, key=lambda segment: segment.started)
    attempts = sorted((each for segment in recordings for each in segment.attempts), key=lambda each: each.at)
    failures = tuple(attempt for attempt in attempts if attempt.failed)
    return CanarySummary(
        attempted=len(attempts),
        failed=len(failures),
        failures=failures,
        longest_gap_ms=max((_longest_gap_ms(segment) for segment in recordings), default=0),
        phases=tuple(_count(phase, attempts) for phase in phases),
        intervals=tuple(_unwatched_time(recordings)),
        unwatched=_never_tried(recordings),
    )


def failures_since(segments: Iterable[Segment], moment: datetime) -> tuple[Attempt, ...]:
    """The failures since a moment that are TLS's doing, in order: what the gate `canary` is judged by.

    A server that is restarted or fails over makes logins fail too, but that is no verdict on certificates.
    """
    attempts = (attempt for segment in segments for attempt in segment.attempts)
    blamed = (attempt for attempt in attempts if attempt.at >= moment and attempt.verdict is Verdict.REFUSED)
    return tuple(sorted(blamed, key=lambda attempt: attempt.at))


def attempted_since(segments: Iterable[Segment], moment: datetime) -> int:
    """How many logins began since a moment: without any, no failure proves nothing."""
    return sum(attempt.at >= moment for segment in segments for attempt in segment.attempts)


def has_watched(segments: Iterable[Segment], moment: datetime) -> bool:
    """Whether the recording covers a moment: one from before and after it, made elsewhere meanwhile, does not."""
    return any(segment.started <= moment <= segment.ended for segment in segments)


def attempt_line(attempt: Attempt) -> str:
    """A login as a line of a recording."""
    fields: dict[str, object] = {
        "t_ms": milliseconds(attempt.at),
        "client": attempt.client,
        "host": attempt.host,
        "endpoint": attempt.endpoint,
        "verdict": attempt.verdict.value,
        "error": attempt.error,
        "ms": attempt.ms,
    }
    return json.dumps(fields)


def unwatched_line(unwatched: Unwatched, at: datetime) -> str:
    """A login that is not tried, as a line of a recording."""
    fields = {"client": unwatched.client, "host": unwatched.host, "endpoint": unwatched.endpoint}
    return json.dumps({"t_ms": milliseconds(at), "event": "unwatched", **fields, "reason": unwatched.reason})


def event_line(event: str, at: datetime) -> str:
    """`watching` or `stopped` as a line of a recording."""
    return json.dumps({"t_ms": milliseconds(at), "event": event})


def read_segment(text: str) -> Segment | None:
    """Read one recording; None when it ended before it watched anything.

    The last line may be half written, when the canary was killed: it is left out.
    """
    entries = list(_entries(text))
    began = [_moment(entry) for entry in entries if entry.get("event") == "watching"]
    if not began:
        return None
    attempts = tuple(_attempt(entry) for entry in entries if "event" not in entry)
    ended = max((_moment(entry) for entry in entries), default=began[0])
    unwatched = tuple(_unwatched(entry) for entry in entries if entry.get("event") == "unwatched")
    return Segment(began[0], ended, attempts, unwatched)


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970 of an aware instant."""
    return round(moment.timestamp() * 1000)


def instant(t_ms: int) -> datetime:
    """The aware UTC instant of milliseconds since 1970."""
    return datetime.fromtimestamp(t_ms / 1000, UTC)


def _entries(text: str) -> Iterator[dict[str, object]]:
    for line in text.split("\n")[:-1]:  # what follows the last newline is empty or torn
        yield json.loads(line)


def _moment(entry: dict[str, object]) -> datetime:
    began = int(str(entry["t_ms"]))
    return instant(began + int(str(entry.get("ms", 0))))


def _attempt(entry: dict[str, object]) -> Attempt:
    error = entry["error"]
    return Attempt(
        at=instant(int(str(entry["t_ms"]))),
        client=str(entry["client"]),
        host=str(entry["host"]),
        endpoint=str(entry["endpoint"]),
        verdict=Verdict(str(entry["verdict"])),
        error=None if error is None else str(error),
        ms=int(str(entry["ms"])),
    )


def _unwatched(entry: dict[str, object]) -> Unwatched:
    return Unwatched(str(entry["client"]), str(entry["host"]), str(entry["endpoint"]), str(entry["reason"]))


def _count(phase: PhaseSpan, attempts: Iterable[Attempt]) -> PhaseCount:
    own = [one for one in attempts if phase.started <= one.at and (phase.ended is None or one.at < phase.ended)]
    return PhaseCount(phase.name, len(own), sum(attempt.failed for attempt in own))


def _longest_gap_ms(segment: Segment) -> int:
    clients = {attempt.client for attempt in segment.attempts}
    return max((_gap_ms(segment, client) for client in clients), default=0)


def _gap_ms(segment: Segment, client: str) -> int:
    """The longest a client waited, from the start of watching to its end: a failure that lasts is a gap as well."""
    ends = (milliseconds(one.at) + one.ms for one in segment.attempts if one.client == client and not one.failed)
    moments = [milliseconds(segment.started), *sorted(ends), milliseconds(segment.ended)]
    return max(later - earlier for earlier, later in pairwise(moments))


def _unwatched_time(recordings: Sequence[Segment]) -> Iterator[Interval]:
    """The time between recordings, sorted by start; they may overlap."""
    watched_until: datetime | None = None
    for segment in recordings:
        if watched_until is not None and segment.started > watched_until:
            yield Interval(watched_until, segment.started)
        watched_until = max(watched_until or segment.ended, segment.ended)


def _never_tried(recordings: Sequence[Segment]) -> tuple[Unwatched, ...]:
    """Logins that no segment tried; a client that could not log in at first may be watched by a later segment."""
    tried = {(one.client, one.host, one.endpoint) for segment in recordings for one in segment.attempts}
    found = (one for segment in recordings for one in segment.unwatched)
    last = {(one.client, one.host, one.endpoint): one for one in found}
    return tuple(one for key, one in last.items() if key not in tried)
