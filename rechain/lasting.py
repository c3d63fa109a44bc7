"""How long something lasted, in the two units that a person would name."""

from __future__ import annotations

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def lasting(seconds: float) -> str:
    """A duration in words: `3 d 4 h`, `12 min`, `7 s`, `0.4 s`."""
    whole = round(seconds)
    if whole < 1:
        return f"{max(seconds, 0):.1f} s"
    parts: list[str] = []
    for unit, size in _UNITS:
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(filter(None, parts[:2]))
