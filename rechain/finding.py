"""Lint policies and what they find, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a finding means: logins fail, or may one day; a note is worth knowing and alarms nobody."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule.

    Attributes:
        name: What it is called.
        severity: What its findings mean.
        reason: Why the rule exists.
        fix: What to do about a finding.
    """

    name: str
    severity: Severity
    reason: str
    fix: str

    def found(self, where: str, what: str, fix: str | None = None, *, certificate: str | None = None) -> Finding:
        """A finding of this rule."""
        return Finding(where, self.severity, what, fix or self.fix, self.name, certificate)


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that something breaks.

    Attributes:
        where: File, and what in it.
        severity: What it means.
        what: What was found.
        fix: What to do.
        policy: Name of the rule.
        certificate: Fingerprint of the certificate that it is about; None when it is about something else.
    """

    where: str
    severity: Severity
    what: str
    fix: str
    policy: str
    certificate: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what} ({self.fix})"
