"""Put the report of a rotation together from what its runs recorded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path

from rechain.canary import CanarySummary, PhaseSpan, summary
from rechain.gate import Waiting
from rechain.report import CanaryReport, Outage, Outcome, PhaseReport, RotationReport, Strategy
from tasks.fleet.canary import read_segments
from tasks.record import PhaseMark, phase_marks
from tasks.repository.rotation_yaml import read_rotation
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
    """The report of one rotation, over all the runs that it took on this worker and that left their `record`."""
    marks = phase_marks(record)
    seen = summary(read_segments(record), _spans(marks))
    return RotationReport(
        environment=ref.environment,
        outcome=outcome,
        resting_phase=read_rotation(ref.root, ref.environment).phase,
        strategy=strategy,
        phases=tuple(
            PhaseReport(mark.phase, mark.started, mark.ended, count.attempted, count.failed)
            for mark, count in zip(marks, seen.phases, strict=True)
        ),
        canary=_canary(seen),
        retired_refused=retired_refused,
        outage=_outage(seen),
        waiting=tuple(waiting),
    )


def canary_report(record: Path) -> CanaryReport:
    """What the canary saw in a run that has no phases."""
    return _canary(summary(read_segments(record)))


def _outage(seen: CanarySummary) -> Outage | None:
    """From files on hosts where such were watched: when an external owner installs a delivery is not ours to say."""
    failures = [attempt for attempt in seen.failures if attempt.host] or seen.failures
    if not failures:
        return None
    ended = max(attempt.at + timedelta(milliseconds=attempt.ms) for attempt in failures)
    return Outage(failures[0].at, ended)


def _spans(marks: Sequence[PhaseMark]) -> list[PhaseSpan]:
    """A phase lasts until the next one begins."""
    return [
        PhaseSpan(mark.phase.value, mark.started, later.started if later else None)
        for mark, later in zip_longest(marks, marks[1:])
        if mark
    ]


def _canary(seen: CanarySummary) -> CanaryReport:
    return CanaryReport(
        attempted=seen.attempted,
        failed=seen.failed,
        longest_gap_ms=seen.longest_gap_ms,
        unwatched=(*map(str, seen.intervals), *map(str, seen.unwatched)),
        failures=tuple(map(str, seen.failures[:_SHOWN])),
    )
