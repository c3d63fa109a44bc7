"""The runbook's table of messages quotes messages that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_PROJECT = Path(__file__).parents[2]
_ROOMS = ("flows", "tasks", "rechain")
_SHORTEST = 5


def _quoted() -> list[str]:
    """What stands between backticks in the first column."""
    text = (_PROJECT / "docs" / "runbook.md").read_text("utf-8")
    table = text.split("## What can go wrong", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    return [phrase for row in rows for phrase in re.findall(r"`([^`]+)`", row.split("|")[1])]


@pytest.fixture(scope="module")
def said() -> str:
    """The code, with literals that stand beside each other joined."""
    sources = [path.read_text("utf-8") for room in _ROOMS for path in sorted((_PROJECT / room).rglob("*.py"))]
    return re.sub(r"\"\s*\n\s*f?\"", "", "\n".join(sources))


def test_there_is_a_table() -> None:
    """Else nothing is tested below."""
    assert len(_quoted()) > 12


@pytest.mark.parametrize("phrase", _quoted())
def test_a_message_of_the_table_is_one_of_ours_or_postgresql_s(said: str, phrase: str) -> None:
    """Each part between the numbers."""
    parts = [part.strip() for part in re.split(r"\b[NM]\b", phrase) if len(part.strip()) >= _SHORTEST]
    assert parts
    assert [part for part in parts if part not in said.replace("\\ ", " ")] == []
