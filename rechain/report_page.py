"""The end of a run on its page: what came of it, in numbers, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from rechain.errors import RechainError
from rechain.gate import Waiting
from rechain.lasting import lasting
from rechain.markdown import code, escaped, table
from rechain.phase import Phase
from rechain.report import CanaryReport, Outcome, PhaseReport, RotationReport, Strategy
from rechain.revocation_report import RevocationReport

_HEAD = ("phase", "began (UTC)", "lasted", "logins", "failed")


def rotation_markdown(report: RotationReport, error: RechainError | None = None) -> str:
    """A run that moves a fleet: how it ended, each phase, what the canary saw, what waits, and what is next.

    Args:
        report: Its report.
        error: What stopped it; None unless the outcome is `failed`.
    """
    lines = [f"## {escaped(report_summary(report))}", ""]
    if error is not None:
        lines += [f"**{escaped(error.where)}**: {escaped(error.what)}", ""]
    if report.phases:
        lines += [*table(_HEAD, map(_phase, report.phases)), ""]
    lines += [f"- {line}" for line in (*_canary(report.canary), *_outage(report), *_retired(report))]
    lines += [f"- waits at gate **{escaped(one.gate)}**: {escaped(one.reason)}" for one in report.waiting]
    lines += ["", f"**Next:** {_next(report, error)}"]
    return "\n".join(lines) + "\n"


def report_summary(report: RotationReport) -> str:
    """One line: how it ended, and where the fleet rests."""
    return f"{report.environment}: {report.outcome}, the fleet rests at {report.resting_phase or 'no phase'}"


def revocation_markdown(report: RevocationReport) -> str:
    """A revocation: what is revoked, that it is refused, that nobody else is disturbed, and what lives on."""
    rows = ((f"{one.serial:x}", one.client, one.generation, one.reason, one.who) for one in report.revoked)
    lines = [
        f"## {escaped(revocation_summary(report))}",
        "",
        *table(("serial", "client", "generation", "why", "who"), rows),
        "",
        f"- **{report.refused:,} logins with it were tried and refused; {report.logged_in:,} of others logged in**",
        *(f"- not tested: the key of serial {serial} is not ours" for serial in report.not_tested),
        *(f"- still open: {escaped(one)}; a list ends no session" for one in report.sessions),
        *(f"- {line}" for line in _canary(report.canary)),
    ]
    ending = "end those sessions with `pg_terminate_backend`" if report.sessions else "nothing is left to do"
    return "\n".join([*lines, "", f"**Next:** {ending}."]) + "\n"


def revocation_summary(report: RevocationReport) -> str:
    """One line: whose certificates are revoked."""
    clients = ", ".join(dict.fromkeys(one.client for one in report.revoked)) or "nobody"
    return f"{report.environment}: {len(report.revoked)} certificates of {clients} are revoked"


def _phase(phase: PhaseReport) -> tuple[object, ...]:
    lasted = lasting((phase.ended - phase.started).total_seconds()) if phase.ended else "not ended"
    return phase.name, f"{phase.started:%Y-%m-%d %H:%M:%S}", lasted, f"{phase.attempted:,}", f"{phase.failed:,}"


def _canary(canary: CanaryReport) -> Iterator[str]:
    failed = f"{canary.failed:,} failed" if canary.failed else "none failed"
    yield f"**{canary.attempted:,} logins were tried, {failed}**; the longest gap was {canary.longest_gap_ms:,} ms"
    more = canary.failed - len(canary.failures)
    yield from (f"failed: {escaped(line)}" for line in canary.failures)
    if canary.failures and more > 0:
        yield f"and {more:,} more failed"
    yield from (f"not watched: {escaped(line)}" for line in canary.unwatched)


def _outage(report: RotationReport) -> Iterator[str]:
    if report.outage:
        began, ended = report.outage.started, report.outage.ended
        yield f"logins failed from {began:%H:%M:%S} to {ended:%H:%M:%S} UTC, **{report.outage.seconds:.1f} s**"


def _retired(report: RotationReport) -> Iterator[str]:
    if report.retired_refused:
        yield "retired certificates, which logged in just before, are refused now"


def _next(report: RotationReport, error: RechainError | None) -> str:
    if error is not None:
        return f"{escaped(error.fix)}."
    if report.outcome is Outcome.WAITING:
        return f"{_opening(report)}; a run that is suspended goes on by its form, any other is started again."
    if report.strategy is Strategy.ADD_CLIENTS:
        return f"{code(f'rechain deliver {report.environment} CLIENT')} for each new client with an owner of its own."
    return _onward(report.resting_phase)


def _opening(report: RotationReport) -> str:
    """How the gates open: each by its own command."""
    commands = dict.fromkeys(_approval(report.environment, one) for one in report.waiting)
    return f"see to what is waited for, or approve: {', '.join(commands)}"


def _approval(environment: str, waiting: Waiting) -> str:
    about = f" --client {shlex.quote(waiting.client)}" if waiting.client else ""
    return code(f"rechain approve {environment} {waiting.gate}{about} --reason '...'")


def _onward(resting: Phase | None) -> str:
    following = resting.following if resting else None
    if following is None:
        return "nothing: the rotation is at its end."
    back = "discards the next generation" if resting is Phase.ISSUED else "walks back"
    return f"a refresh goes on with {code(following)}, a roll-back {back}; the fleet may stay here meanwhile."
