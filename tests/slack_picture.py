"""A message as Slack lays it out, near enough to show people: headers, sections, contexts and buttons in HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

_STYLE = """
body { margin: 0; background: #fff; color: #1d1c1d;
  font: 15px/1.46 Lato, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif }
main { width: 640px; padding: 20px }
.who { font-weight: 900 } .who span { font-weight: 400; font-size: 12px; color: #616061; margin-left: 8px }
h1 { font-size: 18px; margin: 8px 0 } p { margin: 8px 0; white-space: pre-wrap; overflow-wrap: anywhere }
.context { font-size: 12px; color: #616061 }
code { font-size: 12px; color: #c01343; background: #f6f6f6; border: 1px solid #ddd;
  border-radius: 3px; padding: 1px 3px }
pre { font-size: 12px; background: #f8f8f8; border: 1px solid #ddd;
  border-radius: 4px; padding: 8px; white-space: pre-wrap }
button { font: 700 15px Arial, "DejaVu Sans", sans-serif; padding: 8px 14px; margin-right: 8px;
  border: 1px solid #bbb; border-radius: 4px; background: #fff }
"""


def slack_page(message: Mapping[str, Any]) -> str:
    """A page that shows one message of the Web API (`blocks` of `chat.postMessage`)."""
    shown = "".join(map(_block, message["blocks"]))
    who = '<div class="who">rechain<span>APP</span></div>'
    return f'<!doctype html><meta charset="utf-8"><style>{_STYLE}</style><main>{who}{shown}</main>'


def _block(block: Mapping[str, Any]) -> str:
    match block["type"]:
        case "header":
            words = re.sub(r"^\W+", "", block["text"]["text"])  # few machines without a screen have fonts with emoji
            return f"<h1>{html.escape(words)}</h1>"
        case "section":
            return f"<p>{_marked(block['text']['text'])}</p>"
        case "context":
            return f'<p class="context">{" ".join(_marked(one["text"]) for one in block["elements"])}</p>'
        case "actions":
            return "".join(f"<button>{html.escape(one['text']['text'])}</button>" for one in block["elements"])
        case other:
            raise ValueError(f"a block of type {other} is not known here")


def _marked(text: str) -> str:
    """Slack's mrkdwn, which comes escaped (`&amp;`, `&lt;`, `&gt;`)."""
    for pattern, shown in (
        (r"```\n?(.+?)```", r"<pre>\1</pre>"),
        (r"`([^`\n]+)`", r"<code>\1</code>"),
        (r"(?<![\w*])\*([^*\n]+)\*(?![\w*])", r"<b>\1</b>"),
        (r"<https?://[^|>]+\|([^>]+)>", r"<a>\1</a>"),
    ):
        text = re.sub(pattern, shown, text, flags=re.DOTALL)
    return text
