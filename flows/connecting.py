"""`rechain setup-prefect`: what a Prefect server has to know besides the deployments."""

from __future__ import annotations

from flows import terminal
from flows.options import HERE, Repo


def setup_prefect(*, repo: Repo = HERE) -> int:
    """Make work pool, Slack block, automations and drop-downs on the Prefect server; again after every change."""
    terminal.prepare_prefect()
    from tasks.server.setup import set_up

    for line in set_up(repo.resolve()):
        terminal.say(line)
    return 0
