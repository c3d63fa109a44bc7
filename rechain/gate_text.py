"""What a person at a gate has to know: where the fleet rests, who is waited for, what was seen, what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from rechain.gate import Waiting
from rechain.phase import Phase


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is put before the person who decides.

    Attributes:
        environment: The fleet.
        resting: Where it rests, safely.
        towards: The phase that it would move to.
        purpose: What that phase is for.
        waiting: What the gate waits for.
        attempted: Canary logins since the fleet came to rest.
        failed: How many of them failed.
        since: When it came to rest, aware UTC; None when that is not known.
        ends: What ends first of all that is deployed; None without certificates.
        outage: The date on which waiting becomes an outage: that end.
    """

    environment: str
    resting: Phase
    towards: Phase
    purpose: str
    waiting: tuple[Waiting, ...]
    attempted: int
    failed: int
    since: datetime | None
    ends: str | None
    outage: date | None

    @property
    def watched(self) -> str:
        """What the canary saw at the resting point."""
        since = f" since {self.since:%Y-%m-%d %H:%M} UTC" if self.since else ""
        return f"{self.attempted} logins{since}, {self.failed or 'none'} failed"

    @property
    def patience(self) -> str:
        """Until when waiting is safe."""
        if self.outage is None:
            return "nothing that is deployed has an end"
        return f"until {self.outage:%Y-%m-%d}, when {self.ends} ends and logins begin to fail"


def as_markdown(evidence: Evidence) -> str:
    """The text above the form of a waiting run."""
    missing = "\n".join(f"- **{one.gate}**: {one.reason}" for one in evidence.waiting)
    return (
        f"**{evidence.environment} rests at `{evidence.resting}`, a safe resting point.** "
        f"Next: `{evidence.towards}`, {evidence.purpose}.\n\n"
        f"It waits for:\n\n{missing}\n\n"
        f"Canary: {evidence.watched}.\n\n"
        f"Waiting is safe {evidence.patience}."
    )
