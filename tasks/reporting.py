"""Put the report of a rotation together from what its runs recorded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from rechain.canary import CanarySummary, PhaseSpan, summary
from rechain.gate import Waiting
from rechain.report import CanaryReport, Outcome, PhaseReport, RotationReport
from tasks.fleet.canary import read_segments
from tasks.record import PhaseMark, phase_marks, run_directory
from tasks.repository.rotation_yaml import read_rotation
from tasks.state import EnvironmentRef

_SHOWN = 20


def report(
    ref: EnvironmentRef,
    generation: int,
    outcome: Outcome,
    *,
    waiting: Sequence[Waiting] = (),
    retired_refused: bool | None = None,
    strategy: str = "minimal-impact",
) -> RotationReport:
    """The report of one rotation, over all the runs that it took on this worker."""
    directory = run_directory(ref, generation)
    marks = phase_marks(directory)
    seen = summary(read_segments(directory), _spans(marks))
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
        waiting=tuple(waiting),
    )


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
