"""How long Slack is waited for: its rate limits are obeyed and passing errors tried again, within one limit for all."""

from __future__ import annotations

import time

from slack_sdk.http_retry.builtin_handlers import (
    ConnectionErrorRetryHandler,
    RateLimitErrorRetryHandler,
    ServerErrorRetryHandler,
)
from slack_sdk.http_retry.handler import RetryHandler
from slack_sdk.http_retry.request import HttpRequest
from slack_sdk.http_retry.response import HttpResponse
from slack_sdk.http_retry.state import RetryState

_TRIES = 3
_RATE_LIMIT_TRIES = 10
_BACKOFF_S = 4.0
_SERVER_ERROR = 500


class Patience:
    """The time that is left for waiting, shared by all messages of a scan.

    Args:
        total_s: How long to wait altogether.
    """

    def __init__(self, total_s: float) -> None:
        self._left_s = total_s

    def handlers(self) -> list[RetryHandler]:
        """What slack-sdk asks whether to try again; a read that timed out is not: it may have been posted."""
        return [
            _RateLimit(self, _RATE_LIMIT_TRIES),
            _ConnectionError(self, _TRIES),
            _ServerError(self, _TRIES),
        ]

    def allows(self, wait_s: float) -> bool:
        """Whether there is that much time left."""
        return wait_s <= self._left_s

    def spend(self, wait_s: float) -> None:
        """Note that so much time was spent."""
        self._left_s -= wait_s


class _Bounded(RetryHandler):
    """Counts the time that a handler of slack-sdk sleeps."""

    def __init__(self, patience: Patience, tries: int) -> None:
        super().__init__(tries)
        self._patience = patience

    def prepare_for_next_attempt(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> None:
        begun = time.monotonic()
        super().prepare_for_next_attempt(state=state, request=request, response=response, error=error)
        self._patience.spend(time.monotonic() - begun)


class _RateLimit(_Bounded, RateLimitErrorRetryHandler):
    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        asked = super()._can_retry(state=state, request=request, response=response, error=error)
        return asked and self._patience.allows(_retry_after_s(response))


class _ConnectionError(_Bounded, ConnectionErrorRetryHandler):
    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        passing = super()._can_retry(state=state, request=request, response=response, error=error)
        return passing and self._patience.allows(_BACKOFF_S)


class _ServerError(_Bounded, ServerErrorRetryHandler):
    """All of 5xx: a proxy between answers 502 and 504, which slack-sdk's own handler takes as final."""

    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        return response is not None and response.status_code >= _SERVER_ERROR and self._patience.allows(_BACKOFF_S)


def _retry_after_s(response: HttpResponse | None) -> float:
    """How long slack-sdk will sleep at most; for ever when Slack says it in words that slack-sdk can't read."""
    for name, values in (response.headers if response else {}).items():
        if name.lower() == "retry-after":
            return float(values[0]) + 1 if values[0].isdigit() else float("inf")
    return 2.0
