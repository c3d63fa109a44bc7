"""Markdown for the pages of runs: text from hosts and certificates is shown as it is, and never becomes markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&-])")


def escaped(value: object) -> str:
    """A value as text on one line, with what Markdown takes for markup taken from it."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def code(text: str) -> str:
    """A command, to be copied as it stands."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table, each cell escaped."""
    return [_row(head), _row(["---"] * len(head), escape=False), *map(_row, rows)]


def _row(cells: Sequence[object], *, escape: bool = True) -> str:
    return f"| {' | '.join(escaped(cell) if escape else str(cell) for cell in cells)} |"
