"""The forecast as Markdown, for a run's page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rechain.scan.report import Scanned

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")
_SHOWN = 50


def forecast_markdown(scanned: Sequence[Scanned]) -> str:
    """What fails in the next 24 months, environment by environment, and what could not be seen."""
    return "\n".join(line for one in scanned for line in _environment(one)) + "\n"


def _environment(one: Scanned) -> list[str]:
    failures = [f"- {_text(failure.sentence)}" for failure in one.forecast.failures[:_SHOWN]]
    more = len(one.forecast.failures) - len(failures)
    unseen = [f"- not seen: {_text(spot.location)}: {_text(spot.problem)}" for spot in one.unreachable[:_SHOWN]]
    return [
        f"## {_text(one.environment)}: {one.status.name}",
        "",
        *(failures or [_text(one.forecast.sentence)]),
        *([f"- and {more} more"] if more > 0 else []),
        *unseen,
        "",
    ]


def _text(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
