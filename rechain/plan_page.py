"""A plan on the page of its run: a row for each file that changes, and in words what a table can't say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from rechain.markdown import escaped, table
from rechain.plan import FileChange, Fingerprints, Planned, RotationPlan, Step

_SHORT = 8


def plan_rows(plan: RotationPlan) -> list[dict[str, object]]:
    """A row for each file of each host in each phase, in the order in which they change.

    Columns: phase, host, file, old → new fingerprints, what is reloaded once the host's files are there, and why.
    """
    return [row for step in plan.steps for row in _rows(step)]


def plan_markdown(planned: Planned) -> str:
    """The phases in short, the proof, whom to tell, and what else to know."""
    plan = planned.plan
    lines = [f"## {escaped(plan.environment)}: {escaped(plan.strategy)}, as planned", ""]
    if plan.steps:
        lines += table(("phase", "why", "hosts", "files", "reloads"), map(_in_short, plan.steps))
    else:
        lines.append("Nothing is to be done: every file holds what it should.")
    if planned.proof.judgements:  # without one there was nothing to prove
        lines += ["", f"**Proof:** {escaped(planned.proof)}."]
    lines += _listed("Tell", plan.tell)
    lines += _listed("Worth knowing", plan.notes)
    return "\n".join(lines) + "\n"


def plan_summary(plan: RotationPlan) -> str:
    """One line: how much changes."""
    if not plan.steps:
        return f"{plan.environment}: nothing is to be done"
    changes = [change for step in plan.steps for change in step.changes]
    hosts = {change.place.host for change in changes}
    phases = ", ".join(step.phase for step in plan.steps)
    return f"{plan.environment}: {len(changes)} file changes on {len(hosts)} hosts, phases {phases}"


def _in_short(step: Step) -> tuple[object, ...]:
    hosts = {change.place.host for change in step.changes}
    return step.phase, step.reason, len(hosts), len(step.changes), len(step.reloads)


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    found = [f"- {escaped(line)}" for line in lines]
    return ["", f"**{title}:**", "", *found] if found else []


def _rows(step: Step) -> Iterator[dict[str, object]]:
    for host, group in groupby(step.changes, key=lambda change: change.place.host):
        changes = list(group)
        for change in changes:
            reloads = _reloads(step, host) if change is changes[-1] else ""
            yield _row(step, change, reloads)


def _row(step: Step, change: FileChange, reloads: str) -> dict[str, object]:
    return {
        "phase": step.phase.value,
        "host": change.place.host,
        "file": change.place.path,
        "certificates": f"{_short(change.old)} → {_short(change.new)}",
        "then": reloads,
        "why": step.reason,
    }


def _reloads(step: Step, host: str) -> str:
    start = f"{host}: "
    return "; ".join(one.removeprefix(start) for one in step.reloads if one.startswith(start))


def _short(fingerprints: Fingerprints) -> str:
    return ", ".join(one[:_SHORT] for one in fingerprints) or "-"
