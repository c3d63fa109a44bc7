"""Tell people in Slack that a run waits for them: once for each question."""

from __future__ import annotations

from dataclasses import replace

from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from rechain.errors import RechainError
from rechain.gate_text import Evidence
from rechain.slack_waiting import waiting_message
from tasks.notify.settings import slack_settings
from tasks.notify.slack import connect
from tasks.notify.state import opened, told_directory
from tasks.state import EnvironmentRef, now
from tasks.step import progress

_PATIENCE_S = 60.0
"""How long a run that is about to suspend waits for Slack to hear of it."""


def tell_waiting(ref: EnvironmentRef, shown: Evidence, key: str) -> None:
    """Say that a run waits, with a button to its page. Side effect: Slack, and the memory of it on this worker.

    Never raises; safe to repeat. What does not reach Slack now is told by the reminder that the Prefect server sends.
    """
    question = f"{flow_run.id} {key}"
    try:
        settings = slack_settings(ref.root)
        if settings is None:
            return
        with opened(told_directory(ref.root), now()) as book:
            if book.has_asked(question):
                return
            message = waiting_message(
                shown, flow=str(flow_run.flow_name), run_url=url_for("flow-run", flow_run.id), now=now()
            )
            connect(replace(settings, patience_s=_PATIENCE_S)).post(message)
            book.remember_question(question, now())
    except Exception as error:  # a notification never fails what it is about
        reason = str(error) if isinstance(error, RechainError) else type(error).__name__
        progress.warning("Slack was not told that %s waits: %s", ref.environment, reason)
