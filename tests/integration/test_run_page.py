"""What a flow puts on its page, on a real Prefect server; and that a server that is gone holds nothing up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.environments import make_environment, sealed
from tests.page_scenes import PATIENCE_S
from tests.places import ask
from tests.run_pages import RunPage, page_of

_PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Scene:
    """A run that was: its page, what it told, and which warnings were logged."""

    page: RunPage
    told: Any
    warnings: list[str]


@pytest.fixture(scope="module")
def scenes(prefect_api: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scene]:
    """All scenes of `tests/page_scenes.py`, played once, each by a flow run of its own."""
    home = tmp_path_factory.mktemp("pages")
    root = make_environment(home / "repository", vault=sealed("first")).root
    done = subprocess.run(
        [sys.executable, "-m", "tests.page_scenes", str(root)],
        env={**os.environ, **prefect_api, "RECHAIN_STATE_DIR": str(home / "state")},
        cwd=_PROJECT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    api = prefect_api["PREFECT_API_URL"]
    return {one["scene"]: Scene(page_of(api, one["run"]), one["told"], one["warnings"]) for one in told}


def test_a_plan_is_a_table_and_a_text(scenes: dict[str, Scene]) -> None:
    """Rows with hosts and files; proof, whom to tell and notes beside them."""
    plan = scenes["plan"]
    assert plan.page.types == {"plan-acc": "table", "plan-acc-notes": "markdown"}
    [row] = plan.page.rows("plan-acc")
    assert (row["host"], row["certificates"], row["then"]) == ("db1", "- → abababab", "reload")
    assert "app: add the chain" in plan.page.text("plan-acc-notes")
    assert plan.page.artifacts["plan-acc"]["description"] == "acc: 1 file changes on 1 hosts, phases overlap"


def test_progress_moves_on_in_one_place(scenes: dict[str, Scene]) -> None:
    """From under way to a closed gate: the same artifact, with the resting point and what is next."""
    after = scenes["progress"].page.artifacts["progress-acc"]
    before = next(one for one in scenes["progress"].told if one["id"] == after["id"])
    assert [(one["type"], one["data"]) for one in (before, after)] == [("progress", 25.0), ("progress", 50.0)]
    assert before["description"].startswith("acc moves from overlap to servers")
    assert after["description"] == "acc rests at servers and waits at gate canary; next: clients, retired"


def test_hosts_add_up_over_roll_outs(scenes: dict[str, Scene]) -> None:
    """Host by host and phase by phase; what a host said last in a phase stands."""
    page = scenes["hosts"].page
    rows = page.rows("hosts-acc")
    assert [(row["phase"], row["host"], row["outcome"]) for row in rows] == [
        ("overlap", "db1", "nothing to do"),
        ("servers", "db1", "nothing to do"),
        ("servers", "db2", "installed, reloaded, proven"),
    ]
    assert (rows[2]["changed files"], rows[2]["serves now"]) == ("/pki/server.crt", "127.0.0.1:5432: abababab")
    assert page.artifacts["hosts-acc"]["description"] == "acc: servers, 1 hosts, all done"


def test_logins_that_failed_come_first(scenes: dict[str, Scene]) -> None:
    """Endpoint, client, generation, verdict, error and a short serial."""
    page = scenes["logins"].page
    rows = page.rows("logins-acc")
    assert [row["verdict"] for row in rows] == ["refused", "logged_in"]
    assert (rows[0]["endpoint"], rows[0]["client"], rows[0]["generation"]) == ("db1:5432", "app", 2)
    assert (rows[0]["error"], rows[0]["serial"]) == ("told", "c0ffeec0")
    assert page.artifacts["logins-acc"]["description"] == "acc at servers: 2 logins, 1 problems"


def test_report_and_picture_tell_the_same_numbers(scenes: dict[str, Scene]) -> None:
    """Those of the report that the flow returns; done is a hundred percent."""
    done = scenes["done"]
    assert done.page.types == {"canary-acc": "image", "progress-acc": "progress", "report-acc": "markdown"}
    picture = done.page.picture("canary-acc")
    assert "3 logins were tried, 1 failed" in picture
    assert picture.count('class="failure"') == 1
    assert "servers" in picture
    assert "**3 logins were tried, 1 failed**" in done.page.text("report-acc")
    assert done.page.artifacts["progress-acc"]["data"] == 100


def test_what_stops_a_run_is_on_its_page(scenes: dict[str, Scene]) -> None:
    """After a gate: the last word is the error, with its fix."""
    text = scenes["failed"].page.text("report-acc")
    assert text.startswith("## acc: failed, the fleet rests at overlap")
    assert "**db2**: its reload was refused" in text
    assert "**Next:** look at its log." in text


def test_an_earlier_run_s_page_stays(scenes: dict[str, Scene], prefect_api: dict[str, str]) -> None:
    """Each run has its own version of a key; the newest is the latest."""
    assert [scenes[name].page.text("note-acc-1") for name in ("first", "second")] == ["first", "second"]
    about = {"artifacts": {"key": {"any_": ["note-acc-1"]}}}
    latest = ask(f"{prefect_api['PREFECT_API_URL']}/artifacts/latest/filter", about)
    assert [one["data"] for one in latest] == ["second"]


def test_without_a_flow_nothing_is_made(scenes: dict[str, Scene]) -> None:
    """The command line's read-only commands have no page."""
    assert scenes["no_flow"].told == []


def test_what_can_t_be_made_is_one_warning(scenes: dict[str, Scene]) -> None:
    """The run goes on; the text of a foreign error may quote anything, so only its kind is told."""
    assert scenes["unmade"].warnings == ["a note could not be put on the run's page: KeyError"]
    assert all(scene.warnings == [] for name, scene in scenes.items() if name not in ("unmade", "gone", "hung"))


@pytest.mark.parametrize(("name", "error"), [("gone", "ConnectError"), ("hung", "ReadTimeout")])
def test_a_server_that_is_gone_holds_nothing_up(scenes: dict[str, Scene], name: str, error: str) -> None:
    """It is given its seconds once, and one warning; then it is left alone for a while."""
    waited, *others = scenes[name].told
    assert waited < PATIENCE_S + 5
    assert max(others) < 0.1
    assert scenes[name].warnings == [f"a note could not be put on the run's page: {error}"]
