"""A flow that fails or crashes: people are told where, at which phase, where it rests and what to do, once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Crashed, Failed

from flows.add_clients import add_client_certificates
from flows.drain import drain_sessions
from flows.refresh import refresh_with_minimal_impact
from flows.refresh_crls import refresh_crls
from flows.replace import replace_with_downtime
from flows.revoke import revoke_certificate
from flows.roll_back import roll_back
from flows.verify_connections import verify_connections
from rechain.errors import RollOutFailed
from rechain.phase import Phase
from tasks.announce import announce, announce_end
from tasks.notify.incidents import tell
from tasks.notify.settings import SlackSettings, slack_settings
from tasks.notify.state import told_directory
from tasks.notify_hooks import on_crashed, on_failure
from tasks.repository.rotation_yaml import write_rotation
from tasks.state import EnvironmentRef, now
from tests.environments import ISSUED, Environment
from tests.plugins.slack_stub import Slack, closed_port

FAILED = RollOutFailed("db2", "its reload was refused", "look at its log, then run again")
FLOWS: list[Flow[Any, Any]] = [
    refresh_with_minimal_impact,
    roll_back,
    replace_with_downtime,
    add_client_certificates,
    revoke_certificate,
    refresh_crls,
    verify_connections,
    drain_sessions,
]


@pytest.fixture
def told_environment(
    closed_environment: Environment, with_token: SlackSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Environment:
    """An environment that moves from `overlap` to `servers`, and whose people are told in Slack."""
    _settings(closed_environment.root, with_token.base_url)
    moving = replace(ISSUED, phase=Phase.OVERLAP, target=Phase.SERVERS)
    write_rotation(closed_environment.root, closed_environment.name, moving)
    monkeypatch.setenv("RECHAIN_SLACK_TOKEN_FILE", str(with_token.token_file))
    monkeypatch.setenv("RECHAIN_STATE_DIR", str(tmp_path / "state"))
    return closed_environment


def _settings(root: Path, base_url: str | None) -> None:
    (root / "rechain.yml").write_text(f"slack: {{channel: '#dba', base_url: '{base_url}'}}\n")


def _run(environment: Environment) -> FlowRun:
    return FlowRun(flow_id=uuid4(), parameters={"environment": environment.name, "repository": str(environment.root)})


def test_a_failure_says_where_it_rests_and_what_to_do(slack: Slack, told_environment: Environment) -> None:
    """Environment, phase under way, resting point, what went wrong, next action; a run is told once."""
    run = _run(told_environment)
    for _ in range(2):
        on_failure(flow=roll_back, flow_run=run, state=Failed(data=FAILED))
    [post] = slack.posts
    text = json.dumps(post)
    for part in ("roll-back failed in acc", "db2: its reload was refused", "look at its log, then run again"):
        assert part in text
    assert "*Phase under way:* servers" in text
    assert "*Last resting point:* overlap" in text


def test_a_failure_is_told_from_a_thread_with_an_event_loop(slack: Slack, told_environment: Environment) -> None:
    """There, Prefect's own functions would return coroutines."""

    async def call() -> None:
        on_failure(flow=roll_back, flow_run=_run(told_environment), state=Failed(data=FAILED))

    asyncio.run(call())
    assert "db2: its reload was refused" in json.dumps(slack.posts)


def test_a_crash_is_told_from_what_the_repository_says(slack: Slack, told_environment: Environment) -> None:
    """The hook then runs in another process, which has no exception."""
    crashed: State[Any] = Crashed(message="Flow run process exited with non-zero status code -9: needle")
    on_crashed(flow=roll_back, flow_run=_run(told_environment), state=crashed)
    text = json.dumps(slack.posts)
    assert "roll-back crashed in acc" in text
    assert "*Last resting point:* overlap" in text
    assert "rechain status acc" in text
    assert "needle" not in text


def test_the_text_of_foreign_errors_is_not_told(slack: Slack, told_environment: Environment) -> None:
    """It may quote a key; its kind is enough to look into the log."""
    error = ValueError("-----BEGIN PRIVATE KEY----- needle")
    on_failure(flow=roll_back, flow_run=_run(told_environment), state=Failed(data=error))
    text = json.dumps(slack.posts)
    assert "ValueError" in text
    assert "needle" not in text


def test_an_outage_is_announced_and_its_end(slack: Slack, told_environment: Environment) -> None:
    """What fails, from when on, what owners of external clients must do, and how long it was in the end."""
    ref = EnvironmentRef(told_environment.root, told_environment.name)
    announce.fn(ref)
    announce_end.fn(ref, 12.4)
    began, ended = (json.dumps(post) for post in slack.posts)
    assert "acc: logins fail from now on" in began
    assert "owners of external clients" in began
    assert "logins failed for 12 s" in ended


def test_slack_that_is_down_holds_no_outage_up(told_environment: Environment, caplog: pytest.LogCaptureFixture) -> None:
    """The log says that nobody was told."""
    _settings(told_environment.root, f"http://127.0.0.1:{closed_port()}/api/")
    announce.fn(EnvironmentRef(told_environment.root, told_environment.name))
    assert "acc could not be announced in Slack" in caplog.text


def test_a_failure_that_slack_did_not_take_is_told_by_the_next_scan(
    slack: Slack, told_environment: Environment
) -> None:
    """Also by another process: it is remembered on the worker."""
    root = told_environment.root
    _settings(root, f"http://127.0.0.1:{closed_port()}/")
    on_failure(flow=roll_back, flow_run=_run(told_environment), state=Failed(data=FAILED))
    _settings(root, slack.base_url)
    for posted in (("acc: roll-back failed",), ()):
        told = tell([], environments=[], state_dir=told_directory(root), settings=slack_settings(root), now=now())
        assert told.posted == posted
    assert "db2: its reload was refused" in json.dumps(slack.posts)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"environment": None}, {"environment": "gone"}, {"environment": "../.."}, {"environments": ["acc", "prod"]}],
)
def test_a_run_that_names_no_environment_is_told_too(
    slack: Slack, told_environment: Environment, parameters: dict[str, object]
) -> None:
    """It may have failed because of that."""
    run = FlowRun(flow_id=uuid4(), parameters={"repository": str(told_environment.root), **parameters})
    on_failure(flow=roll_back, flow_run=run, state=Failed(data=FAILED))
    assert "db2: its reload was refused" in json.dumps(slack.posts)


@pytest.mark.parametrize("settings", ["slack: {channel: 3", "slack: {}", "nonsense: 1"])
def test_the_hook_never_raises(told_environment: Environment, settings: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is wrong with the settings is one line in the log; a run without parameters is one too."""
    (told_environment.root / "rechain.yml").write_text(settings)
    on_failure(flow=roll_back, flow_run=_run(told_environment), state=Failed(data=FAILED))
    assert "rechain.yml" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_flow_that_moves_or_verifies_has_both_hooks(flow: Flow[Any, Any]) -> None:
    """The decorator of one is easily forgotten."""
    assert on_failure in flow.on_failure_hooks
    assert on_crashed in flow.on_crashed_hooks


@pytest.fixture
def variables(told_environment: Environment, prefect_api: dict[str, str]) -> dict[str, str]:
    """What a process needs to run flows on a Prefect server and tell Slack."""
    return {**os.environ, **prefect_api, "RECHAIN_REPO": str(told_environment.root)}


def test_a_real_run_that_fails_is_told(slack: Slack, variables: dict[str, str]) -> None:
    """Prefect calls the hook; the command's exit code and message stand, and the message leads to the run."""
    command = [str(Path(sys.executable).with_name("rechain")), "rollback", "acc", "--yes"]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 2, ended.stderr
    [post] = slack.posts
    text = json.dumps(post)
    assert "roll-back failed in acc" in text
    assert f"{variables['PREFECT_API_URL'].removesuffix('/api')}/runs/flow-run/" in text
    assert "could not be told" not in ended.stderr


def test_a_real_run_that_is_ended_is_told(
    slack: Slack, told_environment: Environment, variables: dict[str, str]
) -> None:
    """As a crash, by a person's Ctrl-C."""
    code = (
        "import os, signal, sys; from prefect import flow; from tasks.notify_hooks import on_crashed, on_failure\n"
        "@flow(name='ended', on_failure=[on_failure], on_crashed=[on_crashed])\n"
        "def ended(environment: str, repository: str) -> None:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "ended('acc', sys.argv[1])\n"
    )
    command = [sys.executable, "-c", code, str(told_environment.root)]
    begun = time.monotonic()
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode != 0
    assert time.monotonic() - begun < 60
    assert "ended crashed in acc" in json.dumps(slack.posts), ended.stderr
