"""The timeline: a picture of every certificate's life, the most urgent on top, as one self-contained SVG."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import escape

from rechain.scan.case import name_of
from rechain.scan.report import Row, Scanned

_WIDTH, _NAMES, _RIGHT = 1000, 330, 20
_TOP, _ROW, _BAR = 46, 18, 10
_LONGEST_NAME, _LAST_QUARTER = 46, 10
_BEFORE, _AFTER = timedelta(days=120), timedelta(days=730)
_STYLE = """
  .timeline { font: 11px system-ui, sans-serif; --text: #1d2430; --faint: #c9d0da; --now: #1d2430; --paper: #ffffff;
    --ok: #4f9d69; --warning: #d9921a; --critical: #c8372d; --unknown: #7b8494; }
  @media (prefers-color-scheme: dark) { .timeline { --text: #e6eaf0; --faint: #3b4452; --now: #ffffff;
    --paper: #12161d; --ok: #5fb67d; --warning: #f0b04a; --critical: #f0685e; --unknown: #98a1b0; } }
  .timeline .paper { fill: var(--paper); } .timeline text { fill: var(--text); }
  .timeline .axis { stroke: var(--faint); } .timeline .now { stroke: var(--now); stroke-width: 1.5; }
  .timeline .failure { stroke: var(--critical); stroke-dasharray: 4 3; stroke-width: 1.5; }
  .timeline .OK { fill: var(--ok); } .timeline .WARNING { fill: var(--warning); }
  .timeline .CRITICAL { fill: var(--critical); } .timeline .UNKNOWN { fill: var(--unknown); }
"""


def timeline(one: Scanned, *, most: int | None = None) -> str:
    """Draw the certificates of one environment.

    Args:
        one: The environment.
        most: How many certificates to draw; None for all. What is left out is said below.

    Returns:
        An SVG document that needs nothing from elsewhere and follows the reader's light or dark mode. Bars run from
        120 days before to 24 months after the scan; what lasts longer is cut off at the edge.
    """
    rows = one.rows[:most]
    scale = _Scale(one.at)
    height = _TOP + len(rows) * _ROW + 30
    said = escape(f"Certificates of {one.environment}: {one.forecast.sentence}")
    parts = [
        f'<svg class="timeline" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="{said}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{_WIDTH}" height="{height}"/>',
        *_axis(scale, height),
        *(line for number, row in enumerate(rows) for line in _bar(row, number, scale)),
        *_moments(one, scale, height),
        *_left_out(len(one.rows) - len(rows), height),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Scale:
    """Maps instants to horizontal places."""

    def __init__(self, now: datetime) -> None:
        self.start, self.end = now - _BEFORE, now + _AFTER

    def x(self, moment: datetime) -> float:
        kept = min(max(moment, self.start), self.end)
        share = (kept - self.start) / (self.end - self.start)
        return round(_NAMES + share * (_WIDTH - _NAMES - _RIGHT), 1)

    def quarters(self) -> Iterator[datetime]:
        year, month = self.start.year, (self.start.month - 1) // 3 * 3 + 1
        while (moment := datetime(year, month, 1, tzinfo=UTC)) < self.end:
            if moment > self.start:
                yield moment
            year, month = (year + 1, 1) if month == _LAST_QUARTER else (year, month + 3)


def _axis(scale: _Scale, height: int) -> Iterator[str]:
    for moment in scale.quarters():
        x = scale.x(moment)
        yield f'<line class="axis" x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height - 26}"/>'
        yield f'<text x="{x}" y="{_TOP - 14}" text-anchor="middle">{moment:%Y-%m}</text>'


def _bar(row: Row, number: int, scale: _Scale) -> Iterator[str]:
    certificate, y = row.certificate, _TOP + number * _ROW
    start, end = scale.x(certificate.not_before), scale.x(certificate.not_after)
    name = name_of(certificate)
    short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    found = "; ".join(finding.what for finding in row.findings)
    title = f"{name} ({row.role}): {certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"
    yield f"<g><title>{escape(f'{title}. {found}' if found else title)}</title>"
    yield f'<text x="{_NAMES - 8}" y="{y + _BAR}" text-anchor="end">{escape(_printable(short))}</text>'
    width = max(round(end - start, 1), 2)
    yield f'<rect class="{row.status.name}" x="{start}" y="{y + 1}" width="{width}" height="{_BAR}" rx="2"/></g>'


def _moments(one: Scanned, scale: _Scale, height: int) -> Iterator[str]:
    bottom = height - 26
    x = scale.x(one.at)
    yield f'<line class="now" x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{bottom}"/>'
    yield f'<text x="{x}" y="14" text-anchor="middle">scanned {one.at:%Y-%m-%d}</text>'
    for failure in one.forecast.failures[:1]:
        at = scale.x(failure.at)
        yield f'<line class="failure" x1="{at}" y1="{_TOP - 8}" x2="{at}" y2="{bottom}"/>'
        said = escape(_printable(failure.sentence))
        yield f'<text x="{_WIDTH - _RIGHT}" y="{height - 10}" text-anchor="end">{said}</text>'


def _left_out(count: int, height: int) -> Iterator[str]:
    if count > 0:
        yield f'<text x="8" y="{height - 10}">and {count} more</text>'


def _printable(text: str) -> str:
    """Text without control characters, which XML does not allow."""
    return "".join(character if character.isprintable() else "?" for character in text)
