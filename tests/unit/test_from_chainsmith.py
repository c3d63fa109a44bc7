"""The page for those who come from the runbook by hand names every command and flow, and none that is not there."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from prefect import Flow

from flows.cli import app

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "from-chainsmith.md").read_text("utf-8")
STEPS, PROMISES = TEXT.split("## What bin/chainsmith.sh promised")


def _rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of a table, its head left out."""
    for line in re.findall(r"(?m)^\|(.*)\|$", text):
        cells = [cell.strip() for cell in line.split(" | ")]
        if cells[0].strip("|- ") not in ("", "step", "the script"):
            yield cells


def _named(cell: str) -> set[str]:
    """The commands of a cell: code that begins with one and names its arguments, or is one word."""
    return {code.split()[0] for code in re.findall(r"`([a-z][a-z-]+(?: [^`]*)?)`", cell) if "=" not in code}


def _commands() -> set[str]:
    return {name for name in app if not name.startswith("-")}


def _flows() -> set[str]:
    """Every flow of the project, by module entrypoint."""
    modules = [f"flows.{path.stem}" for path in (ROOT / "flows").glob("*.py") if path.stem != "__init__"]
    return {
        f"{module}:{name}"
        for module in modules
        for name, value in vars(importlib.import_module(module)).items()
        if isinstance(value, Flow) and value.fn.__module__ == module
    }


def test_each_step_leads_to_commands_that_exist_and_none_is_left_out() -> None:
    """A command that is renamed or added makes the page wrong."""
    named = {command for _step, command, *_flow in _rows(STEPS) for command in _named(command)}
    words = {"clients"}  # the gate
    assert named - words <= _commands()
    assert _commands() <= named


def test_each_flow_is_named_where_it_is_run() -> None:
    """The third column holds exactly the flows that there are."""
    named = set(re.findall(r"`(flows\.\w+:\w+)`", STEPS))
    assert named == _flows()


def test_each_promise_of_the_script_has_its_place() -> None:
    """Whatever the script did, the second column says what does it now."""
    rows = list(_rows(PROMISES))
    assert all(len(cells) == 2 for cells in rows)
    assert all(now for _promise, now in rows)
    text = " ".join(promise for promise, _now in rows)
    for word in ("refused to overwrite", "CSRs", "encrypted with GPG", "ansible-vault", "shredded"):
        assert word in text
