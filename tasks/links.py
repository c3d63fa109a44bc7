"""Addresses in Prefect's UI: of a run, and of the form that starts a refresh."""

from __future__ import annotations

import logging

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_UI_URL

from rechain.slack_message import Link

progress = logging.getLogger("rechain")

REFRESH = "refresh-with-minimal-impact/refresh"


def links_of_run(run: str) -> tuple[Link, ...]:
    """The page of a run; nothing where no UI is configured."""
    address = PREFECT_UI_URL.value()
    return (Link("Open the run", f"{address.rstrip('/')}/runs/flow-run/{run}"),) if address and run else ()


def links_to_refresh() -> tuple[Link, ...]:
    """The form that starts a refresh; nothing while no such deployment is on the server."""
    address = PREFECT_UI_URL.value()
    if not address:
        return ()
    try:
        with get_client(sync_client=True) as client:
            found = client.read_deployment_by_name(REFRESH)
    except ObjectNotFound:
        return ()
    return (Link("Refresh the chain…", f"{address.rstrip('/')}/deployments/deployment/{found.id}/run"),)
