"""Prefect's hooks of a flow that failed or crashed: people are told which environment, where it rests, what to do.

They never raise. They hold a failed run for about half a minute when Slack is down, and while a scan is telling people,
which ends within three minutes: what they would tell sooner could not be remembered. `on_crashed` may run in a new
process of the worker, which knows the run's parameters and nothing else: where the rotation rests is read from
rotation.yml.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import get_state_exception
from prefect.utilities.urls import url_for

from rechain.errors import RechainError
from rechain.rotation import Rotation
from rechain.slack_message import Failure, FailureKind
from tasks.notify.failure import tell_failure
from tasks.notify.settings import slack_settings
from tasks.notify.state import told_directory
from tasks.repository.rotation_yaml import read_rotation
from tasks.state import now
from tasks.told_event import emit_told

_log = logging.getLogger("rechain")


def on_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell people of a flow run that failed; Prefect calls it, with these names."""
    _tell(flow, flow_run, state, FailureKind.FAILED)


def on_crashed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell people of a flow run that crashed; Prefect calls it, with these names."""
    _tell(flow, flow_run, state, FailureKind.CRASHED)


def _tell(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any], kind: FailureKind) -> None:
    try:
        root = _root(flow_run.parameters)
        settings = slack_settings(root)
        error = _error(state) if settings else None
        if settings is None:
            return
        failure = _failure(root, flow.name, flow_run, kind, error)
        if tell_failure(failure, state_dir=told_directory(root), settings=settings, now=now()):
            emit_told(flow.name, flow_run)
    except Exception as error:  # a notification never fails what it is about
        reason = str(error) if isinstance(error, RechainError) else type(error).__name__
        _log.warning("the end of %s could not be told: %s", flow.name, reason)


def _error(state: State[Any]) -> BaseException:
    """What a run ended with, whether or not the thread that the hook is called in has an event loop."""
    return cast("BaseException", get_state_exception(state, _sync=True))  # type: ignore[call-arg]  # async_dispatch takes it


def _failure(root: Path, flow: str, flow_run: FlowRun, kind: FailureKind, error: BaseException | None) -> Failure:
    environment = _environment(flow_run.parameters)
    rotation = _rotation(root, environment)
    status = f"rechain status {environment}" if rotation else "rechain status"
    return Failure(
        run_id=str(flow_run.id),
        environment=environment,
        flow=flow,
        kind=kind,
        what=_what(error, kind),
        phase=rotation.target.value if rotation and rotation.target else None,
        resting=rotation.phase.value if rotation and rotation.phase else None,
        next_action=error.fix if isinstance(error, RechainError) else f"`{status}`, then run the same again",
        run_url=url_for("flow-run", flow_run.id),
    )


def _what(error: BaseException | None, kind: FailureKind) -> str:
    """Our own errors say it; the text of others may quote anything, so only their kind is told."""
    if isinstance(error, RechainError):
        return f"{error.where}: {error.what}"
    return f"it {kind}: {type(error).__name__}; the run's log says more"


def _root(parameters: Mapping[str, Any]) -> Path:
    return Path(parameters.get("repository") or os.environ.get("RECHAIN_REPO") or ".").resolve()


def _environment(parameters: Mapping[str, Any]) -> str:
    """The environment of a run, or the environments."""
    named = parameters.get("environment") or parameters.get("environments")
    return ", ".join(map(str, named)) if isinstance(named, list) else str(named or "all environments")


def _rotation(root: Path, environment: str) -> Rotation | None:
    try:
        return read_rotation(root, environment)
    except RechainError:
        return None
