"""The canary's timeline as a picture: logins by time, failures at their moment, phases, and what nobody watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from rechain.canary import CanarySummary, PhaseSpan, Segment, summary
from rechain.canary_scale import Scale, Stretch, scale_of
from rechain.lasting import lasting

_WIDTH, _LEFT, _RIGHT = 1000, 56, 956
_PLOT, _LANE, _ROW, _AXIS = 130, 16, 15, 40
_HEAD, _FOOT = 62, 8
_BAR, _SHORTEST_S = 3.0, 1.0
_LETTER, _LONGEST = 6.6, 60
_NAMED_STRIP = 12.0
_STYLE = """
  .canary { font: 11px system-ui, sans-serif; --text: #1d2430; --faint: #c9d0da; --band: #eef2f7; --other: #e0e7f0;
    --ok: #4f9d69; --failed: #c8372d; --hatch: #98a1b0; --paper: #ffffff; }
  @media (prefers-color-scheme: dark) { .canary { --text: #e6eaf0; --faint: #3b4452; --band: #1b222c; --other: #26303d;
    --ok: #5fb67d; --failed: #f0685e; --hatch: #6b7686; --paper: #12161d; } }
  .canary .paper { fill: var(--paper); } .canary text { fill: var(--text); } .canary .title { font-weight: 600; }
  .canary .axis { stroke: var(--faint); } .canary .band { fill: var(--band); } .canary .other { fill: var(--other); }
  .canary .edge { stroke: var(--hatch); } .canary .logins { fill: var(--ok); }
  .canary .failed, .canary .failure { fill: var(--failed); } .canary .bad { fill: var(--failed); font-weight: 600; }
  .canary .strip { fill: var(--paper); } .canary .unwatched { fill: url(#hatch); }
  .canary .hatching { stroke: var(--hatch); stroke-width: 1.5; }
"""
_HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<line class="hatching" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>'
)


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Logins of a piece of time: as many pixels, and how many a second of them passed and failed."""

    left: float
    width: float
    passed: float
    failed: float


@dataclass(frozen=True, slots=True)
class _Label:
    """A phase's name above its band: where, and in which row, so that none covers another."""

    name: str
    x: float
    left: float
    row: int


def canary_picture(name: str, segments: Sequence[Segment], phases: Sequence[PhaseSpan] = ()) -> str:
    """Draw what the canary saw.

    Args:
        name: What was watched, for the title.
        segments: The recordings, in any order.
        phases: When each phase was, in order.

    Returns:
        An SVG document that needs nothing from elsewhere and follows the reader's light or dark mode. Its size does
        not grow with the number of logins. Time that nobody watched is a hatched strip, however long it was.
    """
    seen = summary(segments)
    scale = scale_of(segments, _LEFT, _RIGHT) if segments else None
    labels = _labels(scale, phases) if scale else []
    top = _HEAD + _ROW * (1 + max((label.row for label in labels), default=0))
    height = top + _PLOT + _LANE + _AXIS + _FOOT
    said = escape(_printable(f"Canary of {name}: {_totals(seen)}"))
    parts = [
        f'<svg class="canary" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="{said}">',
        f"<style>{_STYLE}</style>{_HATCH}",
        f'<rect class="paper" width="{_WIDTH}" height="{height}"/>',
        *_head(name, seen),
        *(_plot(scale, segments, phases, labels, top) if scale else _nothing(top)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _head(name: str, seen: CanarySummary) -> Iterator[str]:
    yield f'<text class="title" x="{_LEFT}" y="18">{escape(_printable(f"{name}: new logins while it ran"))}</text>'
    look = ' class="bad"' if seen.failed else ""
    yield f'<text{look} x="{_LEFT}" y="36">{escape(_totals(seen))}</text>'


def _totals(seen: CanarySummary) -> str:
    if not seen.attempted:
        return "no login was tried"
    gap_s = sum((each.ended - each.started).total_seconds() for each in seen.intervals)
    unseen = f"; nobody watched for {lasting(gap_s)} of the time" if seen.intervals else ""
    failed = f"{seen.failed:,} failed" if seen.failed else "none failed"
    return f"{seen.attempted:,} logins were tried, {failed}; longest gap {seen.longest_gap_ms:,} ms{unseen}"


def _nothing(top: int) -> Iterator[str]:
    yield f'<rect class="band" x="{_LEFT}" y="{top}" width="{_RIGHT - _LEFT}" height="{_PLOT}"/>'
    yield f'<text x="{_WIDTH / 2}" y="{top + _PLOT / 2}" text-anchor="middle">nobody watched</text>'


def _plot(
    scale: Scale, segments: Sequence[Segment], phases: Sequence[PhaseSpan], labels: Sequence[_Label], top: int
) -> Iterator[str]:
    attempts = [attempt for segment in segments for attempt in segment.attempts]
    passed, failed = (sorted(one.at.timestamp() for one in attempts if one.failed is bad) for bad in (False, True))
    buckets = list(_buckets(scale, passed, failed))
    peak = max((one.passed + one.failed for one in buckets), default=0.0)
    yield from _bands(scale, phases, labels, top)
    yield from _bars(buckets, peak, top + _PLOT)
    yield from _failures(scale, failed, top + _PLOT)
    for stretch in scale.stretches:
        if not stretch.is_watched:
            yield from _strip(stretch, top)
    yield from _axis(scale, top + _PLOT + _LANE)
    yield from _legend(peak)


def _labels(scale: Scale, phases: Sequence[PhaseSpan]) -> list[_Label]:
    """Each name at the beginning of its band; one that reaches into the next names stands above them."""
    labels: list[_Label] = []
    for phase in reversed(phases):
        name = _short(phase.name)
        width = len(name) * _LETTER + 10
        x = scale.x(phase.started)
        left = min(x, _RIGHT - width)
        row = max((later.row + 1 for later in labels if later.left < left + width), default=0)
        labels.insert(0, _Label(name, x, left, row))
    return labels


def _bands(scale: Scale, phases: Sequence[PhaseSpan], labels: Sequence[_Label], top: int) -> Iterator[str]:
    if not phases:
        yield f'<rect class="band" x="{_LEFT}" y="{top}" width="{_RIGHT - _LEFT}" height="{_PLOT + _LANE}"/>'
    for number, (phase, label) in enumerate(zip(phases, labels, strict=True)):
        end = scale.x(phase.ended) if phase.ended else _RIGHT
        width, look = max(round(end - label.x, 1), 0.5), "other" if number % 2 else "band"
        up = top - 3 - _ROW * label.row
        yield f'<rect class="{look}" x="{label.x}" y="{top}" width="{width}" height="{_PLOT + _LANE}"/>'
        yield f'<line class="edge" x1="{label.x}" y1="{up - 9}" x2="{label.x}" y2="{top + _PLOT + _LANE}"/>'
        yield f'<text class="phase" x="{label.left + 4:.1f}" y="{up}">{escape(label.name)}</text>'


def _buckets(scale: Scale, passed: Sequence[float], failed: Sequence[float]) -> Iterator[_Bucket]:
    for (stretch, good), (_, bad) in zip(scale.shared_out(passed), scale.shared_out(failed), strict=True):
        if good or bad:
            yield from _of_stretch(stretch, good, bad)


def _of_stretch(stretch: Stretch, passed: Sequence[float], failed: Sequence[float]) -> Iterator[_Bucket]:
    """Pieces of at least three pixels and a second: shorter ones would show single logins as if they were many."""
    number = max(1, min(int(stretch.width / _BAR), int(stretch.seconds / _SHORTEST_S)))
    good, bad = (_counted(stretch, moments, number) for moments in (passed, failed))
    width, seconds = stretch.width / number, max(stretch.seconds / number, _SHORTEST_S)
    for place in sorted({*good, *bad}):
        yield _Bucket(stretch.left + place * width, width, good[place] / seconds, bad[place] / seconds)


def _counted(stretch: Stretch, moments: Sequence[float], number: int) -> Counter[int]:
    return Counter(min(int(share * number), number - 1) for share in stretch.shares(moments))


def _bars(buckets: Sequence[_Bucket], peak: float, bottom: int) -> Iterator[str]:
    for one in buckets:
        x, width = f"{one.left:.1f}", f"{max(one.width - 0.5, 0.5):.1f}"
        good, bad = (rate / peak * (_PLOT - 6) for rate in (one.passed, one.failed))
        if good:
            yield f'<rect class="logins" x="{x}" y="{bottom - good:.1f}" width="{width}" height="{good:.1f}"/>'
        if bad:
            yield f'<rect class="failed" x="{x}" y="{bottom - good - bad:.1f}" width="{width}" height="{bad:.1f}"/>'


def _failures(scale: Scale, moments: Sequence[float], bottom: int) -> Iterator[str]:
    """A mark a pixel, in a lane of its own, so that a single failure among thousands is seen."""
    yield f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{_RIGHT}" y2="{bottom}"/>'
    for stretch, own in scale.shared_out(moments):
        for x in sorted({round(stretch.left + share * stretch.width) for share in stretch.shares(own)}):
            yield f'<rect class="failure" x="{x - 1}" y="{bottom + 2}" width="2" height="{_LANE - 3}"/>'


def _strip(stretch: Stretch, top: int) -> Iterator[str]:
    width, middle = stretch.width, (stretch.left + stretch.right) / 2
    box = f'x="{stretch.left:.1f}" y="{top}" width="{width:.1f}" height="{_PLOT + _LANE}"'
    yield f'<rect class="strip" {box}/><rect class="unwatched" {box}/>'
    if width >= _NAMED_STRIP:
        about = lasting(stretch.seconds)
        length, y = len(about) * _LETTER + 8, top + _PLOT / 2
        turned = f'transform="rotate(-90 {middle:.1f} {y:.1f})"'
        paper = f'x="{middle - length / 2:.1f}" y="{y - 7:.1f}" width="{length:.1f}" height="14" rx="3"'
        yield f'<rect class="strip" {paper} {turned}/>'
        yield f'<text class="lasted" x="{middle:.1f}" y="{y + 4:.1f}" text-anchor="middle" {turned}>{about}</text>'


def _axis(scale: Scale, y: int) -> Iterator[str]:
    ticks = list(scale.ticks())
    by_seconds = any(tick.at.second for tick in ticks[1:]) or len(ticks) == 1
    for tick in ticks:
        time = f"{tick.at:%H:%M:%S}" if by_seconds else f"{tick.at:%H:%M}"
        day = f'<tspan x="{tick.x}" dy="13">{tick.at:%Y-%m-%d} UTC</tspan>' if tick.is_new_day else ""
        yield f'<line class="edge" x1="{tick.x}" y1="{y}" x2="{tick.x}" y2="{y + 4}"/>'
        yield f'<text class="tick" x="{tick.x}" y="{y + 16}" text-anchor="middle">{time}{day}</text>'


def _legend(peak: float) -> Iterator[str]:
    entries = (
        ("logins", f"logins, at most {peak:.1f} a second"),
        ("failed", "failed"),
        ("unwatched", "nobody watched"),
    )
    x = float(_LEFT)
    for look, text in entries:
        yield f'<rect class="key {look}" x="{x:.1f}" y="45" width="12" height="9"/>'
        yield f'<text x="{x + 17:.1f}" y="53">{text}</text>'
        x += 17 + len(text) * _LETTER + 14


def _short(name: str) -> str:
    shown = _printable(name)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def _printable(text: str) -> str:
    """Text without control characters, which XML does not allow."""
    return "".join(character if character.isprintable() else "?" for character in text)
