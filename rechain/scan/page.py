"""A scan as one page for a browser: verdict, forecast, timeline and every certificate; nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from rechain.finding import Finding
from rechain.scan.case import name_of
from rechain.scan.report import Row, Scanned, worst
from rechain.scan.timeline import timeline

_STYLE = """
:root { color-scheme: light dark; --text: #1d2430; --paper: #ffffff; --faint: #dde2e9; --ok: #2f7d49;
  --warning: #9a5f00; --critical: #b3261e; --unknown: #5c6470; }
@media (prefers-color-scheme: dark) { :root { --text: #e6eaf0; --paper: #12161d; --faint: #2c3440; --ok: #7fd39b;
  --warning: #f0b04a; --critical: #ff8a80; --unknown: #a8b0bd; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--paper); margin: 2rem auto;
  max-width: 1100px; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } .scroll { overflow-x: auto; } svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--faint); }
code { font-size: 12px; overflow-wrap: anywhere; } ul { margin: 0; padding-left: 1.1rem; }
.OK { color: var(--ok); } .WARNING { color: var(--warning); } .CRITICAL { color: var(--critical); }
.UNKNOWN { color: var(--unknown); } .status { font-weight: 600; }
.status, .when { white-space: nowrap; }
"""


def page(scanned: Sequence[Scanned]) -> str:
    """The page as HTML5, in light or dark as the reader's system is."""
    status = worst(one.status for one in scanned)
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>Certificates: {status.name}</title><style>{_STYLE}</style></head><body>",
            f'<h1>Certificates: <span class="{status.name}">{status.name}</span></h1>',
            *(line for one in scanned for line in _environment(one)),
            "</body></html>\n",
        ]
    )


def _environment(one: Scanned) -> Iterator[str]:
    yield f'<section><h2>{_text(one.environment)}: <span class="{one.status.name}">{one.status.name}</span></h2>'
    yield f"<p>Scanned {one.at:%Y-%m-%d %H:%M} UTC. <strong>{_text(one.forecast.sentence)}</strong></p>"
    yield from _list("What fails next", [failure.sentence for failure in one.forecast.failures[1:]])
    yield from _list("Not seen", [f"{spot.location} ({spot.source}): {spot.problem}" for spot in one.unreachable])
    yield from _list("About no single certificate", [_said(finding) for finding in one.findings])
    yield f'<div class="scroll">{timeline(one)}</div>'
    yield '<div class="scroll"><table><thead><tr><th>status<th>ends<th>days<th>certificate<th>where<th>found'
    yield "</tr></thead><tbody>"
    yield from (_row(row) for row in one.rows)
    yield "</tbody></table></div></section>"


def _list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"<h3>{title}</h3><ul>" + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"


def _row(row: Row) -> str:
    certificate = row.certificate
    places = "".join(f"<li>{place.source}: {_text(place.location)}</li>" for place in row.places)
    found = "".join(f"<li>{_text(_said(finding))}</li>" for finding in row.findings)
    return (
        f'<tr><td class="status {row.status.name}">{row.status.name}</td>'
        f'<td class="when">{certificate.not_after:%Y-%m-%d}</td>'
        f"<td>{row.days_left}</td><td>{_text(name_of(certificate))}<br>{row.role}<br>"
        f"<code>{certificate.fingerprint}</code></td><td><ul>{places}</ul></td><td><ul>{found}</ul></td></tr>"
    )


def _said(finding: Finding) -> str:
    return f"{finding.policy}: {finding.where}: {finding.what} ({finding.fix})"


def _text(text: str) -> str:
    return escape("".join(character if character.isprintable() else "?" for character in text))
