"""The report of a rotation: what happened, phase by phase, and what the canary saw."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rechain.gate import Waiting
from rechain.phase import Phase


class Strategy(StrEnum):
    """How a chain is renewed."""

    MINIMAL_IMPACT = "minimal-impact"
    DOWNTIME = "downtime"
    ADD_CLIENTS = "add-clients"


class Outcome(StrEnum):
    """How a run ended."""

    DONE = "done"
    WAITING = "waiting"
    PLANNED = "planned"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """One phase of a rotation.

    Attributes:
        name: The phase that was moved to.
        started: When the move began, aware UTC.
        ended: When it was verified, aware UTC; None while it is under way.
        attempted: Canary logins between this phase's start and the next one's.
        failed: How many of them failed.
    """

    name: Phase
    started: datetime
    ended: datetime | None
    attempted: int
    failed: int


@dataclass(frozen=True, slots=True)
class CanaryReport:
    """What the canary saw over the whole rotation.

    Attributes:
        attempted: New logins tried.
        failed: Logins that failed.
        longest_gap_ms: Longest time between two successful logins of one client, milliseconds.
        unwatched: Intervals and clients that nobody watched, with the reason.
        failures: Moment, client, endpoint and error of the first failures.
    """

    attempted: int
    failed: int
    longest_gap_ms: int
    unwatched: tuple[str, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outage:
    """How long logins failed, as the canary saw it.

    Attributes:
        started: When the first login that failed began, aware UTC.
        ended: When the last login that failed had ended, aware UTC.
    """

    started: datetime
    ended: datetime

    @property
    def seconds(self) -> float:
        """How long it was, seconds."""
        return (self.ended - self.started).total_seconds()


@dataclass(frozen=True, slots=True)
class RotationReport:
    """The end of a run: `refresh`, `rollback` and `demo` print it, `.demo/report.json` holds it.

    Attributes:
        environment: The fleet.
        outcome: How the run ended.
        resting_phase: Where the fleet rests now.
        strategy: How the chain was renewed.
        phases: One a phase that was moved to, in order.
        canary: What the canary saw.
        retired_refused: Whether retired material, which logged in before, is refused; None when not tested.
        outage: From the first to the last failed login of managed clients; None when none failed, or nobody watched.
        waiting: What the closed gate waits for; empty unless the outcome is `waiting`.
    """

    environment: str
    outcome: Outcome
    resting_phase: Phase | None
    strategy: Strategy
    phases: tuple[PhaseReport, ...]
    canary: CanaryReport
    retired_refused: bool | None
    outage: Outage | None = None
    waiting: tuple[Waiting, ...] = ()


def planned(environment: str, resting_phase: Phase | None, strategy: Strategy) -> RotationReport:
    """The report of a run that planned and changed nothing."""
    nothing = CanaryReport(attempted=0, failed=0, longest_gap_ms=0, unwatched=(), failures=())
    return RotationReport(environment, Outcome.PLANNED, resting_phase, strategy, (), nothing, None)


def sentence(report: RotationReport) -> str:
    """What came of a run, in one line."""
    resting = f"{report.environment} rests at {report.resting_phase or 'no phase'}"
    match report.outcome:
        case Outcome.PLANNED:
            return f"planned only, nothing was changed; {resting}"
        case Outcome.WAITING:
            gates = ", ".join(dict.fromkeys(one.gate.value for one in report.waiting)) or "a person's decision"
            return f"waits at {gates}; {resting}"
        case _:
            return f"{report.outcome}; {resting}; {_logins(report.canary)}"


def turning_back(report: RotationReport) -> str:
    """What came of a run at whose gate a person decided to roll back, in one line."""
    rested = f"{report.environment} rested at {report.resting_phase or 'no phase'}"
    return f"ended by a decision to roll back, which is a run of its own; {rested}; {_logins(report.canary)}"


def _logins(canary: CanaryReport) -> str:
    if not canary.attempted:
        return "no login was watched"
    return f"{canary.attempted} logins were tried, {canary.failed or 'none'} failed"


def as_json(report: RotationReport) -> dict[str, object]:
    """The report as the JSON contract, schema 1."""
    return {
        "schema": 1,
        "environment": report.environment,
        "outcome": report.outcome.value,
        "resting_phase": report.resting_phase.value if report.resting_phase else None,
        "strategy": report.strategy.value,
        "phases": [_phase(phase) for phase in report.phases],
        "canary": {
            "attempted": report.canary.attempted,
            "failed": report.canary.failed,
            "longest_gap_ms": report.canary.longest_gap_ms,
            "unwatched": list(report.canary.unwatched),
            "failures": list(report.canary.failures),
        },
        "retired_refused": report.retired_refused,
        "outage": _outage(report.outage),
        "waiting_for": [waiting_json(one) for one in report.waiting],
    }


def _outage(outage: Outage | None) -> dict[str, object] | None:
    if outage is None:
        return None
    began, ended = (moment.isoformat(timespec="milliseconds") for moment in (outage.started, outage.ended))
    return {"started": began, "ended": ended, "seconds": round(outage.seconds, 3)}


def waiting_json(waiting: Waiting) -> dict[str, str | None]:
    """One thing a gate waits for, as the JSON contract."""
    return {"gate": waiting.gate.value, "client": waiting.client, "reason": waiting.reason}


def _phase(phase: PhaseReport) -> dict[str, object]:
    return {
        "name": phase.name.value,
        "started": phase.started.isoformat(timespec="milliseconds"),
        "ended": phase.ended.isoformat(timespec="milliseconds") if phase.ended else None,
        "attempted": phase.attempted,
        "failed": phase.failed,
    }
