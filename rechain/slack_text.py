"""Pieces of a Slack message that keep Slack's limits by construction, whatever certificates and hosts are called.

Lengths are counted in UTF-16 code units, the widest reading of Slack's "characters". Text for mrkdwn is escaped, so
that nothing in a certificate, an inventory or an error message can become a link, a mention or `@channel`.

References: Slack documentation, "Block Kit: blocks" and "Formatting text for app surfaces".
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

Block = Mapping[str, object]

HEADER_LIMIT = 150
SECTION_LIMIT = 3000
BUTTON_LIMIT = 75
URL_LIMIT = 3000
CONTEXT_LIMIT = 2000
FALLBACK_LIMIT = 3000
"""Far below the 40,000 at which Slack truncates: a notification shows one line of it."""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ASTRAL = 0x10000
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to Slack.

    Attributes:
        text: Fallback for notifications and screen readers, escaped mrkdwn; never empty.
        blocks: Block Kit.
    """

    text: str
    blocks: tuple[Block, ...]


def one_line(text: str) -> str:
    """Text without line breaks, control characters, and characters that turn the reading direction."""
    return " ".join("".join(map(_visible, text)).split())


def _visible(char: str) -> str:
    category = unicodedata.category(char)
    return "" if category in ("Cf", "Cs") else " " if category == "Cc" else char


def plain(text: str, limit: int) -> str:
    """One line for a plain_text object, cut to a limit."""
    return _within(one_line(text), limit, {})


def escaped(text: str, limit: int) -> str:
    """One line for mrkdwn: control characters of Slack's markup escaped, cut to a limit between two of them."""
    return _within(one_line(text), limit, _ENTITIES)


def _within(text: str, limit: int, entities: Mapping[str, str]) -> str:
    pieces = [entities.get(char, char) for char in text[: limit + 1]]
    if sum(map(_size, pieces)) <= limit:
        return "".join(pieces)
    kept: list[str] = []
    room = limit - len(_ELLIPSIS)
    for piece in pieces:
        room -= _size(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + _ELLIPSIS


def _size(text: str) -> int:
    return sum(2 if ord(char) >= _ASTRAL else 1 for char in text)


def header(text: str) -> Block:
    """A header block."""
    return {"type": "header", "text": _plain_text(text, HEADER_LIMIT)}


def section(*paragraphs: tuple[str, str]) -> Block:
    """A section of paragraphs, each a bold label and text that is escaped; empty ones are left out."""
    filled = [(label, text) for label, text in paragraphs if text]
    room = SECTION_LIMIT // max(len(filled), 1) - 1
    lines = (f"*{label}* {escaped(text, room - len(label) - 3)}" for label, text in filled)
    return {"type": "section", "text": _mrkdwn("\n".join(lines) or "-")}


def listing(rows: Sequence[str], shown: int) -> Block:
    """The first rows, one line each in fixed width, and how many more there are."""
    first = rows[:shown]
    room = (SECTION_LIMIT - 100) // max(len(first), 1) - 1
    lines = "\n".join(escaped(row.replace("`", "'"), room) or "-" for row in first)
    more = f"\nand {len(rows) - len(first)} more" if len(rows) > len(first) else ""
    return {"type": "section", "text": _mrkdwn(f"```\n{lines}\n```{more}")}


def lines(*texts: str) -> Block:
    """A section of texts, one line each."""
    room = SECTION_LIMIT // max(len(texts), 1) - 1
    return {"type": "section", "text": _mrkdwn("\n".join(escaped(text, room) or "-" for text in texts) or "-")}


def buttons(*named: tuple[str, str | None]) -> tuple[Block, ...]:
    """A row of buttons that open pages; those without a page are left out, and the row when none is left."""
    elements = [
        {"type": "button", "text": _plain_text(label, BUTTON_LIMIT), "url": url, "action_id": f"open-{number}"}
        for number, (label, url) in enumerate(named)
        if url is not None and _is_page(url)
    ]
    return ({"type": "actions", "elements": elements},) if elements else ()


def context(*parts: str) -> Block:
    """The small print."""
    text = escaped(" · ".join(filter(None, parts)), CONTEXT_LIMIT) or "rechain"
    return {"type": "context", "elements": [_mrkdwn(text)]}


def fallback(*parts: str) -> str:
    """The text beside the blocks."""
    return escaped(". ".join(filter(None, map(one_line, parts))), FALLBACK_LIMIT) or "rechain"


def content_digest(blocks: Iterable[Block]) -> str:
    """What tells two contents apart, from run to run; small print and buttons are no content."""
    content = [block for block in blocks if block["type"] not in ("context", "actions")]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _mrkdwn(text: str) -> Mapping[str, object]:
    """Text whose markup is ours: unless it is verbatim, Slack makes links of bare addresses, and mentions of names."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _plain_text(text: str, limit: int) -> Mapping[str, object]:
    return {"type": "plain_text", "text": plain(text, limit) or "-", "emoji": True}


def _is_page(url: str) -> bool:
    """Whether Slack takes it as a button's address: one refused button refuses the whole message."""
    if _size(url) > URL_LIMIT or not url.isascii() or not url.isprintable() or set(url) & set(' <>"|\\'):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
