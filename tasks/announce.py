"""Tell people in Slack of an outage that is about to be caused on purpose, and of its end."""

from __future__ import annotations

from dataclasses import replace

from rechain.errors import RechainError
from rechain.slack_message import outage_begins, outage_ended
from rechain.slack_text import Message
from tasks.notify.settings import slack_settings
from tasks.notify.slack import connect
from tasks.state import EnvironmentRef, now
from tasks.step import progress, step

_PATIENCE_S = 15.0
"""How long an outage waits for Slack to hear of it."""


@step("announce")
def announce(ref: EnvironmentRef) -> None:
    """Say that every login of an environment fails from now on. Side effect: Slack. Never raises; safe to repeat."""
    _tell(ref, outage_begins(ref.environment, now=now()))


@step("announce-end")
def announce_end(ref: EnvironmentRef, seconds: float | None) -> None:
    """Say that it is over. Side effect: Slack. Never raises; safe to repeat.

    Args:
        ref: Which environment.
        seconds: How long logins of managed clients failed; None when none did, or nobody watched.
    """
    _tell(ref, outage_ended(ref.environment, seconds, now=now()))


def _tell(ref: EnvironmentRef, message: Message) -> None:
    try:
        settings = slack_settings(ref.root)
        if settings is not None:
            connect(replace(settings, patience_s=_PATIENCE_S)).post(message)
    except Exception as error:  # a notification never fails what it is about
        reason = str(error) if isinstance(error, RechainError) else type(error).__name__
        progress.warning("%s could not be announced in Slack: %s", ref.environment, reason)
