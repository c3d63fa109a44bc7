"""Addresses in Prefect's UI: of this run, and of the form that starts a refresh."""

from __future__ import annotations

from collections.abc import Iterable

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import PREFECT_UI_URL

from rechain.slack_message import Links

REFRESH = "refresh-with-minimal-impact/refresh"


def links(environments: Iterable[str]) -> Links:
    """The page of this run, and the refresh's form while such a deployment is on the server; nothing without a UI."""
    address = (PREFECT_UI_URL.value() or "").rstrip("/")
    if not address or not flow_run.id:
        return Links()
    run = f"{address}/runs/flow-run/{flow_run.id}"
    form = _refresh_form(address)
    return Links(run, dict.fromkeys(environments, form) if form else {})


def _refresh_form(address: str) -> str | None:
    try:
        with get_client(sync_client=True) as client:
            return f"{address}/deployments/deployment/{client.read_deployment_by_name(REFRESH).id}/run"
    except ObjectNotFound:
        return None
