"""Results for people and for programs: tables on a terminal, and the JSON contract (`"schema": 1`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from flows.terminal import out, say
from rechain.finding import Finding
from rechain.gate import Waiting
from rechain.login import as_json as login_json
from rechain.plan import FileChange, Planned, Step
from rechain.policy import policies
from rechain.report import RotationReport, waiting_json
from rechain.rotation import Rotation

if TYPE_CHECKING:
    from tasks.status import Seen, Status
    from tasks.verify import Verification


def status_json(status: Status) -> dict[str, object]:
    """`status`: phase, generations, what waits, what is observed."""
    rotation = status.rotation
    return {
        "schema": 1,
        "environment": status.environment,
        "phase": rotation.phase.value if rotation.phase else None,
        "current": rotation.current,
        "next": rotation.next,
        "target": rotation.target.value if rotation.target else None,
        "waiting_for": [waiting_json(one) for one in status.waiting],
        "observed": [_seen_json(seen) for seen in status.observed],
        "unfinished": status.unfinished,
        "claim": _claim(rotation),
        "outage": list(status.outage) if status.outage else None,
    }


def print_status(status: Status) -> None:
    """`status` for a person."""
    rotation = status.rotation
    toward = f", next generation {rotation.next}" if rotation.next else ""
    say(f"{status.environment}: phase {rotation.phase or 'none'}, generation {rotation.current or '-'}{toward}")
    if rotation.is_first:
        say(f"  it is the first, and not rolled out yet: rechain refresh {status.environment} --strategy downtime")
    elif rotation.target:
        say(f"  a move to {rotation.target} was begun and not finished: run the same command again")
    if status.unfinished:
        say(f"  DO NOT ROLL OUT: {status.unfinished}")
    if rotation.claim:
        say(f"  claimed by {rotation.claim.owner} until {rotation.claim.expires_at:%Y-%m-%d %H:%M} UTC")
    for seen in status.observed:
        end = f", until {seen.not_after}" if seen.not_after else ""
        generation = f"generation {seen.generation}" if seen.generation else "no known generation"
        say(f"  {seen.endpoint} serves {generation}{end}{': ' + seen.problem if seen.problem else ''}")
    print_waiting(status.environment, status.waiting)
    if status.requests:
        count, since = len(status.requests.public_keys), f"{status.requests.made_at:%Y-%m-%d}"
        say(f"  {count} signing requests wait for an outside CA since {since}:")
        say(f"    rechain import {status.environment} FILE…")
    if status.outage:
        say(f"  waiting becomes an outage on {status.outage[1]}, when {status.outage[0]} ends")


def print_waiting(environment: str, waiting: Iterable[Waiting]) -> None:
    """What a gate waits for, and how to open it."""
    for one in waiting:
        about = f" --client {one.client}" if one.client else ""
        say(f"  waiting at gate {one.gate}: {one.reason}")
        say(f"    rechain approve {environment} {one.gate}{about} --reason '...'")


def plan_json(planned: Planned) -> dict[str, object]:
    """`plan`: steps with their files, the proof in numbers, whom to tell, notes."""
    return {
        "schema": 1,
        "environment": planned.plan.environment,
        "strategy": planned.plan.strategy.value,
        "steps": [_step_json(step) for step in planned.plan.steps],
        "proof": {"states": str(planned.proof.states), "judgements": planned.proof.judgements},
        "tell": list(planned.plan.tell),
        "notes": list(planned.plan.notes),
    }


def print_plan(planned: Planned) -> None:
    """`plan` for a person: a table a phase, the proof, whom to tell."""
    for step in planned.plan.steps:
        table = Table("host", "file", "certificates", title=f"{step.phase}: {step.reason}", title_justify="left")
        for change in step.changes:
            table.add_row(change.place.host, change.place.path, _change(change))
        out().print(table)
        for reload in step.reloads:
            say(f"  reload {reload}")
    if not planned.plan.steps:
        say("nothing to do")
    if planned.proof.judgements:  # without one there was nothing to prove
        say(f"proof: {planned.proof}")
    for line in planned.plan.tell:
        say(f"tell {line}")
    for line in planned.plan.notes:
        say(f"note: {line}")


def verification_json(environment: str, found: Verification) -> dict[str, object]:
    """`verify`: every login."""
    return {"schema": 1, "environment": environment, "logins": [login_json(login) for login in found.logins]}


def print_verification(found: Verification) -> None:
    """`verify` for a person."""
    table = Table("endpoint", "client", "generation", "verdict", "error")
    for login in found.logins:
        table.add_row(str(login.endpoint), login.client, str(login.generation), login.verdict, login.error or "")
    out().print(table)
    for problem in found.problems:
        say(f"problem: {problem}")


def print_report(report: RotationReport) -> None:
    """The end of a run for a person; the last line says how many logins were tried and how many failed."""
    table = Table(
        "phase", "began (UTC)", "seconds", "logins", "failed", title=f"{report.environment}: {report.outcome}"
    )
    for phase in report.phases:
        seconds = f"{(phase.ended - phase.started).total_seconds():.1f}" if phase.ended else "-"
        table.add_row(phase.name, f"{phase.started:%H:%M:%S}", seconds, str(phase.attempted), str(phase.failed))
    out().print(table)
    for line in report.canary.failures:
        say(f"failed: {line}")
    for line in report.canary.unwatched:
        say(f"not watched: {line}")
    if report.retired_refused:
        say("retired certificates, which logged in just before, are refused now: unknown CA")
    say(f"the fleet rests at phase {report.resting_phase}")
    print_waiting(report.environment, report.waiting)
    canary = report.canary
    failed = "none failed" if canary.failed == 0 else f"{canary.failed} failed"
    if report.outage:
        span = f"{report.outage.started:%H:%M:%S} to {report.outage.ended:%H:%M:%S} UTC"
        say(f"logins failed from {span}, {report.outage.seconds:.1f} s")
    say(f"{canary.attempted} logins were tried, {failed}; the longest gap between two was {canary.longest_gap_ms} ms")


def findings_json(findings: Sequence[Finding]) -> dict[str, object]:
    """`lint`: every finding."""
    return {"schema": 1, "findings": [_finding_json(finding) for finding in findings]}


def print_findings(findings: Sequence[Finding]) -> None:
    """`lint` for a person."""
    for finding in findings:
        say(f"{finding.where}: {finding.severity}: {finding.what} ({finding.fix})")
    if not findings:
        say("nothing to say: all policies hold")


def policies_json() -> dict[str, object]:
    """`lint --list`: every policy."""
    return {
        "schema": 1,
        "policies": [{"name": each.name, "reason": each.reason, "fix": each.fix} for each in policies()],
    }


def print_policies() -> None:
    """`lint --list` for a person."""
    table = Table("policy", "why", "fix")
    for each in policies():
        table.add_row(each.name, each.reason, each.fix)
    out().print(table)


def _finding_json(finding: Finding) -> dict[str, object]:
    return {"where": finding.where, "severity": str(finding.severity), "what": finding.what, "fix": finding.fix}


def _claim(rotation: Rotation) -> dict[str, object] | None:
    claim = rotation.claim
    if claim is None:
        return None
    return {"number": claim.number, "owner": claim.owner, "expires_at": claim.expires_at.isoformat()}


def _seen_json(seen: Seen) -> dict[str, object]:
    return {
        "endpoint": str(seen.endpoint),
        "generation": seen.generation,
        "not_after": seen.not_after,
        "problem": seen.problem,
    }


def _step_json(step: Step) -> dict[str, object]:
    changes = [
        {"host": one.place.host, "path": one.place.path, "old": list(one.old), "new": list(one.new)}
        for one in step.changes
    ]
    return {"phase": step.phase.value, "reason": step.reason, "changes": changes, "reloads": list(step.reloads)}


def _change(change: FileChange) -> str:
    old, new = (", ".join(one[:8] for one in side) or "-" for side in (change.old, change.new))
    return f"{old} → {new}"
