"""The page of a run as Prefect's API tells it: artifacts by key, names of the run's tasks."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from tests.places import ask


@dataclass(frozen=True)
class RunPage:
    """What a person sees on the page of one flow run.

    Attributes:
        artifacts: By key.
        tasks: Names of its task runs.
    """

    artifacts: dict[str, dict[str, Any]]
    tasks: set[str]

    @property
    def types(self) -> dict[str, str]:
        """The type of each artifact."""
        return {key: one["type"] for key, one in self.artifacts.items()}

    def rows(self, key: str) -> list[dict[str, Any]]:
        """A table."""
        rows: list[dict[str, Any]] = json.loads(self.artifacts[key]["data"])
        return rows

    def text(self, key: str) -> str:
        """Markdown."""
        return str(self.artifacts[key]["data"])

    def picture(self, key: str) -> str:
        """The SVG of an image."""
        return base64.b64decode(self.text(key).removeprefix("data:image/svg+xml;base64,")).decode()


def page_of(api: str, run: str) -> RunPage:
    """The page of a run; a key that is on it twice fails."""
    found = ask(f"{api}/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    assert len({one["key"] for one in found}) == len(found)
    tasks = ask(f"{api}/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run]}}})
    return RunPage({one["key"]: one for one in found}, {one["name"] for one in tasks})


def last_page(api: str, name: str) -> RunPage:
    """The page of the last run of that name."""
    about = {"flow_runs": {"name": {"any_": [name]}}, "sort": "START_TIME_DESC", "limit": 1}
    [run] = ask(f"{api}/flow_runs/filter", about)
    return page_of(api, run["id"])
