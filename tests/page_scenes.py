"""Flows that put things on their page: each scene a run of its own, all in one process, which tells how they went.

`python -m tests.page_scenes ROOT`, with Prefect's address in the environment: a line of JSON for what happened.
Prefect's threads outlive a flow, so it is no process of the tests'.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.context import SyncClientContext
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings

from rechain.canary import Attempt, attempt_line, event_line
from rechain.errors import RollOutFailed
from rechain.fleet import Endpoint
from rechain.gate import Waiting
from rechain.login import Login, Verdict
from rechain.phase import Phase
from rechain.plan import FileChange, Place, Planned, RotationPlan, Step
from rechain.prover import Proof
from rechain.report import Outcome as Ending
from rechain.report import Strategy
from rechain.rotation import Claim, Direction, Gate, Rotation
from tasks import page
from tasks.fleet.outcome import HostResult, Outcome, RollOutResult
from tasks.page import Kind, Sheet, key_of, show
from tasks.plan_artifacts import publish_plan
from tasks.record import mark_started, run_directory
from tasks.reporting import report, show_so_far
from tasks.repository.rotation_yaml import read_rotation, write_rotation
from tasks.run_page import show_canary, show_hosts, show_logins, show_progress
from tasks.state import EnvironmentRef, now
from tests.environments import ISSUED
from tests.places import ask
from tests.plugins.slack_stub import closed_port

FINGERPRINT = "ab" * 32
PATIENCE_S = 1.0


def plan(_ref: EnvironmentRef) -> None:
    """A plan of one file."""
    change = FileChange(Place("db1", "/pki/root.crt"), (), (FINGERPRINT,))
    step = Step(Phase.OVERLAP, "trust both", (change,), ("db1: reload",))
    made = RotationPlan("acc", Strategy.MINIMAL_IMPACT, (step,), ("app: add the chain",), ("freeze",))
    publish_plan(Planned(made, Proof(((Phase.ISSUED, Phase.OVERLAP),), 4, 2, 2, ())))


def progress(ref: EnvironmentRef) -> Any:
    """Under way, then at a gate; what was there in between."""
    _rest(ref, Phase.OVERLAP, Phase.SERVERS)
    show_progress(ref)
    before = ask(f"{PREFECT_API_URL.value()}/artifacts/filter", {"artifacts": {"key": {"any_": ["progress-acc"]}}})
    _rest(ref, Phase.SERVERS, None)
    show_progress(ref, [Waiting(Gate.CANARY, None, "failures")])
    return before


def hosts(ref: EnvironmentRef) -> None:
    """Host by host, phase by phase; one fails at first."""
    bad = HostResult("db2", Outcome.FAILED, message="its reload was refused")
    good = HostResult("db2", Outcome.INSTALLED, ("/pki/server.crt",), served={"127.0.0.1:5432": FINGERPRINT})
    same = HostResult("db1", Outcome.UNCHANGED, served={"127.0.0.1:5432": None})
    for phase, one in ((Phase.OVERLAP, same), (Phase.SERVERS, same), (Phase.SERVERS, bad), (Phase.SERVERS, good)):
        show_hosts(ref, phase, RollOutResult((one,)))


def logins(ref: EnvironmentRef) -> None:
    """One that passed and one that was refused."""
    endpoint = Endpoint("db1", "db1", "127.0.0.1", 5432)
    found = [
        Login(endpoint, "app", 2, verdict, None, "told", FINGERPRINT, "c0ffee" * 4, 3)
        for verdict in (Verdict.LOGGED_IN, Verdict.REFUSED)
    ]
    show_logins(ref, Phase.SERVERS, found, ["one"])


def done(ref: EnvironmentRef) -> None:
    """A run that comes to its end; one of three logins failed."""
    _rest(ref, Phase.OVERLAP, None)
    record = run_directory(ref, 2)
    mark_started(record, Phase.SERVERS, now())
    _watch(record, Verdict.LOGGED_IN, Verdict.REFUSED, Verdict.LOGGED_IN)
    show_canary(ref, record)
    report(ref, record, Ending.DONE)


def failed(ref: EnvironmentRef) -> None:
    """A run that waits at a gate, and then is stopped by an error."""
    _rest(ref, Phase.OVERLAP, None)
    record = run_directory(ref, 2)
    show_so_far(ref, record, waiting=[Waiting(Gate.CANARY, None, "failures")])
    show_so_far(ref, record, error=RollOutFailed("db2", "its reload was refused", "look at its log"))


def first(_ref: EnvironmentRef) -> None:
    """A note."""
    _note("first")


def second(_ref: EnvironmentRef) -> None:
    """Another one of the same key."""
    _note("second")


def unmade(_ref: EnvironmentRef) -> None:
    """What can't be made."""
    nothing: dict[str, Iterator[Sheet]] = {}
    for _ in range(2):
        show("a note", lambda _page: nothing["key"])


def gone(_ref: EnvironmentRef) -> list[float]:
    """A server that refuses in the middle of a run; how long each note took, seconds."""
    return _lost(f"http://127.0.0.1:{closed_port()}/api")


def hung(_ref: EnvironmentRef) -> list[float]:
    """A server that takes the connection and never answers; how long each note took, seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        return _lost(f"http://127.0.0.1:{silent.getsockname()[1]}/api")


def _rest(ref: EnvironmentRef, phase: Phase, target: Phase | None) -> None:
    claim = Claim(1, "dba@desk:1:1", Direction.REFRESH, Phase.RETIRED, now(), now() + timedelta(hours=1))
    rotation: Rotation = replace(ISSUED, phase=phase, target=target, claim=claim)
    write_rotation(ref.root, ref.environment, rotation)
    assert read_rotation(ref.root, ref.environment) == rotation


def _watch(record: Path, *verdicts: Verdict) -> None:
    """A canary's recording."""
    begun = now()
    attempts = [
        Attempt(begun + timedelta(seconds=number), "app", "db1", "db1:5432", verdict, None, 5)
        for number, verdict in enumerate(verdicts)
    ]
    lines = [event_line("watching", begun), *map(attempt_line, attempts)]
    (record / "canary-1-1.jsonl").write_text("".join(f"{line}\n" for line in lines))


def _note(text: str) -> None:
    show("a note", lambda _page: [Sheet(Kind.MARKDOWN, key_of("Acc", "note", "1"), "about", text)])


def _lost(address: str) -> list[float]:
    spent: list[float] = []
    with temporary_settings({PREFECT_API_URL: address}), _no_client():
        for _ in range(4):
            begun = time.monotonic()
            _note("lost")
            spent.append(time.monotonic() - begun)
    return spent


@contextmanager
def _no_client() -> Iterator[None]:
    """Without the run's own client, so that the settings' address counts."""
    context: Any = SyncClientContext.__var__
    token = context.set(None)
    try:
        yield
    finally:
        context.reset(token)


class _Warnings(logging.Handler):
    """What was logged for people."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


def _run(scene: Callable[[EnvironmentRef], object], ref: EnvironmentRef) -> dict[str, object]:
    @flow(name=f"page-{scene.__name__}")
    def run() -> tuple[str, object]:
        return str(flow_run.id), scene(ref)

    heard = _Warnings()
    logger = logging.getLogger("rechain")
    logger.addHandler(heard)
    page._Silence.until = 0.0
    identity, told = run()
    logger.removeHandler(heard)
    return {"scene": scene.__name__, "run": identity, "told": told, "warnings": heard.told}


def _without_a_flow() -> dict[str, object]:
    made: list[str] = []

    def make(_page: page.Page) -> list[Sheet]:
        made.append("made")
        return []

    show("a note", make)
    return {"scene": "no_flow", "run": str(UUID(int=0)), "told": made, "warnings": []}


if __name__ == "__main__":
    page._PATIENCE_S = PATIENCE_S
    here = EnvironmentRef(Path(sys.argv[1]), "acc")
    scenes = (plan, progress, hosts, logins, done, failed, first, second, unmade, gone, hung)
    for each in scenes:
        sys.stdout.write(json.dumps(_run(each, here)) + "\n")
    sys.stdout.write(json.dumps(_without_a_flow()) + "\n")
