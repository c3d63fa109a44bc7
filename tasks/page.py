"""The page of a run in Prefect's UI: what is put there is one artifact a run and key, renewed as the run goes on.

Earlier runs' artifacts stay, as versions of the same key. Nothing here fails or holds up what it is about: an API that
does not answer is given a few seconds once, one warning is logged, and it is left alone for a while. Where no flow runs
there is no page, and nothing is sent.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact
from prefect.context import SettingsContext, get_settings_context
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, Settings, get_current_settings

from rechain.errors import RechainError
from tasks.step import progress

_PATIENCE_S = 5.0
_LEFT_ALONE_S = 60.0
_NOT_IN_A_KEY = re.compile(r"[^a-z0-9]+")

Rows = list[dict[str, Any]]


class Kind(StrEnum):
    """Types of artifacts, by the words of Prefect's UI."""

    TABLE = "table"
    MARKDOWN = "markdown"
    PROGRESS = "progress"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Sheet:
    """One thing on a page.

    Attributes:
        kind: What it is.
        key: What it is known by; see `key_of`.
        description: One line about it, as Markdown.
        data: Rows, Markdown, percent, or the address of a picture.
    """

    kind: Kind
    key: str
    description: str
    data: Rows | str | float


class _Silence:
    """Until when an API that did not answer is left alone."""

    until = 0.0


def key_of(environment: str, *parts: str) -> str:
    """An artifact's key: lower-case letters, digits and dashes."""
    return _NOT_IN_A_KEY.sub("-", "-".join((parts[0], environment, *parts[1:])).lower()).strip("-")


@dataclass(frozen=True, slots=True)
class Page:
    """What this run has put on its page so far."""

    _client: SyncPrefectClient
    _run: UUID

    def rows(self, key: str) -> Rows:
        """The rows of a table; none when there is no such table yet."""
        found = self._find(key)
        rows: Rows = json.loads(str(found.data)) if found else []
        return rows

    def put(self, sheet: Sheet) -> None:
        """Renew what has this key, or add it."""
        data = json.dumps(sheet.data) if sheet.kind is Kind.TABLE else sheet.data
        found = self._find(sheet.key)
        if found:
            self._client.update_artifact(found.id, ArtifactUpdate(data=data, description=sheet.description))
        else:
            own = {"type": sheet.kind.value, "key": sheet.key, "description": sheet.description}
            self._client.create_artifact(ArtifactCreate(**own, data=data, flow_run_id=self._run))

    def tag(self, label: str, value: str | None) -> None:
        """Give the run one tag with this label, or none."""
        before = self._client.read_flow_run(self._run).tags
        after = [*(tag for tag in before if not tag.startswith(label)), *([f"{label}{value}"] if value else [])]
        if after != before:
            self._client.update_flow_run(self._run, tags=after)

    def _find(self, key: str) -> Artifact | None:
        about = ArtifactFilter(key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[self._run]))
        return next(iter(self._client.read_artifacts(artifact_filter=about)), None)


def show(about: str, make: Callable[[Page], Iterable[Sheet]]) -> None:
    """Put something on the page of this run. Side effect: artifacts. Never raises; safe to repeat.

    Args:
        about: What it is, for the warning.
        make: Makes it; not called where no flow runs.
    """
    if not flow_run.id or time.monotonic() < _Silence.until:
        return
    try:
        client, settings = _hasty(str(get_client(sync_client=True).api_url))
        with SettingsContext(profile=get_settings_context().profile, settings=settings):
            page = Page(client, UUID(flow_run.id))
            for sheet in make(page):
                page.put(sheet)
    except Exception as error:  # a page never fails what it shows
        _Silence.until = time.monotonic() + _LEFT_ALONE_S
        reason = str(error) if isinstance(error, RechainError) else type(error).__name__
        progress.warning("%s could not be put on the run's page: %s", about, reason)


@lru_cache
def _hasty(_api: str) -> tuple[SyncPrefectClient, Settings]:
    """A client that gives up soon, and settings without repetition; kept, since both take a tenth of a second to make.

    The run's own client would wait a minute for each answer, six times.
    """
    settings = get_current_settings().copy_with_update(updates={PREFECT_CLIENT_MAX_RETRIES: 0})
    return get_client(sync_client=True, httpx_settings={"timeout": _PATIENCE_S}), settings
