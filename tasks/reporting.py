"""Put the report of a rotation together from what its runs recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from rechain.canary import CanarySummary, summary
from rechain.errors import RechainError
from rechain.gate import Waiting
from rechain.report import CanaryReport, Outage, Outcome, PhaseReport, RotationReport, Strategy
from tasks.fleet.canary import read_segments
from tasks.record import phase_marks, phase_spans
from tasks.repository.rotation_yaml import read_rotation
from tasks.run_page import show_report
from tasks.state import EnvironmentRef

_SHOWN = 20


def report(
    ref: EnvironmentRef,
    record: Path,
    outcome: Outcome,
    *,
    waiting: Sequence[Waiting] = (),
    retired_refused: bool | None = None,
    strategy: Strategy = Strategy.MINIMAL_IMPACT,
) -> RotationReport:
    """The report of one rotation, over all the runs that it took on this worker and that left their `record`.

    Side effect: it is on the run's page.
    """
    made = replace(_report(ref, record, outcome, waiting), retired_refused=retired_refused, strategy=strategy)
    show_report(ref, lambda: made)
    return made


def show_so_far(
    ref: EnvironmentRef, record: Path, *, waiting: Sequence[Waiting] = (), error: RechainError | None = None
) -> None:
    """Show how a run stands that may not come to its end: it waits at a gate, or an error stops it. Never raises."""
    outcome = Outcome.FAILED if error else Outcome.WAITING
    show_report(ref, lambda: _report(ref, record, outcome, waiting), error)


def canary_report(record: Path) -> CanaryReport:
    """What the canary saw in a run that has no phases."""
    return _canary(summary(read_segments(record)))


def _report(ref: EnvironmentRef, record: Path, outcome: Outcome, waiting: Sequence[Waiting]) -> RotationReport:
    marks = phase_marks(record)
    seen = summary(read_segments(record), phase_spans(record))
    return RotationReport(
        environment=ref.environment,
        outcome=outcome,
        resting_phase=read_rotation(ref.root, ref.environment).phase,
        strategy=Strategy.MINIMAL_IMPACT,
        phases=tuple(
            PhaseReport(mark.phase, mark.started, mark.ended, count.attempted, count.failed)
            for mark, count in zip(marks, seen.phases, strict=True)
        ),
        canary=_canary(seen),
        retired_refused=None,
        outage=_outage(seen),
        waiting=tuple(waiting),
    )


def _outage(seen: CanarySummary) -> Outage | None:
    """From files on hosts where such were watched: when an external owner installs a delivery is not ours to say."""
    failures = [attempt for attempt in seen.failures if attempt.host] or seen.failures
    if not failures:
        return None
    ended = max(attempt.at + timedelta(milliseconds=attempt.ms) for attempt in failures)
    return Outage(failures[0].at, ended)


def _canary(seen: CanarySummary) -> CanaryReport:
    return CanaryReport(
        attempted=seen.attempted,
        failed=seen.failed,
        longest_gap_ms=seen.longest_gap_ms,
        unwatched=(*map(str, seen.intervals), *map(str, seen.unwatched)),
        failures=tuple(map(str, seen.failures[:_SHOWN])),
    )
