"""What people read in Slack of a run that waits for them."""

from __future__ import annotations

from datetime import UTC, datetime

from rechain.gate_text import Evidence
from rechain.slack_text import Message, buttons, context, fallback, header, listing, section

_SHOWN = 10


def waiting_message(evidence: Evidence, *, flow: str, run_url: str | None, now: datetime) -> Message:
    """A run that waits at a gate: what for, what was seen, until when that is safe, and a button to its page.

    Args:
        evidence: What the person who decides has to know.
        flow: Name of the flow.
        run_url: The run's page, where its form is opened with Resume; None without a UI.
        now: Aware UTC instant.
    """
    title = f"{evidence.environment} waits for you before {evidence.towards}"
    rows = [f"{one.gate}: {one.reason}" for one in evidence.waiting]
    blocks = (
        header(f"✋ {title}"),
        section(
            ("Rests at:", f"{evidence.resting}, a safe resting point"),
            ("Next:", f"{evidence.towards}: {evidence.purpose}"),
            ("Canary:", evidence.watched),
            ("Safe:", evidence.patience),
        ),
        listing(rows, _SHOWN),
        section(("To do:", "open the run, press Resume and decide; or `rechain approve` with a reason")),
        *buttons(("Decide…", run_url)),
        context(flow, f"waits since {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC"),
    )
    return Message(fallback(title, "; ".join(rows), f"safe {evidence.patience}"), blocks)
