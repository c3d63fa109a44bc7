"""A refresh that waits at gates as a deployed run: people are told once, it outlives worker and server, it is woken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from lab.environment import ENVIRONMENT, EXTERNAL
from lab.fleet import Lab
from lab.watch import summarise
from tests.plugins.slack_stub import Slack, told_in
from tests.plugins.team import Team
from tests.prefect_ui import PrefectUi

_REFRESH = "refresh-with-minimal-impact/refresh"


@pytest.mark.timeout(1500)
def test_a_run_that_waits_is_finished_by_another_worker_after_everything_was_restarted(
    new_lab: Callable[..., Lab], new_team: Callable[..., Team], slack: Slack, page: Page, tmp_path: Path
) -> None:
    """Suspended at `external-trust`; worker killed, server restarted; answered; woken by `approve`; nobody noticed.

    The run is started and its first form is answered in a browser, where its page is looked at in the end.
    """
    lab = new_lab()
    watcher = lab.run_watcher()
    team = new_team(lab, told_in(slack, lab.repository.root, tmp_path))
    team.start_worker("one")
    ui = PrefectUi(page, team.ui)
    ui.start(team.get(f"deployments/name/{_REFRESH}")["id"], ENVIRONMENT)
    [run] = [one["id"] for one in team.runs(_REFRESH)]
    team.wait(run, "Suspended")
    _require_told_once(slack, run, "before servers", "external-trust")
    assert "rests at: overlap" in team.look(run)["tags"]
    ui.keep_message(_waiting(slack)[0])

    team.kill("one")
    team.end("server")
    team.start_server()
    team.start_worker("two")
    lab.owner.install_bundle()
    evidence = ui.answer(run, "continue")
    assert EXTERNAL in evidence
    assert "external-trust" in evidence
    team.wait(run, "Suspended")
    _require_told_once(slack, run, "before retired", "was not seen with its certificate")
    assert len(_waiting(slack)) == 2

    lab.owner.take_delivery()
    team.desk.approve("clients")  # which wakes the run
    done = team.wait(run, "Completed")
    assert done["state"]["message"].startswith("done; demo rests at retired; ")
    assert done["state"]["message"].endswith(" logins were tried, none failed")
    _require_its_page(ui, run)
    lab.finish(watcher)
    seen = summarise(lab.journal("watch"))
    assert seen.failures == ()
    assert seen.attempted > 200
    assert len(_waiting(slack)) == 2


def _require_its_page(ui: PrefectUi, run: str) -> None:
    ui.look_at(run)
    ui.shows("Completed")
    ui.keep("run-page")
    ui.turn_to("Artifacts")
    for name in ("plan", "progress", "hosts", "logins", "canary", "report"):
        ui.shows(f"{name}-{ENVIRONMENT}")
    ui.keep("run-artifacts")


def _waiting(slack: Slack) -> list[dict[str, Any]]:
    return [post for post in slack.posts if "waits for you" in post["text"]]


def _require_told_once(slack: Slack, run: str, title: str, about: str) -> None:
    [told] = [post for post in _waiting(slack) if title in post["text"]]
    text = json.dumps(told)
    assert about in text
    assert f"/runs/flow-run/{run}" in text
