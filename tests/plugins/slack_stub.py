"""A stand-in for Slack's Web API on this machine: it counts calls, and refuses what Slack would refuse."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tasks.notify.settings import SlackSettings

TOKEN = "xoxb-needle-1234567890"
CHANNEL, CHANNEL_ID = "#dba", "C0123456789"
WEBHOOK_SECRET = "needle1234567890"
WEBHOOK_PATH = f"/services/T000/B000/{WEBHOOK_SECRET}"
_LIMITS = {"header": 150, "section": 3000}


@dataclass(frozen=True)
class Call:
    """A request that arrived.

    Attributes:
        method: `chat.postMessage` and the like, or `webhook`.
        body: Its JSON.
        at: When, seconds of the monotonic clock.
        answer: Slack's `ok`, or its word for the error, or the HTTP status.
    """

    method: str
    body: dict[str, Any]
    at: float
    answer: str


@dataclass
class Slack:
    """The stub.

    Attributes:
        port: Where it listens on 127.0.0.1.
        calls: What arrived, in order.
        messages: What is in the channel, by `ts`; edits replace it.
        script: Answers for the next requests in place of the right one: `429`, `500`, `hang`, `cut`, or an error.
        always: The same for every request.
        retry_after: What a 429 asks for.
        delay_s: How long it takes to answer.
    """

    port: int
    calls: list[Call] = field(default_factory=list)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    script: list[str] = field(default_factory=list)
    always: str | None = None
    retry_after: str = "1"
    delay_s: float = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def base_url(self) -> str:
        """Where the Web API is."""
        return f"http://127.0.0.1:{self.port}/api/"

    @property
    def webhook(self) -> str:
        """The incoming webhook's address."""
        return f"http://127.0.0.1:{self.port}{WEBHOOK_PATH}"

    def took(self, method: str) -> list[dict[str, Any]]:
        """The bodies of the calls of a method that were answered with ok."""
        return [call.body for call in self.calls if call.method == method and call.answer == "ok"]

    @property
    def posts(self) -> list[dict[str, Any]]:
        """Messages that were posted outside of threads."""
        return [body for body in self.took("chat.postMessage") if "thread_ts" not in body]

    @property
    def replies(self) -> list[dict[str, Any]]:
        """Messages that were posted in threads."""
        return [body for body in self.took("chat.postMessage") if "thread_ts" in body]

    @property
    def edits(self) -> list[dict[str, Any]]:
        """Messages that were edited."""
        return self.took("chat.update")

    def answer(self, method: str, headers: Any, body: dict[str, Any]) -> dict[str, Any]:
        """What Slack would answer."""
        if headers["Authorization"] != f"Bearer {TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        methods = {"chat.postMessage": self._post, "chat.update": self._update, "chat.getPermalink": self._link}
        return methods[method](body) if method in methods else {"ok": False, "error": "unknown_method"}

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("channel") not in (CHANNEL, CHANNEL_ID):
            return {"ok": False, "error": "channel_not_found"}
        wrong = wrong_with(body)
        if wrong:
            return {"ok": False, "error": "invalid_blocks", "response_metadata": {"messages": [wrong]}}
        if "thread_ts" in body and body["thread_ts"] not in self.messages:
            return {"ok": False, "error": "thread_not_found"}
        ts = f"{1700000000 + len(self.calls)}.{len(self.messages):06}"
        self.messages[ts] = body
        return {"ok": True, "channel": CHANNEL_ID, "ts": ts, "message": {}}

    def _update(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("channel") != CHANNEL_ID:
            return {"ok": False, "error": "channel_not_found"}
        if body.get("ts") not in self.messages:
            return {"ok": False, "error": "message_not_found"}
        wrong = wrong_with(body)
        if wrong:
            return {"ok": False, "error": "invalid_blocks", "response_metadata": {"messages": [wrong]}}
        self.messages[body["ts"]] = body
        return {"ok": True, "channel": CHANNEL_ID, "ts": body["ts"], "text": body["text"]}

    def _link(self, body: dict[str, Any]) -> dict[str, Any]:
        ts = body.get("message_ts", "")
        if ts not in self.messages:
            return {"ok": False, "error": "message_not_found"}
        link = f"https://example.slack.com/archives/{CHANNEL_ID}/p{ts.replace('.', '')}"
        return {"ok": True, "channel": CHANNEL_ID, "permalink": link}


def wrong_with(body: dict[str, Any]) -> str | None:
    """What Slack would refuse about a message; lengths as Slack's own interface counts them, in UTF-16 units."""
    blocks = body.get("blocks", [])
    if not body.get("text") or _length(body["text"]) > 40_000:
        return "text: missing or too long"
    if not 0 < len(blocks) <= 50:
        return "blocks: none or too many"
    return next((wrong for block in blocks if (wrong := _wrong_block(block))), None)


def _wrong_block(block: dict[str, Any]) -> str | None:
    kind = block["type"]
    if kind in _LIMITS:
        text = block["text"]
        good = (kind != "header" or text["type"] == "plain_text") and 0 < _length(text["text"]) <= _LIMITS[kind]
        return None if good else f"{kind}: text"
    if kind == "context":
        elements = block["elements"]
        good = 0 < len(elements) <= 10 and all(0 < _length(one["text"]) <= 3000 for one in elements)
        return None if good else "context"
    if kind == "actions":
        elements = block["elements"]
        return next(filter(None, map(_wrong_button, elements)), None) if 0 < len(elements) <= 25 else "actions"
    return f"unknown block {kind}"


def _wrong_button(button: dict[str, Any]) -> str | None:
    good = button["type"] == "button" and button["text"]["type"] == "plain_text"
    good = good and 0 < _length(button["text"]["text"]) <= 75 and 0 < len(button["action_id"]) <= 255
    address = button["url"]
    good = good and len(address) <= 3000 and address.startswith(("http://", "https://")) and " " not in address
    return None if good else f"button: {button}"


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


class _Handler(BaseHTTPRequestHandler):
    slack: Slack

    def do_POST(self) -> None:  # the standard library's name
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        method = "webhook" if self.path == WEBHOOK_PATH else self.path.removeprefix("/api/")
        body = json.loads(raw) if raw.startswith(b"{") else dict(parse_qsl(raw.decode()))
        with self.slack.lock:
            planned = self.slack.script.pop(0) if self.slack.script else self.slack.always
            status, answer = self._answer(method, body, planned)
            word = "ok" if answer == "ok" or _is_ok(answer) else planned or _word(answer)
            self.slack.calls.append(Call(method, body, time.monotonic(), word))
        time.sleep(3 if planned == "hang" else self.slack.delay_s)
        if planned in ("cut", "hang"):
            self.close_connection = True
            return
        self._send(status, answer)

    def _answer(self, method: str, body: dict[str, Any], planned: str | None) -> tuple[int, Any]:
        if planned in ("cut", "hang"):
            return 0, planned
        if planned and planned.isdigit():
            return int(planned), {"ok": False, "error": "ratelimited" if planned == "429" else "internal_error"}
        if planned and method == "webhook":
            return 403, planned
        if planned:
            return 200, {"ok": False, "error": planned}
        if method == "webhook":
            return (400, "invalid_blocks") if wrong_with(body) else (200, "ok")
        return 200, self.slack.answer(method, self.headers, body)

    def _send(self, status: int, answer: Any) -> None:
        content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", self.slack.retry_after)
        self.send_header("Content-Type", "application/json" if not isinstance(answer, str) else "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _is_ok(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.get("ok") is True


def _word(answer: Any) -> str:
    return str(answer.get("error")) if isinstance(answer, dict) else str(answer)


@pytest.fixture
def slack() -> Iterator[Slack]:
    """A Slack of the test's own."""
    stub = Slack(0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"slack": stub}))
    server.daemon_threads = True
    stub.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def with_token(slack: Slack, tmp_path: Path) -> SlackSettings:
    """Settings with a bot's token."""
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return SlackSettings(CHANNEL, file, None, slack.base_url, timeout_s=2, patience_s=20)


@pytest.fixture
def with_webhook(slack: Slack, tmp_path: Path) -> SlackSettings:
    """Settings with an incoming webhook."""
    file = tmp_path / "webhook"
    file.write_text(slack.webhook + "\n")
    return SlackSettings(None, None, file, None, timeout_s=2, patience_s=20)


def told_in(slack: Slack, root: Path, tmp_path: Path) -> dict[str, str]:
    """Let a repository's rechain.yml say where the stub is; the variables that name the token's file."""
    settings = root / "rechain.yml"
    text = settings.read_text("utf-8") if settings.exists() else ""
    settings.write_text(f"{text}slack: {{channel: '{CHANNEL}', base_url: '{slack.base_url}'}}\n", "utf-8")
    token = tmp_path / "slack-token"
    token.write_text(TOKEN + "\n", "utf-8")
    return {"RECHAIN_SLACK_TOKEN_FILE": str(token)}


def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
