"""The end of a revocation: who is refused now, that nobody else is, and what lives on."""

from __future__ import annotations

from dataclasses import dataclass

from rechain.report import CanaryReport
from rechain.revocation import Revoked


@dataclass(frozen=True, slots=True)
class RevocationReport:
    """What `rechain revoke` prints.

    Attributes:
        environment: The fleet.
        revoked: The certificates that are revoked.
        refused: Logins with them that servers refused, one for each endpoint and certificate.
        not_tested: Certificates of them whose key is not ours, so that nobody could try them: their serials, as hex.
        logged_in: Logins of all others that were tried and passed.
        canary: What the canary saw of the others meanwhile.
        sessions: Sessions that were opened with them before and live on, for a person.
    """

    environment: str
    revoked: tuple[Revoked, ...]
    refused: int
    not_tested: tuple[str, ...]
    logged_in: int
    canary: CanaryReport
    sessions: tuple[str, ...]


def as_json(report: RevocationReport) -> dict[str, object]:
    """The report as the JSON contract, schema 1."""
    return {
        "schema": 1,
        "environment": report.environment,
        "revoked": [
            {
                "client": one.client,
                "generation": one.generation,
                "serial": f"{one.serial:x}",
                "reason": one.reason,
                "who": one.who,
                "when": one.when.isoformat(),
            }
            for one in report.revoked
        ],
        "refused": report.refused,
        "not_tested": list(report.not_tested),
        "logged_in": report.logged_in,
        "canary": {"attempted": report.canary.attempted, "failed": report.canary.failed},
        "sessions": list(report.sessions),
    }
