"""The block with which the Prefect server reaches Slack: the token or the webhook, encrypted in Prefect's database."""

from __future__ import annotations

from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.types import SecretDict
from pydantic import SecretStr

from tasks.notify.settings import SlackSettings, read_secret

NAME = "rechain-slack"
_POST = "chat.postMessage"
_API = "https://slack.com/api/"


def save_block(settings: SlackSettings) -> UUID:
    """Save or replace the block. Side effect: one block document on the Prefect server.

    Raises:
        InputError: The token's or webhook's file can't be used.
    """
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if settings.token_file:
        url = (settings.base_url or _API) + _POST
        headers["Authorization"] = f"Bearer {read_secret(settings.token_file)}"
    elif settings.webhook_file:
        url = read_secret(settings.webhook_file)
    block = Webhook(method="POST", url=SecretStr(url), headers=SecretDict(headers))
    return UUID(str(block.save(NAME, overwrite=True, _sync=True)))  # type: ignore[call-arg]  # async_dispatch takes it
