"""Dates that a certificate must keep before anybody moves onto it."""

from __future__ import annotations

from datetime import datetime, timedelta

from rechain.certificate import Certificate

MARGIN = timedelta(days=7)
"""Nobody moves onto a certificate that ends within this time: too short to find out who still needs another one."""


def unusable(certificate: Certificate, now: datetime) -> str | None:
    """Why nobody may move onto a certificate at an instant, or None.

    Args:
        certificate: A leaf or a CA above it.
        now: Aware UTC instant.
    """
    if now > certificate.not_after:
        return f"expired on {certificate.not_after:%Y-%m-%d %H:%M} UTC"
    if now < certificate.not_before:
        return f"is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC"
    if certificate.not_after <= now + MARGIN:
        return f"ends on {certificate.not_after:%Y-%m-%d %H:%M} UTC, within {MARGIN.days} days"
    return None
