"""The event that says that people know of a run's end, so that the Prefect server need not tell it again."""

from __future__ import annotations

from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL

TOLD = "rechain.told"
FLOWS = (
    "scan-expiry",
    "refresh-with-minimal-impact",
    "replace-with-downtime",
    "add-client-certificates",
    "roll-back",
    "verify-connections",
    "revoke-certificate",
    "refresh-crls",
    "drain-sessions",
)
"""Names of rechain's flows: automations look at no others on a server that is shared."""


def emit_told(flow: str, flow_run: FlowRun) -> None:
    """Say that the end of a run was told. Side effect: an event on the Prefect server, where there is a lasting one."""
    if not PREFECT_API_URL.value():
        return
    emit_event(
        event=TOLD,
        resource={"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.name": flow_run.name},
        related=[
            {
                "prefect.resource.id": f"prefect.flow.{flow_run.flow_id}",
                "prefect.resource.role": "flow",
                "prefect.resource.name": flow,
            }
        ],
    )
