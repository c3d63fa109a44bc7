"""Policies about time: what ends, what ends too early, and clocks that are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from rechain.certificate import Certificate
from rechain.finding import Finding, Policy, Severity
from rechain.scan.case import Case, Rules, name_of

rules = Rules()

_SKEW_WARNING_S = 60
_SKEW_ERROR_S = 300  # certificates are valid from five minutes before they were issued
_SHOWN = 3


@rules.policy(
    "expires-critical",
    Severity.ERROR,
    "every login that needs the certificate fails when it ends, and a refresh takes days of talking to owners",
    "refresh the chain now: `rechain plan ENV`",
)
def _expires_critical(policy: Policy, case: Case) -> Iterator[Finding]:
    yield from _ending(policy, case, -1, case.limits.critical_days)


@rules.policy(
    "expires-soon",
    Severity.WARNING,
    "a refresh takes days of talking to the owners of external clients: begin before it is urgent",
    "plan a refresh: `rechain plan ENV`",
)
def _expires_soon(policy: Policy, case: Case) -> Iterator[Finding]:
    yield from _ending(policy, case, case.limits.critical_days, case.limits.warning_days)


def _ending(policy: Policy, case: Case, more_than: int, at_most: int) -> Iterator[Finding]:
    for certificate in case.live.values():
        left = case.days_left(certificate.not_after)
        if more_than < left <= at_most:
            what = f"ends on {certificate.not_after:%Y-%m-%d %H:%M} UTC, in {_days(left)}"
            yield policy.found(case.where(certificate), what, certificate=certificate.fingerprint)


@rules.policy(
    "ca-ends-first",
    Severity.WARNING,
    "when a CA ends, every certificate below it is refused, whatever its own dates say",
    "refresh the whole chain before that day, or plan the next refresh before it",
)
def _ca_ends_first(policy: Policy, case: Case) -> Iterator[Finding]:
    for ca in (one for one in case.live.values() if one.is_ca):
        below = [leaf for leaf in case.live.values() if not leaf.is_ca and leaf.not_after > ca.not_after]
        leaves = [leaf for leaf in below if _stands_above(case, ca, leaf)]
        if leaves:
            names = ", ".join(name_of(leaf) for leaf in leaves[:_SHOWN])
            more = f" and {len(leaves) - _SHOWN} more" if len(leaves) > _SHOWN else ""
            what = f"the CA ends on {ca.not_after:%Y-%m-%d}, before what stands below it: {names}{more}"
            yield policy.found(case.where(ca), what, certificate=ca.fingerprint)
        elif case.limits.next_refresh and ca.not_after < case.limits.next_refresh:
            planned = f"{case.limits.next_refresh:%Y-%m-%d}"
            what = f"the CA ends on {ca.not_after:%Y-%m-%d}, before the refresh that is planned for {planned}"
            yield policy.found(case.where(ca), what, certificate=ca.fingerprint)


def _stands_above(case: Case, ca: Certificate, leaf: Certificate) -> bool:
    if ca.has_issued(leaf):
        return True
    between = [one for one in case.live.values() if one.is_ca and not one.is_self_issued and one.has_issued(leaf)]
    return any(ca.has_issued(one) for one in between)


@rules.policy(
    "clock-skew",
    Severity.WARNING,
    "a host whose clock is wrong refuses certificates that are valid, or accepts some that are not",
    "mend time synchronisation on the host, before the next refresh: `chronyc tracking`",
)
def _clock_skew(policy: Policy, case: Case) -> Iterator[Finding]:
    for host in case.seen.hosts:
        ahead = host.clock_ahead_s or 0.0
        if abs(ahead) > _SKEW_WARNING_S:
            worse = ": a new certificate is not valid there yet" if ahead < -_SKEW_ERROR_S else ""
            direction = "ahead" if ahead > 0 else "behind"
            yield policy.found(host.host, f"its clock is {timedelta(seconds=round(abs(ahead)))} {direction}{worse}")


def _days(left: int) -> str:
    return {0: "less than a day", 1: "1 day"}.get(left, f"{left} days")
