"""How a run ends in Prefect's list of runs: with a sentence, and not only with the word Completed."""

from __future__ import annotations

from typing import cast

from prefect.states import Completed

from rechain.plan import Planned
from rechain.report import RotationReport, planned, sentence, turning_back
from tasks.plan_artifacts import publish_plan
from tasks.repository.rotation_yaml import read_rotation
from tasks.state import EnvironmentRef


def ended(report: RotationReport, *, turns_back: bool = False) -> RotationReport:
    """Make a report the end of a flow: whoever called it gets the report, whoever looks at the run its sentence.

    Prefect hands on what a returned state carries, so the type that callers see is the report's.

    Args:
        report: What the run came to.
        turns_back: Whether a person decided at a gate to roll back, so that nothing waits for them any more.
    """
    said = turning_back(report) if turns_back else sentence(report)
    return cast("RotationReport", Completed(message=said, data=report))


def only_planned(ref: EnvironmentRef, made: Planned) -> RotationReport:
    """End a run that was to plan only: the plan is on the run's page, and nothing was changed."""
    publish_plan(made)
    resting = read_rotation(ref.root, ref.environment).phase
    return ended(planned(ref.environment, resting, made.plan.strategy))
