"""What the Prefect server writes to Slack by itself: templates that it fills in from the run, and nothing secret.

The text of an error is left out: only the run's own hook knows which errors are ours and hold no secret.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """A message of the server.

    Attributes:
        sign: Its sign.
        title: What happened, after the run's name.
        what: What that means.
        to_do: What to do.
    """

    sign: str
    title: str
    what: str
    to_do: str


_AGAIN = "then start a new run of the same deployment: it goes on where this one stopped"
LOST = Words(
    "🔴",
    "is lost",
    "It gave no sign of life for minutes: its process, its worker or the Prefect server was gone. It counts as ended. "
    "The fleet serves every client in each mix of two neighbouring phases.",
    f"See that a worker runs, look with rechain status, {_AGAIN}.",
)
UNTOLD = Words(
    "🔴",
    "failed",
    "Its worker could not tell why; the run's page says more. The fleet is at a resting point, or between two.",
    f"Read the run's page, look with rechain status, {_AGAIN}.",
)
ALIVE = Words(
    "🟢",
    "is alive after all",
    "It counted as lost, and gives signs of life again: nothing but news of it was missing. It goes on, and holds the "
    "claim of its environment.",
    "Wait until rechain status says where the fleet rests. Start no other run of the environment until then.",
)
LATE = Words(
    "🟠",
    "does not start",
    "It was due or answered a quarter of an hour ago, and no worker has taken it.",
    "See that a worker runs on the work pool, and that the pool is not paused.",
)
QUEUED = Words(
    "🟠",
    "waits for its turn",
    "Runs of the same deployment have taken all of its slots for four hours.",
    "Look at the runs that are in progress: one of them may hang. Cancel it, and this one begins.",
)
WAITING = Words(
    "✋",
    "still waits",
    "It has waited at a gate for a day. That is safe until a certificate ends; rechain status says when.",
    "Open the run, press Resume and decide; or rechain approve with a reason.",
)


def payload(words: Words, channel: str | None) -> str:
    """A Jinja template of the JSON that Slack takes; what comes from the run is quoted by `tojson`.

    Every text is plain text to Slack, so that nothing in a name becomes a link or a mention.
    """
    title = f"({_quoted(words.sign)} ~ ' ' ~ flow_run.name ~ {_quoted(' ' + words.title)})"
    where = "('Where: ' ~ flow_run.tags | sort | join(', '))"
    parts = (
        f'"text": {{{{ {title} | tojson }}}}',
        f'"blocks": [{_header(title)}, {_section(_quoted(words.what))}, {_section(where)}, '
        f"{_section(_quoted('Next: ' + words.to_do))}, {_button()}]",
    )
    to = [f'"channel": {json.dumps(channel)}'] if channel else []
    return "{" + ", ".join([*to, *parts]) + "}"


def _header(expression: str) -> str:
    return f'{{"type": "header", "text": {_plain(expression + " | truncate(140, true)")}}}'


def _section(expression: str) -> str:
    return f'{{"type": "section", "text": {_plain(expression)}}}'


def _plain(expression: str) -> str:
    return f'{{"type": "plain_text", "text": {{{{ ({expression}) | tojson }}}}}}'


def _button() -> str:
    text = '{"type": "plain_text", "text": "Flow run"}'
    button = f'{{"type": "button", "action_id": "open", "text": {text}, "url": {{{{ flow_run | ui_url | tojson }}}}}}'
    return f'{{"type": "actions", "elements": [{button}]}}'


def _quoted(text: str) -> str:
    """A Jinja string; ours have no quotes in them."""
    return f"'{text}'" if "'" not in text else f'"{text}"'
