"""Worker and run killed together, in each phase: found lost, told once, and taken up by the next run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.environment import ENVIRONMENT
from lab.fleet import Lab
from lab.watch import summarise
from rechain.phase import Phase
from tasks.repository.rotation_yaml import read_rotation
from tasks.server.automations import LOST_AFTER
from tests.faults.seen import generations, wait_until
from tests.plugins.slack_stub import Slack, told_in
from tests.plugins.team import Team, until

_REFRESH = "refresh-with-minimal-impact/refresh"
_MOVES = (Phase.OVERLAP, Phase.SERVERS, Phase.CLIENTS, Phase.RETIRED)
_SLACK_S = 45
"""From the instant that a run counts as lost to Slack, at most: the server looks every few seconds."""


@pytest.mark.timeout(2400)
def test_a_lost_run_is_found_told_once_and_taken_up_again(
    new_lab: Callable[..., Lab], new_team: Callable[..., Team], slack: Slack, tmp_path: Path
) -> None:
    """In every phase: no heartbeat, `Lost`, one message; a new run completes; one next CA; nobody fails to log in."""
    lab = new_lab()
    watcher = lab.run_watcher()
    team = new_team(lab, told_in(slack, lab.repository.root, tmp_path))
    lost: list[str] = []
    for phase in _MOVES:
        _open_gates(team, phase)
        team.start_worker(f"before-{phase}")
        lost.append(_lose(team, phase))
        until(lambda: _told(slack) == len(lost), f"{phase}: a message", _SLACK_S)
        team.start_worker(f"after-{phase}")
        team.wait(team.run(_REFRESH, plan_only=False, until=phase.value), "Completed")
        team.end(f"after-{phase}")

    rotation = read_rotation(lab.repository.root, ENVIRONMENT)
    assert (rotation.phase, rotation.current, rotation.next, rotation.claim) == (Phase.RETIRED, 2, None, None)
    assert set(generations(lab.repository.root)) == {"generation-1", "generation-2"}
    lab.finish(watcher)
    assert summarise(lab.journal("watch")).failures == ()
    assert {team.look(run)["state_name"] for run in lost} == {"Lost"}
    assert _told(slack) == len(_MOVES)
    assert not [post for post in slack.posts if "failed" in post["text"] or "crashed" in post["text"]]


def _lose(team: Team, phase: Phase) -> str:
    """Kill worker and run while the run moves to a phase, and wait until the server has noticed."""
    run = team.run(_REFRESH, plan_only=False, until=phase.value)
    root = team.lab.repository.root
    wait_until(lambda: read_rotation(root, ENVIRONMENT).target is phase, f"the move to {phase}")
    wait_until(lambda: f"moves to: {phase}" in team.look(run)["tags"], f"its tag, {phase}")
    team.kill(f"before-{phase}")
    killed = time.monotonic()
    team.wait(run, "Lost", limit_s=LOST_AFTER.total_seconds() + _SLACK_S)
    assert time.monotonic() - killed < LOST_AFTER.total_seconds() + _SLACK_S
    return run


def _told(slack: Slack) -> int:
    return sum("is lost" in post["text"] for post in slack.posts)


def _open_gates(team: Team, phase: Phase) -> None:
    if phase is Phase.SERVERS:
        team.desk.trust()
    if phase is Phase.RETIRED:
        team.lab.owner.take_delivery()
        team.desk.approve("clients")
