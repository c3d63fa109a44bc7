"""What no worker can tell is told by the Prefect server: a failure without its hook, a run that is lost, and found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.fleet import Lab
from tasks.server.automations import LOST_AFTER
from tests.plugins.slack_stub import Slack, told_in
from tests.plugins.team import Team, until

_VERIFY = "verify-connections/verify"
_UNTOLD_S = 4 * 60
_SLACK_S = 60


@pytest.mark.timeout(1800)
def test_the_server_tells_what_no_hook_told(
    new_lab: Callable[..., Lab], new_team: Callable[..., Team], slack: Slack, tmp_path: Path
) -> None:
    """A worker that has lost its token tells nobody that its run failed: the server does, once, minutes later.

    A run that stands still counts as lost; when it goes on, people hear that it lives.
    """
    lab = new_lab()
    team = new_team(lab, told_in(slack, lab.repository.root, tmp_path))
    assert [post["text"] for post in slack.posts] == ["rechain: from now on the Prefect server tells here of runs that "
                                                      "are lost, late, or wait for somebody"]  # fmt: skip
    team.start_worker("sound")
    run = team.run(_VERIFY)
    team.wait(run, "Running")
    with team.frozen("sound"):
        team.wait(run, "Lost", limit_s=LOST_AFTER.total_seconds() + _SLACK_S)
        until(lambda: _told(slack, "is lost") == 1, "the message of the lost run", _SLACK_S)
    until(lambda: _told(slack, "is alive after all") == 1, "the message of the run that lives", _SLACK_S)
    team.end("sound")

    team.variables["RECHAIN_SLACK_TOKEN_FILE"] = str(tmp_path / "no-such-token")
    team.start_worker("without")
    failed = team.run(_VERIFY, repository=str(tmp_path / "nowhere"))
    team.wait(failed, "Failed")
    until(lambda: _told(slack, " failed") == 1, "the message of the failure", _UNTOLD_S + _SLACK_S)
    assert _told(slack, "is lost") == _told(slack, "is alive after all") == _told(slack, " failed") == 1


def _told(slack: Slack, words: str) -> int:
    return sum(words in post["text"] for post in slack.posts)
