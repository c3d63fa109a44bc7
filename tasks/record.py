"""What a run of a rotation leaves on its worker: when each phase began and ended, the canary's segments, log marks.

Public data only, append-only JSON lines, so that a run that was killed is continued by the next one. It is evidence
for the report, not state: no decision to move rests on it alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from pathlib import Path

from rechain.canary import PhaseSpan
from rechain.phase import Phase
from tasks.repository.rotation_yaml import read_rotation
from tasks.state import EnvironmentRef, now

_FILE = "phases.jsonl"


@dataclass(frozen=True, slots=True)
class PhaseMark:
    """One move: the phase, when it began, and when it was verified (None while it is under way), aware UTC."""

    phase: Phase
    started: datetime
    ended: datetime | None


def run_directory(ref: EnvironmentRef, generation: int, purpose: str = "") -> Path:
    """Where this worker keeps the record of one rotation; made when it is missing.

    Args:
        ref: Which environment.
        generation: The generation that is rotated to, or the one in use.
        purpose: Tells a run that is no rotation from the one that led to the generation.
    """
    directory = run_path(ref, generation, purpose)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def run_path(ref: EnvironmentRef, generation: int, purpose: str = "") -> Path:
    """As `run_directory`, for those who only look: it may not exist."""
    repository = hashlib.sha256(str(ref.root).encode()).hexdigest()[:12]
    name = f"generation-{generation}" + (f"-{purpose}" if purpose else "")
    return state_base() / f"{ref.environment}-{repository}" / name


def rotation_record(ref: EnvironmentRef) -> Path:
    """The record of the rotation under way, or of the last one."""
    return run_directory(ref, read_rotation(ref.root, ref.environment).last_generation)


def mark_started(directory: Path, phase: Phase, moment: datetime) -> None:
    """Note that the move to a phase began."""
    _append(directory, {"event": "started", "phase": phase.value, "at": moment.isoformat()})


def mark_ended(directory: Path, phase: Phase, moment: datetime) -> None:
    """Note that a phase was verified."""
    _append(directory, {"event": "ended", "phase": phase.value, "at": moment.isoformat()})


def mark_issued(ref: EnvironmentRef, generation: int) -> None:
    """Note the rotation's first phase, which nothing is moved for, when watching begins. Idempotent."""
    directory = run_directory(ref, generation)
    if not phase_marks(directory):
        mark_started(directory, Phase.ISSUED, now())
        mark_ended(directory, Phase.ISSUED, now())


def phase_marks(directory: Path) -> tuple[PhaseMark, ...]:
    """The moves of the rotation so far, in order; a move that was killed and taken again counts once."""
    marks: list[PhaseMark] = []
    for event, phase, moment in _events(directory):
        under_way = marks[-1] if marks and marks[-1].ended is None and marks[-1].phase is phase else None
        if event == "ended" and under_way:
            marks[-1] = PhaseMark(phase, under_way.started, moment)
        elif event == "started" and not under_way:
            marks.append(PhaseMark(phase, moment, None))
    return tuple(marks)


def phase_spans(directory: Path) -> tuple[PhaseSpan, ...]:
    """When each phase was: it lasts until the next one begins."""
    marks = phase_marks(directory)
    return tuple(
        PhaseSpan(mark.phase.value, mark.started, later.started if later else None)
        for mark, later in zip_longest(marks, marks[1:])
        if mark
    )


def _events(directory: Path) -> Iterator[tuple[str, Phase, datetime]]:
    path = directory / _FILE
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        yield entry["event"], Phase(entry["phase"]), datetime.fromisoformat(entry["at"])


def _append(directory: Path, entry: dict[str, str]) -> None:
    with (directory / _FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def state_base() -> Path:
    """Where this worker keeps what it remembers: RECHAIN_STATE_DIR, or where the user's programs keep theirs."""
    chosen = os.environ.get("RECHAIN_STATE_DIR")
    if chosen:
        return Path(chosen)
    home = os.environ.get("HOME")
    state = os.environ.get("XDG_STATE_HOME") or (f"{home}/.local/state" if home else tempfile.gettempdir())
    return Path(state) / "rechain"
