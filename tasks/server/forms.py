"""Run forms: the environments that there are become a drop-down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse

TAG = "rechain"
_FIELD = "environment"
_MOST = 200


def offer_environments(client: SyncPrefectClient, names: Sequence[str]) -> tuple[str, ...]:
    """Let people choose an environment where a form asks for one. Side effect: the schemas of deployments.

    Prefect refuses a run with anything else. So a form that takes several keeps its text: by it the nightly scan starts
    a run for an environment that is new since.

    Args:
        client: The server.
        names: The environments; without any, forms keep their text field.

    Returns:
        The deployments whose form asks for an environment.
    """
    return tuple(_offer(client, one, names) for one in _ours(client) if _FIELD in _properties(one))


def _ours(client: SyncPrefectClient) -> Iterable[DeploymentResponse]:
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    return client.read_deployments(deployment_filter=tagged, limit=_MOST)


def _offer(client: SyncPrefectClient, deployment: DeploymentResponse, names: Sequence[str]) -> str:
    schema: dict[str, Any] = deepcopy(deployment.parameter_openapi_schema or {})
    field = schema["properties"][_FIELD]
    field.pop("enum", None)
    if names:
        field["enum"] = list(names)
    client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=schema))
    return deployment.name


def _properties(deployment: DeploymentResponse) -> dict[str, Any]:
    found: dict[str, Any] = (deployment.parameter_openapi_schema or {}).get("properties", {})
    return found
