"""The forecast as Markdown, for a run's page."""

from __future__ import annotations

from collections.abc import Sequence

from rechain.markdown import escaped
from rechain.scan.report import Scanned

_SHOWN = 50


def forecast_markdown(scanned: Sequence[Scanned]) -> str:
    """What fails in the next 24 months, environment by environment, and what could not be seen."""
    return "\n".join(line for one in scanned for line in _environment(one)) + "\n"


def _environment(one: Scanned) -> list[str]:
    failures = [f"- {escaped(failure.sentence)}" for failure in one.forecast.failures[:_SHOWN]]
    more = len(one.forecast.failures) - len(failures)
    unseen = [f"- not seen: {escaped(spot.location)}: {escaped(spot.problem)}" for spot in one.unreachable[:_SHOWN]]
    return [
        f"## {escaped(one.environment)}: {one.status.name}",
        "",
        *(failures or [escaped(one.forecast.sentence)]),
        *([f"- and {more} more"] if more > 0 else []),
        *unseen,
        "",
    ]
