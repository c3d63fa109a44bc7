"""The canary's axis of time: what was watched in proportion, what nobody watched squeezed to a narrow strip.

A run may be suspended at a gate for days between two phases of a minute each; drawn in proportion, nothing of what was
seen would be left to look at.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from rechain.canary import Segment

_STRIP, _STRIPS_SHARE = 30.0, 0.3
_NARROWEST, _NARROWEST_STRIP = 3.0, 2.0
_APART = 76.0
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEPS_S = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE * each for each in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * each for each in (1, 2, 3, 6, 12)),
    *(_DAY * each for each in (1, 2, 7, 28, 365)),
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the axis.

    Attributes:
        started: Its first instant, aware UTC.
        ended: Its last one.
        is_watched: Whether the canary logged in meanwhile.
        left: Where it begins, pixels.
        right: Where it ends.
    """

    started: datetime
    ended: datetime
    is_watched: bool
    left: float
    right: float

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return (self.ended - self.started).total_seconds()

    @property
    def width(self) -> float:
        """Its room, pixels."""
        return self.right - self.left

    def shares(self, moments: Iterable[float]) -> Iterator[float]:
        """How far along instants are, seconds since 1970; what is outside of the stretch is at its nearer edge."""
        start, seconds = self.started.timestamp(), self.seconds or 1.0
        return (min(max((moment - start) / seconds, 0.0), 1.0) for moment in moments)

    def x(self, moment: datetime) -> float:
        """Where an instant is."""
        return self.left + next(self.shares([moment.timestamp()])) * self.width


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the axis: where, when, and whether the day is another than the last mark's."""

    x: float
    at: datetime
    is_new_day: bool


@dataclass(frozen=True, slots=True)
class Scale:
    """The axis: stretches that follow each other, at least one."""

    stretches: tuple[Stretch, ...]

    def x(self, moment: datetime) -> float:
        """Where an instant is, pixels."""
        position = bisect_right(self.stretches, moment, key=lambda stretch: stretch.started)
        return round(self.stretches[max(position - 1, 0)].x(moment), 1)

    def shared_out(self, moments: Sequence[float]) -> Iterator[tuple[Stretch, Sequence[float]]]:
        """Instants by stretch, seconds since 1970, in order; those between two belong to the earlier one."""
        bounds = [bisect_left(moments, stretch.started.timestamp()) for stretch in self.stretches[1:]]
        return zip(self.stretches, (moments[a:b] for a, b in pairwise((0, *bounds, len(moments)))), strict=True)

    def ticks(self) -> Iterator[Tick]:
        """Marks at round times and where watching begins, as many as have room."""
        last: Tick | None = None
        for stretch in self.stretches:
            for moment in _moments(stretch) if stretch.is_watched or len(self.stretches) == 1 else ():
                x = round(stretch.x(moment), 1)
                if last is None or x - last.x >= _APART:
                    last = Tick(x, moment, last is None or moment.date() != last.at.date())
                    yield last


def scale_of(segments: Iterable[Segment], left: float, right: float) -> Scale:
    """Share out the room between two edges.

    Args:
        segments: The recordings, in any order, at least one; they may overlap.
        left: Where the axis begins, pixels.
        right: Where it ends.
    """
    spans = list(_with_gaps(_merged(segments)))
    wishes = _widths(spans, right - left)
    unit = (right - left) / sum(wishes)
    stretches, place = [], left
    for (started, ended, is_watched), wish in zip(spans, wishes, strict=True):
        stretches.append(Stretch(started, ended, is_watched, place, place + wish * unit))
        place += wish * unit
    return Scale(tuple(stretches))


def _merged(segments: Iterable[Segment]) -> list[tuple[datetime, datetime]]:
    """The time that somebody watched, as intervals that do not touch."""
    merged: list[tuple[datetime, datetime]] = []
    for segment in sorted(segments, key=lambda each: each.started):
        ended = max(segment.ended, segment.started)
        if merged and segment.started <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], ended))
        else:
            merged.append((segment.started, ended))
    return merged


def _with_gaps(watched: Sequence[tuple[datetime, datetime]]) -> Iterator[tuple[datetime, datetime, bool]]:
    for position, (started, ended) in enumerate(watched):
        if position:
            yield watched[position - 1][1], started, False
        yield started, ended, True


def _widths(spans: Sequence[tuple[datetime, datetime, bool]], room: float) -> list[float]:
    """What each would like: in proportion, but for gaps, which are never wider than a strip."""
    watched_s = sum((ended - started).total_seconds() for started, ended, is_watched in spans if is_watched)
    unit = room / max(watched_s, 1.0)
    strip = min(_STRIP, _STRIPS_SHARE * room / max(sum(not is_watched for *_, is_watched in spans), 1))
    wide = (((ended - started).total_seconds() * unit, is_watched) for started, ended, is_watched in spans)
    return [max(width, _NARROWEST) if seen else max(min(width, strip), _NARROWEST_STRIP) for width, seen in wide]


def _moments(stretch: Stretch) -> Iterator[datetime]:
    """Its beginning, and the round times in it."""
    yield stretch.started
    density = stretch.width / max(stretch.seconds, 1.0)
    step = next((each for each in _STEPS_S if each * density >= _APART), _STEPS_S[-1])
    first = (int(stretch.started.timestamp()) // step + 1) * step
    moment = datetime.fromtimestamp(first, UTC)
    while moment <= stretch.ended:
        yield moment
        moment += timedelta(seconds=step)
