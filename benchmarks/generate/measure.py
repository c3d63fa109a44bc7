"""Run programs and measure what they cost, with all of their descendants."""

from __future__ import annotations

import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that makes a chain, or its keys alone.

    Attributes:
        name: What the table calls it.
        command: Program and arguments.
        cwd: Where it runs.
        whole: Name of a second row, for the program with its start and imports, where it reports its own cost.
    """

    name: str
    command: tuple[str, ...]
    cwd: Path
    whole: str | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run cost.

    Attributes:
        cpu_s: Seconds of CPU, user and system, of the program and every descendant that it waited for.
        wall_s: Seconds on the clock.
    """

    cpu_s: float
    wall_s: float


class Stopwatch:
    """Measures a Python program from within, from its work's begin: interpreter start and imports are left out."""

    def __init__(self) -> None:
        self._begin = _spent()

    def report(self) -> None:
        """Write what was spent since the beginning, where `run` looks for it."""
        begin, end = self._begin, _spent()
        sys.stdout.write(f"{end.cpu_s - begin.cpu_s} {end.wall_s - begin.wall_s}\n")


def _spent() -> Cost:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Cost(sum(usage.ru_utime + usage.ru_stime for usage in usages), time.perf_counter())


def interleaved(contenders: Sequence[Contender], rounds: int) -> dict[str, list[Cost]]:
    """Run all contenders in turn, round after round, so that a busy moment of the machine hits them alike."""
    costs: dict[str, list[Cost]] = {}
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            _progress(f"round {number + 1} of {rounds}: {contender.name}")
            for name, cost in run(contender).items():
                costs.setdefault(name, []).append(cost)
    _progress("")
    return costs


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")


def run(contender: Contender) -> dict[str, Cost]:
    """Run a contender once, to its end.

    Returns:
        Row name to cost; two rows for one that reports its own cost and is also shown as a whole program.

    Raises:
        RuntimeError: It failed; the message holds the end of what it said.
    """
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as reported:
        process = subprocess.Popen(
            contender.command, cwd=contender.cwd, stdin=subprocess.DEVNULL, stdout=reported, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        whole = Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - begin)
        said.seek(0)
        reported.seek(0)
        if process.returncode:
            raise RuntimeError(f"{contender.name} failed: {said.read()[-1000:]}")
        own = re.fullmatch(r"(\S+) (\S+)\n", reported.read())
    if own is None:
        return {contender.name: whole}
    costs = {contender.name: Cost(float(own[1]), float(own[2]))}
    return costs if contender.whole is None else costs | {contender.whole: whole}


def table(title: str, costs: Mapping[str, Sequence[Cost]], baseline: str) -> str:
    """Medians of CPU and wall, and their ratios to one contender's."""
    rounds = len(costs[baseline])
    lines = [f"{title}; medians of {rounds} interleaved round{'s' * (rounds > 1)}"]
    lines.append(f"  {'':<34} {'CPU s':>9} {'wall s':>9} {'CPU ratio':>10} {'wall ratio':>11}")
    base = median(costs[baseline])
    for name, runs in costs.items():
        cost = median(runs)
        ratios = f"{cost.cpu_s / base.cpu_s:>10.2f} {cost.wall_s / base.wall_s:>11.2f}"
        lines.append(f"  {name:<34} {cost.cpu_s:>9.2f} {cost.wall_s:>9.2f} {ratios}")
    return "\n".join(lines) + "\n"


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each quantity."""
    return Cost(statistics.median(cost.cpu_s for cost in costs), statistics.median(cost.wall_s for cost in costs))
