"""Slack through slack-sdk: post, edit, reply; tried again as Slack asks, within a limit; errors that hold no secret."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Protocol
from urllib.error import HTTPError, URLError

from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.client import WebClient
from slack_sdk.webhook.client import WebhookClient

from rechain.address import is_loopback, keeps_secrets
from rechain.errors import InputError, RechainError
from rechain.slack_text import Message
from tasks.notify.direct import DirectWebClient, DirectWebhookClient
from tasks.notify.patience import Patience
from tasks.notify.settings import TOKEN_VARIABLE, WEBHOOK_VARIABLE, SlackSettings, read_secret

_API = "https://slack.com/api/"
_CHECK = "check the channel, the token and its scopes, and that the app was invited to the channel"
_LATER = "nothing to do: the next scan tries again"
_WORD = re.compile(r"[a-z_]{1,40}")
_PASSING = frozenset({"ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"})
_GONE = frozenset(
    {
        "message_not_found",
        "channel_not_found",
        "cant_update_message",
        "edit_window_closed",
        "is_archived",
        "is_inactive",
    }
)
_QUIET = logging.Logger("slack-sdk", logging.CRITICAL + 1)
"""slack-sdk logs a webhook's address, which is a secret, wherever the root logger is at DEBUG: it gets a logger."""


class SlackError(RechainError):
    """A message did not reach Slack."""


class SlackUnavailable(SlackError):
    """Slack can't be reached, or asks for more time than there is; the next scan tries again."""


class SlackRefused(SlackError):
    """Slack understood and refused.

    Args:
        code: Slack's word for the reason.
    """

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__("Slack", f"refused: {code}", _CHECK)


class MessageGone(SlackRefused):
    """The message to edit is not there any more, or is somebody else's."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A message in Slack.

    Attributes:
        channel: Its channel's id; "" for one that a webhook posted.
        ts: Its id there; None when it can't be edited.
    """

    channel: str
    ts: str | None


class Slack(Protocol):
    """What both ways into Slack can do; only a token can edit."""

    can_edit: bool

    def post(self, message: Message, *, thread: Posted | None = None) -> Posted:
        """Post a message, or a reply in a thread."""

    def update(self, posted: Posted, message: Message) -> None:
        """Replace a message."""

    def address(self, posted: Posted) -> str | None:
        """A link to a message; None when there is none to be had."""


def connect(settings: SlackSettings) -> Slack:
    """Prepare to talk to Slack; nothing is sent yet.

    Raises:
        InputError: The token's or webhook's file can't be used.
    """
    patience = Patience(settings.patience_s)
    if settings.token_file:
        return _WebApi(settings, read_secret(settings.token_file), patience)
    if settings.webhook_file:
        return _Webhook(settings, read_secret(settings.webhook_file), patience)
    raise InputError(
        "Slack", "neither a token nor a webhook is configured", f"set {TOKEN_VARIABLE} or {WEBHOOK_VARIABLE}"
    )


class _Way:
    """What both ways have in common: once nobody answers, or patience is at an end, no message waits for it again."""

    def __init__(self) -> None:
        self._is_down = False

    @contextmanager
    def _request(self) -> Iterator[None]:
        """Say what went wrong without the request: its headers hold the token, a webhook's address is one."""
        if self._is_down:
            raise SlackUnavailable("Slack", "can't be reached: it was not a moment ago", _LATER)
        try:
            yield
        except SlackApiError as error:
            code = error.response.get("error") if isinstance(error.response.data, dict) else None
            raise self._told(error.response.status_code, code) from None
        except (SlackClientError, HTTPException, OSError, ValueError, LookupError) as error:
            self._is_down = True
            raise SlackUnavailable("Slack", f"can't be reached: {_reason(error)}", _LATER) from None

    def _told(self, status: int, code: object) -> SlackError:
        """Slack's own word, which is all that is repeated of an answer: something between may have written the rest."""
        word = code if isinstance(code, str) and _WORD.fullmatch(code) else f"HTTP status {status}"
        self._is_down = status == HTTPStatus.TOO_MANY_REQUESTS
        if self._is_down or status >= HTTPStatus.INTERNAL_SERVER_ERROR or code in _PASSING:
            return SlackUnavailable("Slack", f"can't take it now: {word}", _LATER)
        return MessageGone(word) if code in _GONE else SlackRefused(word)


class _WebApi(_Way):
    """A bot's token: chat.postMessage and chat.update."""

    can_edit = True

    def __init__(self, settings: SlackSettings, token: str, patience: Patience) -> None:
        super().__init__()
        self._channel = settings.channel or ""
        base_url = settings.base_url or _API
        kind = DirectWebClient if is_loopback(base_url) else WebClient
        self._client = kind(token, base_url, settings.timeout_s, logger=_QUIET, retry_handlers=patience.handlers())

    def post(self, message: Message, *, thread: Posted | None = None) -> Posted:
        with self._request():
            answer = self._client.chat_postMessage(
                channel=thread.channel if thread else self._channel,
                thread_ts=thread.ts if thread else None,
                text=message.text,
                blocks=_blocks(message),
                unfurl_links=False,
                unfurl_media=False,
            )
            return Posted(str(answer["channel"]), str(answer["ts"]))

    def update(self, posted: Posted, message: Message) -> None:
        with self._request():
            self._client.chat_update(
                channel=posted.channel,
                ts=posted.ts or "",
                text=message.text,
                blocks=_blocks(message),
                parse="none",
                link_names=False,
            )

    def address(self, posted: Posted) -> str | None:
        with suppress(SlackRefused), self._request():
            link = self._client.chat_getPermalink(channel=posted.channel, message_ts=posted.ts or "")["permalink"]
            return link if isinstance(link, str) else None
        return None


class _Webhook(_Way):
    """An incoming webhook: it posts to one channel, and that is all that it can."""

    can_edit = False

    def __init__(self, settings: SlackSettings, address: str, patience: Patience) -> None:
        super().__init__()
        if not keeps_secrets(address):
            raise InputError(str(settings.webhook_file), "holds no https address", "put the webhook's address into it")
        kind = DirectWebhookClient if is_loopback(address) else WebhookClient
        self._client = kind(address, settings.timeout_s, logger=_QUIET, retry_handlers=patience.handlers())

    def post(self, message: Message, *, thread: Posted | None = None) -> Posted:
        with self._request():
            answer = self._client.send(
                text=message.text, blocks=_blocks(message), unfurl_links=False, unfurl_media=False
            )
        if answer.status_code != HTTPStatus.OK:
            raise self._told(answer.status_code, answer.body.strip())
        return Posted("", None)

    def update(self, posted: Posted, message: Message) -> None:
        raise MessageGone("a webhook can't edit")

    def address(self, posted: Posted) -> str | None:
        return None


def _blocks(message: Message) -> list[dict[str, Any]]:
    return [dict(block) for block in message.blocks]


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
    detail = inner.strerror if isinstance(inner, OSError) and not isinstance(inner, HTTPError) else None
    return detail or type(inner).__name__
