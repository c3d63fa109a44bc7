"""prefect.yaml: every deployment loads, and its parameters are those of its flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.schedules import Cron

FILE = Path(__file__).parents[2] / "prefect.yaml"
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load(FILE.read_text("utf-8"))["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: str(one["name"]))
def test_a_deployment_loads_and_takes_its_parameters(deployment: dict[str, Any]) -> None:
    """By module, never by file, which would load it twice; without a placeholder for what can't be imported."""
    assert ".py" not in deployment["entrypoint"]
    flow: Flow[..., Any] = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
    asked = dict.fromkeys(flow.parameters.required, "acc")  # what the form makes a person fill in
    assert set(asked) <= {"environment", "client", "reason"}
    flow.validate_parameters({**asked, **deployment.get("parameters", {})})
    assert set(flow.parameters.properties)
    assert all(one.get("description") for one in flow.parameters.properties.values())


def test_the_nightly_scan_has_a_schedule_of_its_own_time_zone() -> None:
    """A person's night, summer and winter."""
    (nightly,) = [one for one in DEPLOYMENTS if one["name"] == "nightly"]
    (schedule,) = nightly["schedules"]
    assert Cron(schedule["cron"], timezone=schedule["timezone"]).timezone == "Europe/Amsterdam"
    assert schedule["active"]


def test_the_environment_deployment_is_the_one_that_runs_are_started_of() -> None:
    """`nightly` starts runs by this name."""
    from flows.scan_expiry import FOR_ONE_ENVIRONMENT  # noqa: PLC0415  # Prefect's import is slow

    names = [f"{load_flow_from_entrypoint(one['entrypoint']).name}/{one['name']}" for one in DEPLOYMENTS]
    assert FOR_ONE_ENVIRONMENT in names
