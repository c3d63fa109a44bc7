"""Names of runs: a list of them says which environment, phase and host each is about."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow, Task

from flows.add_clients import add_client_certificates
from flows.drain import drain_sessions
from flows.refresh import refresh_with_minimal_impact
from flows.replace import replace_with_downtime
from flows.revoke import revoke_certificate
from flows.roll_back import roll_back
from flows.verify_connections import verify_connections
from rechain.phase import Phase
from tasks.distribute import distribute
from tasks.state import EnvironmentRef
from tasks.step import few
from tasks.verify import verify_phase

_REF = EnvironmentRef(Path("/repository"), "acc")


def _tasks() -> list[Task[..., Any]]:
    """Every task of the project."""
    folder = Path(__file__).parents[2] / "tasks"
    modules = [importlib.import_module(f"tasks.{path.stem}") for path in folder.glob("*.py")]
    found = {id(one): one for module in modules for one in vars(module).values() if isinstance(one, Task)}
    return list(found.values())


def _named(task: Task[..., Any], **parameters: Any) -> str:
    make = task.task_run_name
    assert callable(make)
    return make(parameters=parameters)  # type: ignore[call-arg]  # Prefect tells both kinds of callables apart so


def test_a_roll_out_names_environment_phase_and_hosts() -> None:
    """A long list is cut, and says how much of it is missing."""
    hosts = [f"db{number}" for number in range(1, 51)]
    given: dict[str, Any] = {"ref": _REF, "phase": Phase.OVERLAP, "claim": 1, "start": False}
    assert _named(distribute, hosts=hosts, **given) == "acc: distribute overlap to db1, db2 and 48 more"
    assert _named(distribute, hosts=("db1",), **given) == "acc: distribute overlap to db1"
    assert _named(verify_phase, ref=_REF, phase=Phase.SERVERS, tries_revoked=False) == "acc: verify servers"


@pytest.mark.parametrize("task", _tasks(), ids=lambda task: task.name)
def test_every_task_can_be_named_and_names_its_environment(task: Task[..., Any]) -> None:
    """A template that its parameters do not fill would fail the run that it names."""
    parameters = {name: name for name in inspect.signature(task.fn).parameters} | {"environment": "acc"}
    if "ref" in parameters:
        parameters["ref"] = _REF  # type: ignore[assignment]
    assert "acc" in _named(task, **parameters)


@pytest.mark.parametrize(("count", "told"), [(1, "h0"), (2, "h0, h1"), (3, "h0, h1, h2"), (4, "h0, h1 and 2 more")])
def test_a_list_is_cut_where_that_is_shorter(count: int, told: str) -> None:
    """One more name takes no more room than `and 1 more`."""
    assert few([f"h{number}" for number in range(count)]) == told


@pytest.mark.parametrize(
    "flow",
    [
        refresh_with_minimal_impact,
        replace_with_downtime,
        add_client_certificates,
        roll_back,
        revoke_certificate,
        verify_connections,
        drain_sessions,
    ],
    ids=lambda flow: flow.name,
)
def test_a_flow_s_run_is_named_after_its_environment(flow: Flow[..., Any]) -> None:
    """By parameters that the flow has."""
    assert isinstance(flow.flow_run_name, str)
    parameters = {name: f"<{name}>" for name in inspect.signature(flow.fn).parameters}
    assert "<environment>" in flow.flow_run_name.format(**parameters)
