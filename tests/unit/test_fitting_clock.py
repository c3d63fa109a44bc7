"""A host whose clock makes its services refuse certificates is told; what is early or over by both clocks is not."""

from __future__ import annotations

import importlib
import sys
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chains import NOW, make_chain

_DAYS = 86400.0
_ASKED = NOW.timestamp()


@pytest.fixture
def dates() -> Any:
    """The module's part, its own imports found where Ansible puts them on a host."""
    pem = importlib.import_module("tasks.playbooks.module_utils.rechain_pem")
    sys.modules.setdefault("ansible.module_utils.rechain_pem", pem)
    return importlib.import_module("tasks.playbooks.module_utils.rechain_dates")


def _sets() -> list[Any]:
    """A host's set of certificates that are valid from 30 days ago until 90 days from now."""
    made = make_chain(1, ["db1"], ["app"])
    files = {"server.crt": made.generation.servers["db1"].pem, "root.crt": made.generation.client_bundle.pem}
    reader = SimpleNamespace(label="postgresql db1:5432", files={"cert": "server.crt", "ca": "root.crt"})
    return [SimpleNamespace(readers=[reader], files={name: text.encode() for name, text in files.items()})]


@pytest.mark.parametrize(
    ("ahead", "says"),
    [
        (-31, "not valid yet by this host's clock, which is 31.0 days behind; set the clock"),
        (91, "has ended by this host's clock, which is 91.0 days ahead; set the clock"),
        (-29, None),
        (89, None),
    ],
)
def test_a_clock_that_judges_otherwise_than_ours_is_named(
    dates: Any, monkeypatch: pytest.MonkeyPatch, ahead: int, says: str | None
) -> None:
    """By how much it is wrong; a clock that is wrong and changes no verdict is in nobody's way."""
    monkeypatch.setattr(dates, "time", SimpleNamespace(time=lambda: _ASKED + ahead * _DAYS))
    if says is None:
        dates.require_fitting_clock(_sets(), _ASKED)
        return
    refused = importlib.import_module("tasks.playbooks.module_utils.rechain_pem").Refused
    with pytest.raises(refused) as told:
        dates.require_fitting_clock(_sets(), _ASKED)
    assert says in str(told.value)


@pytest.mark.parametrize("moment", [NOW - timedelta(days=40), NOW + timedelta(days=100)], ids=["early", "over"])
def test_what_both_clocks_judge_alike_is_no_matter_of_clocks(
    dates: Any, monkeypatch: pytest.MonkeyPatch, moment: Any
) -> None:
    """A CA that its owner publishes ahead, and a chain that has expired and is replaced with downtime."""
    monkeypatch.setattr(dates, "time", SimpleNamespace(time=lambda: moment.timestamp() + 60))
    dates.require_fitting_clock(_sets(), moment.timestamp())


@pytest.mark.parametrize(
    ("ahead_s", "told"),
    [
        (_DAYS - 2, "its clock is 1.0 days ahead; set it"),
        (-_DAYS + 2, "its clock is 1.0 days behind; set it"),
        (600, "its clock is 10 minutes ahead; set it"),
        (-240, ""),
        (240, ""),
    ],
)
def test_a_wrong_clock_is_told_whatever_it_means_today(
    dates: Any, monkeypatch: pytest.MonkeyPatch, ahead_s: float, told: str
) -> None:
    """One that is ahead refuses nothing yet; the five minutes of backdated certificates are let pass."""
    monkeypatch.setattr(dates, "time", SimpleNamespace(time=lambda: _ASKED + ahead_s))
    assert dates.wrong_clock(_ASKED) == told
    assert dates.wrong_clock(0) == "", "the worker's clock is not known"
