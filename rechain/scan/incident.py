"""Incidents: what a person is told, one for each environment and cause."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rechain.finding import Severity


@dataclass(frozen=True, slots=True)
class Incident:
    """One cause of trouble in one environment, however many certificates, files and endpoints it shows in.

    Attributes:
        environment: Where.
        cause: What it is about, stable from scan to scan and when it gets worse; a key, not for people.
        severity: How bad it is.
        title: What is wrong, in a few words.
        breaks: What fails, or "" when nothing does.
        when: When that is, aware UTC; None when it is now, or never.
        rows: Where it shows, one line each, the most urgent first.
        fix: What to do.
    """

    environment: str
    cause: str
    severity: Severity
    title: str
    breaks: str
    when: datetime | None
    rows: tuple[str, ...]
    fix: str
