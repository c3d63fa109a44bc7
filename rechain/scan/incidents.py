"""Turn what a scan found into incidents: one for each environment and cause, not one for each certificate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from rechain.certificate import Certificate
from rechain.certificate_policy import certificate_policies
from rechain.finding import Finding, Severity
from rechain.scan.case import name_of
from rechain.scan.forecast import Failure
from rechain.scan.incident import Incident
from rechain.scan.report import Row, Scanned
from rechain.scan.rules import scan_policies

_ENDINGS = ("expired", "expires-critical", "expires-soon", "outlives-issuer", "ca-ends-first")
_NEVER = datetime.max.replace(tzinfo=UTC)
_UNSEEN_FIX = "make it answer, or take it out of the inventory; until then nobody knows what it serves"


def incidents(scanned: Scanned) -> tuple[Incident, ...]:
    """What people are to be told of an environment, the worst first. Notes are not told.

    All that ends under one root CA is one incident: one refresh mends it. Everything else is one for each policy.
    """
    found = (*_endings(scanned), *_by_policy(scanned), *_unseen(scanned))
    return tuple(sorted(found, key=lambda one: (one.severity is not Severity.ERROR, one.when or _NEVER)))


def _endings(scanned: Scanned) -> Iterator[Incident]:
    roots = _Roots(scanned.rows)
    groups: dict[str, list[Row]] = {}
    for row in scanned.rows:
        if any(finding.policy in _ENDINGS for finding in row.findings):
            groups.setdefault(roots.above(row.certificate), []).append(row)
    for root, rows in groups.items():
        first = _first_failure(scanned, [row.certificate.fingerprint for row in rows])
        findings = [finding for row in rows for finding in row.findings if finding.policy in _ENDINGS]
        yield Incident(
            environment=scanned.environment,
            cause=f"ends:{root}",
            severity=_worst(findings),
            title=_title(rows),
            breaks=first.sentence if first else "",
            when=first.at if first else None,
            rows=tuple(_row(row) for row in sorted(rows, key=lambda row: row.certificate.not_after)),
            fix=_fix(findings).replace("ENV", scanned.environment),
        )


class _Roots:
    """Finds the topmost CA above a certificate by names, which are the same from scan to scan."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._parents: Mapping[str, str] = {
            row.certificate.subject: row.certificate.issuer for row in rows if row.certificate.is_ca
        }

    def above(self, certificate: Certificate) -> str:
        name, seen = certificate.issuer, {certificate.subject}
        while name in self._parents and name not in seen:
            seen.add(name)
            name = self._parents[name]
        return name


def _title(rows: Sequence[Row]) -> str:
    first = min(rows, key=lambda row: row.certificate.not_after)
    ended = first.days_left < 0
    what = f"{first.role} {name_of(first.certificate)}" if len(rows) == 1 else f"{len(rows)} certificates"
    verb = "ended" if ended else "ends" if len(rows) == 1 else "end, the first"
    if ended and len(rows) > 1:
        verb = "ended or end soon, the first"
    return f"{what} {verb} on {first.certificate.not_after:%Y-%m-%d}"


def _row(row: Row) -> str:
    left = f"in {row.days_left} days" if row.days_left >= 0 else f"{-row.days_left} days ago"
    sources = ", ".join(row.sources)
    return f"{name_of(row.certificate)} ({row.role}): {row.certificate.not_after:%Y-%m-%d}, {left}; seen by {sources}"


def _first_failure(scanned: Scanned, fingerprints: Sequence[str]) -> Failure | None:
    return next((one for one in scanned.forecast.failures if one.cause.certificate in fingerprints), None)


def _by_policy(scanned: Scanned) -> Iterator[Incident]:
    groups: dict[str, list[Finding]] = {}
    for finding in scanned.every_finding:
        if finding.policy not in _ENDINGS and finding.severity is not Severity.NOTE:
            groups.setdefault(finding.policy, []).append(finding)
    for policy, findings in groups.items():
        one = findings[0]
        many = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
        yield Incident(
            environment=scanned.environment,
            cause=f"policy:{policy}",
            severity=_worst(findings),
            title=f"{policy.replace('-', ' ')}: {one.where}{many}",
            breaks=_reason(policy),
            when=None,
            rows=tuple(f"{each.where}: {each.what}" for each in findings),
            fix=_fix(findings).replace("ENV", scanned.environment),
        )


def _unseen(scanned: Scanned) -> Iterator[Incident]:
    if scanned.unreachable:
        count = len(scanned.unreachable)
        yield Incident(
            environment=scanned.environment,
            cause="unseen",
            severity=Severity.WARNING,
            title=f"{count} {'place' if count == 1 else 'places'} could not be looked at",
            breaks="",
            when=None,
            rows=tuple(f"{one.location} ({one.source}): {one.problem}" for one in scanned.unreachable),
            fix=_UNSEEN_FIX,
        )


def _worst(findings: Iterable[Finding]) -> Severity:
    return Severity.ERROR if any(one.severity is Severity.ERROR for one in findings) else Severity.WARNING


def _fix(findings: Sequence[Finding]) -> str:
    return next((one.fix for one in findings if one.severity is Severity.ERROR), findings[0].fix)


def _reason(name: str) -> str:
    policies = (*certificate_policies(), *scan_policies())
    return next((policy.reason for policy in policies if policy.name == name), "")
