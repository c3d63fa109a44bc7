"""What a scan reports: every certificate once, what was found, what fails next, and how bad it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from rechain.certificate import Certificate
from rechain.finding import Finding, Severity
from rechain.scan.case import Case, Place
from rechain.scan.forecast import Forecast, forecast
from rechain.scan.rules import judge
from rechain.scan.seen import Blind, Source, Use


class Status(IntEnum):
    """How bad it is: the exit code of a monitoring plugin (Monitoring Plugins development guidelines)."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


# What is not seen is worse than nothing, and less than what is seen to be wrong.
_URGENCY = {Status.OK: 0, Status.UNKNOWN: 1, Status.WARNING: 2, Status.CRITICAL: 3}
_OF_SEVERITY = {Severity.NOTE: Status.OK, Severity.WARNING: Status.WARNING, Severity.ERROR: Status.CRITICAL}


@dataclass(frozen=True, slots=True)
class Row:
    """One certificate, wherever it was seen.

    Attributes:
        environment: Of which environment.
        certificate: The certificate.
        role: `root CA`, `intermediate CA`, `server leaf` or `client leaf`.
        places: Where it was seen; at least one.
        days_left: Whole days until it ends; negative when it has.
        status: The worst of its findings.
        findings: What was found about it, in its first place or any other.
    """

    environment: str
    certificate: Certificate
    role: str
    places: tuple[Place, ...]
    days_left: int
    status: Status
    findings: tuple[Finding, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources that saw it, each once."""
        return tuple(dict.fromkeys(place.source for place in self.places))


@dataclass(frozen=True, slots=True)
class Scanned:
    """One environment after a scan.

    Attributes:
        environment: Its name.
        at: When, aware UTC.
        status: The worst of everything.
        rows: Every certificate, the most urgent first.
        findings: What was found that is about no single certificate.
        unreachable: What was not seen.
        forecast: What fails next.
    """

    environment: str
    at: datetime
    status: Status
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    unreachable: tuple[Blind, ...]
    forecast: Forecast

    @property
    def every_finding(self) -> tuple[Finding, ...]:
        """All findings, those about certificates first."""
        return (*(finding for row in self.rows for finding in row.findings), *self.findings)


def worst(statuses: Iterable[Status]) -> Status:
    """The most urgent of some statuses; OK of none."""
    return max(statuses, key=_URGENCY.__getitem__, default=Status.OK)


def status_of(severity: Severity) -> Status:
    """What a finding makes of the whole."""
    return _OF_SEVERITY[severity]


def report(case: Case) -> Scanned:
    """Judge and foretell one environment."""
    found = tuple(judge(case))
    unreachable = (*case.seen.blind, *_not_answering(case))
    rows = tuple(sorted(_rows(case, found), key=_urgency))
    others = tuple(one for one in found if one.certificate not in case.every)
    statuses = [*(status_of(one.severity) for one in found), *([Status.UNKNOWN] if unreachable else [])]
    return Scanned(
        environment=case.seen.environment,
        at=case.now,
        status=worst(statuses),
        rows=rows,
        findings=others,
        unreachable=unreachable,
        forecast=forecast(case),
    )


def _not_answering(case: Case) -> list[Blind]:
    wire = [Blind(Source.WIRE, one.listener.location, one.problem) for one in case.seen.served if one.problem]
    hosts = [Blind(Source.HOSTS, one.host, one.problem) for one in case.seen.hosts if one.problem]
    return [*wire, *hosts]


def _rows(case: Case, found: Sequence[Finding]) -> Iterable[Row]:
    by_certificate: dict[str, list[Finding]] = {}
    for finding in found:
        if finding.certificate:
            by_certificate.setdefault(finding.certificate, []).append(finding)
    for fingerprint, certificate in case.every.items():
        findings, places = tuple(by_certificate.get(fingerprint, ())), case.places[fingerprint]
        yield Row(
            environment=case.seen.environment,
            certificate=certificate,
            role=_role(certificate, places),
            places=places,
            days_left=case.days_left(certificate.not_after),
            status=worst(status_of(one.severity) for one in findings),
            findings=findings,
        )


def _role(certificate: Certificate, places: Sequence[Place]) -> str:
    if certificate.is_ca:
        return "root CA" if certificate.is_self_issued else "intermediate CA"
    uses = [place.use for place in places]
    return Use.CLIENT_LEAF.value if Use.CLIENT_LEAF in uses else Use.SERVER_LEAF.value


def _urgency(row: Row) -> tuple[int, datetime, str]:
    return -_URGENCY[row.status], row.certificate.not_after, row.certificate.fingerprint


def as_json(scanned: Sequence[Scanned]) -> dict[str, object]:
    """`scan` as a contract for programs (`"schema": 1`). Times are ISO 8601 in UTC, serials hexadecimal."""
    return {
        "schema": 1,
        "status": worst(one.status for one in scanned).name,
        "environments": [one.environment for one in scanned],
        "certificates": [_row_json(row) for one in scanned for row in one.rows],
        "findings": [
            {"environment": one.environment, **_finding_json(finding)} for one in scanned for finding in one.findings
        ],
        "unreachable": [
            {
                "environment": one.environment,
                "source": spot.source.value,
                "location": spot.location,
                "problem": spot.problem,
            }
            for one in scanned
            for spot in one.unreachable
        ],
        "forecast": [_forecast_json(one) for one in scanned],
    }


def _row_json(row: Row) -> dict[str, object]:
    certificate, first = row.certificate, row.places[0]
    return {
        "environment": row.environment,
        "source": ",".join(row.sources),
        "location": first.location,
        "role": row.role,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": f"{certificate.serial:x}",
        "sha256": certificate.fingerprint,
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "days_left": row.days_left,
        "status": row.status.name,
        "findings": [_finding_json(finding) for finding in row.findings],
        "places": [
            {"source": place.source.value, "location": place.location, "use": place.use.value} for place in row.places
        ],
    }


def _finding_json(finding: Finding) -> dict[str, object]:
    return {
        "policy": finding.policy,
        "severity": finding.severity.value,
        "where": finding.where,
        "what": finding.what,
        "fix": finding.fix,
    }


def _forecast_json(scanned: Scanned) -> dict[str, object]:
    return {
        "environment": scanned.environment,
        "until": scanned.forecast.until.isoformat(),
        "sentence": scanned.forecast.sentence,
        "failures": [
            {
                "at": one.at.isoformat(),
                "cause": one.cause.what,
                "sha256": one.cause.certificate,
                "clients": list(one.clients),
                "endpoints": list(one.endpoints),
                "sentence": one.sentence,
            }
            for one in scanned.forecast.failures
        ],
    }
