"""The block with which the Prefect server reaches Slack: the token or the webhook, encrypted in Prefect's database."""

from __future__ import annotations

import asyncio
import json
import re
from http import HTTPStatus
from uuid import UUID

from httpx import HTTPError, Response
from prefect.blocks.webhook import Webhook
from prefect.types import SecretDict
from pydantic import SecretStr

from rechain.errors import InputError
from tasks.notify.settings import SlackSettings, read_secret

NAME = "rechain-slack"
_POST = "chat.postMessage"
_API = "https://slack.com/api/"
_TRIAL = "rechain: from now on the Prefect server tells here of runs that are lost, late, or wait for somebody"
_CHECK = "check the channel, the token and its scopes, and that the app was invited to the channel; then run this again"
_WORD = re.compile(r"[^a-z_]")
_LONGEST_WORD = 40


def save_block(settings: SlackSettings) -> UUID:
    """Save or replace the block, once Slack has taken a message from it.

    The server never looks at Slack's answer when it posts, so a wrong channel would show when it is too late.

    Side effect: one message in Slack, one block document on the Prefect server.

    Raises:
        InputError: The token's or webhook's file can't be used, or Slack refuses.
    """
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if settings.token_file:
        url = (settings.base_url or _API) + _POST
        headers["Authorization"] = f"Bearer {read_secret(settings.token_file)}"
    elif settings.webhook_file:
        url = read_secret(settings.webhook_file)
    block = Webhook(method="POST", url=SecretStr(url), headers=SecretDict(headers))
    _try(block, settings.channel if settings.token_file else None)
    return UUID(str(block.save(NAME, overwrite=True, _sync=True)))  # type: ignore[call-arg]  # async_dispatch takes it


def _try(block: Webhook, channel: str | None) -> None:
    shown = {"type": "section", "text": {"type": "plain_text", "text": _TRIAL}}
    message = {"text": _TRIAL, "blocks": [shown], **({"channel": channel} if channel else {})}
    reason: str | None
    try:
        reason = _refusal(asyncio.run(block.call(message)))
    except (HTTPError, OSError) as error:  # its text may hold the webhook's address, which is a secret
        reason = type(error).__name__
    if reason:
        raise InputError("Slack", f"did not take a trial message: {reason}", _CHECK)


def _refusal(answer: Response) -> str | None:
    """Slack's word for why it refused; None when it did not."""
    if answer.status_code != HTTPStatus.OK:
        return _WORD.sub("", answer.text)[:_LONGEST_WORD] or f"status {answer.status_code}"
    try:
        told = answer.json()
    except json.JSONDecodeError:
        return None  # a webhook answers `ok`
    return None if told.get("ok") else str(told.get("error", "no reason was given"))
