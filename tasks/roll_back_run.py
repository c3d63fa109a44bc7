"""Start the way back as a run of its own, when a person at a gate of a refresh decides so."""

from __future__ import annotations

from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from tasks.state import EnvironmentRef
from tasks.step import progress

ROLL_BACK = "roll-back/roll-back"


def start_roll_back(ref: EnvironmentRef, *, accept_non_atomic: bool) -> None:
    """Schedule a roll-back of an environment; a run that waits for its turn, for the refresh has to end first.

    Once a run, however often it is tried again: a second one would discard what the first one only walked back from.
    """
    parameters = {
        "environment": ref.environment,
        "repository": flow_run.parameters.get("repository", ""),  # as this run was given it: workers differ
        "accept_non_atomic": accept_non_atomic,
    }
    try:
        run_deployment(
            ROLL_BACK, parameters=parameters, timeout=0, as_subflow=False, idempotency_key=f"roll-back-{flow_run.id}"
        )
    except ObjectNotFound:
        progress.warning("there is no deployment %s: run `rechain rollback %s`", ROLL_BACK, ref.environment)
