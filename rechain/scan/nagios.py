"""A scan as a monitoring plugin prints it: one line and performance data.

References: Monitoring Plugins development guidelines, "Plugin Output for Nagios".
"""

from __future__ import annotations

from collections.abc import Sequence

from rechain.finding import Severity
from rechain.scan.case import Limits, name_of
from rechain.scan.report import Scanned, Status, worst

_LABEL_BREAKS = str.maketrans({"'": "_", "=": "_", "|": "_", "\n": " "})
_TEXT_BREAKS = str.maketrans({"|": "/", "\n": " "})
_SHOWN = 3


def nagios(scanned: Sequence[Scanned], limits: Limits) -> str:
    """One line: status, what is wrong or what ends first, and figures for graphs after a bar.

    Args:
        scanned: The environments.
        limits: Days at which the figures count as late; written as ranges (`30:` alarms below 30).
    """
    status = worst(one.status for one in scanned)
    text = "; ".join(_said(one) for one in scanned) or "there is no environment"
    return f"RECHAIN {status.name} - {text.translate(_TEXT_BREAKS)} | {' '.join(_figures(scanned, limits))}"


def _said(one: Scanned) -> str:
    alarming = [finding for finding in one.every_finding if finding.severity is not Severity.NOTE]
    worst_first = sorted(alarming, key=lambda finding: finding.severity is not Severity.ERROR)
    said = [f"{finding.where} {finding.what}" for finding in worst_first[:_SHOWN]]
    more = [f"{len(alarming) - _SHOWN} more"] if len(alarming) > _SHOWN else []
    unseen = [f"{len(one.unreachable)} not seen, first {_first_unseen(one)}"] if one.unreachable else []
    parts = [*said, *more, *unseen] or [_calm(one)]
    return f"{one.environment}: {', '.join(parts)}; {one.forecast.sentence}"


def _first_unseen(one: Scanned) -> str:
    return f"{one.unreachable[0].location}: {one.unreachable[0].problem}"


def _calm(one: Scanned) -> str:
    live = [row for row in one.rows if row.days_left >= 0]
    first = min(live, key=lambda row: row.days_left, default=None)
    ends = f", {name_of(first.certificate)} ends first, in {first.days_left} days" if first else ""
    return f"{len(one.rows)} certificates{ends}"


def _figures(scanned: Sequence[Scanned], limits: Limits) -> list[str]:
    rows = [row for one in scanned for row in one.rows]
    left = [
        f"'{one.environment.translate(_LABEL_BREAKS)}_days_left'={min(row.days_left for row in one.rows)}"
        f";{limits.warning_days}:;{limits.critical_days}:"
        for one in scanned
        if one.rows
    ]
    return [
        *left,
        f"certificates={len(rows)};;;0",
        f"warning={sum(row.status is Status.WARNING for row in rows)};;;0",
        f"critical={sum(row.status is Status.CRITICAL for row in rows)};;;0",
        f"unseen={sum(len(one.unreachable) for one in scanned)};;;0",
    ]
