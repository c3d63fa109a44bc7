"""Scan every night for certificates that can stop a login, and tell the right people once."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas import State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from rechain.scan.report import Scanned, worst
from rechain.scan.seen import Source
from tasks.notify_hooks import on_crashed, on_failure
from tasks.repository.layout import environments as all_environments
from tasks.repository.location import repository_root
from tasks.scan import judge, look_at_hosts, look_at_repository, look_at_sessions, look_at_shard, shards
from tasks.scan_artifacts import publish
from tasks.scan_look import Asked, asked, finish
from tasks.state import EnvironmentRef
from tasks.step import as_it_is, progress
from tasks.tell_scan import tell_people

FOR_ONE_ENVIRONMENT = "scan-expiry/environment"
TASKS_AT_ONCE = 20  # most of them only wait: endpoints have one line in a process, however many shards there are
_RUNNER: Any = ThreadPoolTaskRunner(TASKS_AT_ONCE)  # its type names no futures, which the decorator asks for


@flow(
    name="scan-expiry",
    persist_result=False,
    timeout_seconds=3 * 3600,  # one that hangs would keep every later night's from starting
    task_runner=_RUNNER,
    on_failure=[on_failure],
    on_crashed=[on_crashed],
)
def scan_expiry(  # noqa: PLR0917  # the fields of the run form
    environments: list[str] | None = None,
    repository: str = "",
    sources: list[Source] | None = None,
    shard_size: Annotated[int, Field(ge=1)] = 500,
    notify: bool = True,
    spread: bool = True,
) -> State[None]:
    """Look at every certificate in files, on the wire and in bundles, publish what is found, and tell Slack.

    What is found does not fail the run: its message says OK, WARNING, CRITICAL or UNKNOWN, and why.

    Args:
        environments: Names of the environments; all when empty.
        repository: Directory of the environment repository on the worker; where RECHAIN_REPO says when empty.
        sources: Sources to ask; all that are reachable when empty.
        shard_size: Endpoints a task.
        notify: Tell Slack, where a token or a webhook is configured.
        spread: In a deployed run over several environments, start a run for each on the work pool.

    Raises:
        InputError: An environment does not exist, or settings are wrong.
    """
    root = repository_root(repository)
    names = list(dict.fromkeys(environments or all_environments(root)))
    if spread and len(names) > 1 and deployment.id:
        started = _start_runs(names, repository, sources, shard_size, notify)
        if started:
            return Completed(message=f"started {started} runs, one for each environment")
    scanned = [_scan(EnvironmentRef(root, name), asked(sources or []), shard_size) for name in names]
    for one in scanned:
        publish(one)
    if notify:
        tell_people(root, scanned)
    return Completed(message=_summary(scanned))


def _start_runs(names: list[str], repository: str, sources: list[Source] | None, size: int, notify: bool) -> int:
    """Start a run for each environment; none where no deployment for that is on the server."""
    for name in names:
        parameters = {
            "environments": [name],
            "repository": repository,
            "sources": [source.value for source in sources or []],
            "shard_size": size,
            "notify": notify,
        }
        try:
            run_deployment(FOR_ONE_ENVIRONMENT, parameters=parameters, flow_run_name=f"scan-{name}", timeout=0)
        except ObjectNotFound:
            progress.warning("there is no deployment %s: all environments are scanned here", FOR_ONE_ENVIRONMENT)
            return 0
    return len(names)


def _scan(ref: EnvironmentRef, ask: Asked, shard_size: int) -> Scanned:
    """One environment: the repository and inventory first, then the wire in shards, hosts and sessions at once."""
    begun = look_at_repository(ref, as_it_is(ask))
    wire = [
        look_at_shard.submit(ref.environment, number, as_it_is(shard))
        for number, shard in enumerate(shards(begun, shard_size))
    ]
    hosts = look_at_hosts.submit(ref, as_it_is(begun))
    sessions = look_at_sessions.submit(ref, as_it_is(ask), as_it_is(begun))
    served = tuple(one for shard in wire for one in shard.result())
    return judge(ref, finish(begun, served, hosts.result(), sessions.result()))


def _summary(scanned: list[Scanned]) -> str:
    status = worst(one.status for one in scanned)
    sentences = "; ".join(f"{one.environment} {one.status.name}: {one.forecast.sentence}" for one in scanned)
    return f"{status.name}: {sentences}" if scanned else "UNKNOWN: the repository has no environment"
