"""Tags on a run: where its environment rests and moves to, for lists, and for what is told if the run is lost."""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.runtime import deployment, flow_run

from rechain.rotation import Rotation
from tasks.repository.rotation_yaml import read_rotation
from tasks.state import EnvironmentRef
from tasks.step import progress

_OURS = ("environment: ", "rests at: ", "moves to: ")


def tag_run(ref: EnvironmentRef) -> None:
    """Say on a deployed run what rotation.yml says now. Side effect: the run's tags. Never raises; safe to repeat.

    A Prefect server that finds a run lost knows nothing of the environment repository; these it can tell.
    """
    if not deployment.id:
        return
    try:
        rotation = read_rotation(ref.root, ref.environment)
        with get_client(sync_client=True) as client:
            kept = [tag for tag in client.read_flow_run(flow_run.id).tags if not tag.startswith(_OURS)]
            client.update_flow_run(flow_run.id, tags=[*kept, *_tags(ref.environment, rotation)])
    except Exception as error:  # what is seen of a run never fails it
        progress.warning("the run's tags could not be written: %s", type(error).__name__)


def _tags(environment: str, rotation: Rotation) -> list[str]:
    values = (environment, rotation.phase, rotation.target)
    return [f"{label}{value}" for label, value in zip(_OURS, values, strict=True) if value]
