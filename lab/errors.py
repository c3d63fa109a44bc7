"""The lab's own error."""

from __future__ import annotations

from rechain.errors import RechainError


class LabError(RechainError):
    """The lab's fleet could not be built, started or ended."""
