"""slack-sdk's clients for an address on this machine: no proxy on the way, whatever the environment says.

slack-sdk and urllib both take HTTP_PROXY for loopback addresses too, and slack-sdk has no switch for that.
"""

from __future__ import annotations

from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from slack_sdk.web.client import WebClient
from slack_sdk.webhook.client import WebhookClient
from slack_sdk.webhook.webhook_response import WebhookResponse


class DirectWebClient(WebClient):
    """A WebClient that never asks a proxy."""

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        with build_opener(ProxyHandler({})).open(req, timeout=self.timeout) as answer:
            return {"status": answer.status, "headers": answer.headers, "body": answer.read().decode()}


class DirectWebhookClient(WebhookClient):
    """A WebhookClient that never asks a proxy."""

    def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:
        with build_opener(ProxyHandler({})).open(req, timeout=self.timeout) as answer:
            return WebhookResponse(
                url=url, status_code=answer.status, body=answer.read().decode(), headers=dict(answer.headers)
            )
