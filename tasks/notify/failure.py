"""Tell people of a flow run that failed or crashed: once, and later when Slack is down now."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from rechain.errors import RechainError
from rechain.slack_message import Failure, failure_message
from tasks.notify.settings import SlackSettings
from tasks.notify.slack import Slack, connect
from tasks.notify.state import Book, FailedRun, opened

_PATIENCE_S = 30.0
"""How long a run that failed waits for Slack; longer only while a scan tells people: they share one memory."""
_log = logging.getLogger("rechain")


def tell_failure(failure: Failure, *, state_dir: Path, settings: SlackSettings | None, now: datetime) -> bool:
    """Tell people of a failure. Side effect: Slack, and the memory of it on this worker. Safe to repeat.

    Args:
        failure: What failed, and what to do; a flow run is told once.
        state_dir: Where this worker remembers what it told.
        settings: How Slack is reached; None when it is not configured.
        now: Aware UTC instant.

    Returns:
        Whether it was posted now. Nothing is raised: what can't be posted is logged, and told by the next scan.
    """
    if settings is None:
        return False
    try:
        with opened(state_dir, now) as book:
            if failure.run_id in book.memory.failures:
                return False
            book.memory.failures[failure.run_id] = FailedRun(at=now, owed=failure)
            book.save()
            tell_owed(connect(replace(settings, patience_s=_PATIENCE_S)), book, failure.run_id)
    except Exception as error:  # a notification never fails what it is about
        reason = str(error) if isinstance(error, RechainError) else type(error).__name__
        _log.warning("the failure of %s could not be told in Slack: %s", failure.flow, reason)
        return False
    return True


def owed(book: Book) -> list[tuple[str, Failure]]:
    """Failures that could not be told so far, with their run's id."""
    return [(run, one.owed) for run, one in book.memory.failures.items() if one.owed]


def tell_owed(slack: Slack, book: Book, run_id: str) -> None:
    """Post a failure and remember that it was.

    Raises:
        SlackError: It did not arrive; it stays owed.
    """
    run = book.memory.failures[run_id]
    if run.owed:
        slack.post(failure_message(run.owed))
        book.memory.failures[run_id] = FailedRun(at=run.at, owed=None)
        book.save()
