"""Scans, one after another, that tell the stand-in for Slack what they found."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rechain.finding import Severity
from rechain.scan.incident import Incident
from tasks.notify.incidents import Told, tell
from tasks.notify.settings import SlackSettings

NOW = datetime(2030, 1, 1, 3, tzinfo=UTC)
ENDS = NOW + timedelta(days=20, hours=1)
INCIDENT = Incident(
    environment="acc",
    cause="ends:CN=root",
    severity=Severity.WARNING,
    title="200 certificates end, the first on 2030-01-21",
    breaks="every login on db1 fails: server certificate ends",
    when=ENDS,
    rows=tuple(f"db{number} (server): 2030-01-21; seen by wire" for number in range(200)),
    fix="run `rechain refresh acc`",
)
WORSE = replace(INCIDENT, severity=Severity.ERROR)
NAME = "acc: ends:CN=root"


class Scans:
    """Scans of one environment, one after another, that remember in one directory."""

    def __init__(self, directory: Path, settings: SlackSettings | None) -> None:
        self.directory = directory / "told"
        self.settings = settings
        self.now = NOW

    def tell(self, *incidents: Incident, settings: SlackSettings | None = None, **options: Any) -> Told:
        """Tell people what a scan found."""
        given = {"environments": ["acc"], "state_dir": self.directory, "now": self.now, **options}
        return tell(incidents, settings=settings or self.settings, **given)

    def memory(self) -> dict[str, Any]:
        """What is remembered."""
        content: dict[str, Any] = json.loads((self.directory / "told.json").read_text())
        return content


@pytest.fixture
def scans(tmp_path: Path, with_token: SlackSettings) -> Scans:
    """Scans that tell people with a token."""
    return Scans(tmp_path, with_token)


@pytest.fixture
def through_webhook(tmp_path: Path, with_webhook: SlackSettings) -> Scans:
    """Scans that tell people through a webhook."""
    return Scans(tmp_path, with_webhook)
