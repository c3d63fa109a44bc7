"""Tell people in Slack what a scan found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rechain.scan.incidents import incidents
from rechain.scan.report import Scanned
from tasks.links import links
from tasks.notify.incidents import tell
from tasks.notify.settings import slack_settings
from tasks.notify.state import told_directory
from tasks.state import now
from tasks.step import progress


def tell_people(root: Path, scanned: Sequence[Scanned]) -> None:
    """Bring Slack up to date with the incidents of some environments; nothing where Slack is not configured.

    Side effect: messages. Idempotent, safe to retry. A Slack outage is logged, and the scan's result stands.

    Raises:
        InputError: rechain.yml is wrong, or a token is configured and no channel to post to.
    """
    names = [one.environment for one in scanned]
    told = tell(
        [incident for one in scanned for incident in incidents(one)],
        environments=names,
        unknown=[one.environment for one in scanned if one.unreachable],
        state_dir=told_directory(root),
        settings=slack_settings(root),
        links=links(names),
        now=now(),
    )
    if told.is_off:
        progress.info("Slack is not configured: nobody is told")
