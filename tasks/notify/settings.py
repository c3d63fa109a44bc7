"""Where to tell people, and which file says as whom. A token or a webhook itself is read when it is used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rechain.errors import InputError
from tasks.repository.settings import read_settings

TOKEN_VARIABLE = "RECHAIN_SLACK_TOKEN_FILE"  # noqa: S105  # a variable's name
WEBHOOK_VARIABLE = "RECHAIN_SLACK_WEBHOOK_FILE"


@dataclass(frozen=True, slots=True)
class SlackSettings:
    """How Slack is reached. It holds no secret, so it may be shown.

    Attributes:
        channel: Where to post with a token: `#name` or an id.
        token_file: File with a bot token; None without one.
        webhook_file: File with the address of an incoming webhook, which is used when there is no token.
        base_url: Address of Slack's Web API; None for Slack's own.
        timeout_s: Time limit of a request.
        patience_s: How long a scan waits for Slack altogether: for rate limits, and between tries.
    """

    channel: str | None
    token_file: Path | None
    webhook_file: Path | None
    base_url: str | None = None
    timeout_s: int = 10
    patience_s: float = 120.0


def slack_settings(root: Path) -> SlackSettings | None:
    """What rechain.yml and the environment say about Slack; None when nobody is to be told.

    Raises:
        InputError: rechain.yml is wrong, or a token has no channel to post to.
    """
    token_file, webhook_file = (_file(variable) for variable in (TOKEN_VARIABLE, WEBHOOK_VARIABLE))
    if token_file is None and webhook_file is None:
        return None
    slack = read_settings(root).slack
    if token_file and not slack.channel:
        raise InputError(
            str(root / "rechain.yml"), f"{TOKEN_VARIABLE} is set, slack.channel is not", "name the channel to post to"
        )
    return SlackSettings(slack.channel, token_file, webhook_file, slack.base_url)


def read_secret(path: Path) -> str:
    """Read a token or a webhook's address; what the file holds is in no message.

    Raises:
        InputError: It can't be read, or holds something else than one word.
    """
    fix = "put the token or the webhook's address into it, and nothing else"
    try:
        words = path.read_text("ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), f"can't be read: {type(error).__name__}", fix) from None
    if len(words) != 1 or not words[0].isprintable():
        raise InputError(str(path), f"holds {len(words)} words, 1 was expected", fix)
    return words[0]


def _file(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None
