"""Every fault of a machine in every phase: a named host, a resting point, no login lost, completion after repair."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.environment import ENVIRONMENT
from lab.login import Entry
from lab.watch import summarise
from rechain.phase import Phase
from tests.faults.seen import drain
from tests.machine_faults import SET_RIGHT, STOPPING, Fault, Scene
from tests.plugins.desk import Desk

_BEFORE = {Phase.OVERLAP: "issued", Phase.SERVERS: "overlap", Phase.CLIENTS: "servers", Phase.RETIRED: "clients"}

pytestmark = pytest.mark.usefixtures("machines_fit")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_fault_of_a_machine_while_trust_is_spread(new_desk: Callable[..., Desk], faketime: Path) -> None:
    """Phase overlap: the run names the host and what is wrong, and goes on once that is repaired."""
    _move_through(new_desk(on_machines=True), [Phase.OVERLAP], faketime)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_fault_of_a_machine_in_every_later_phase(new_desk: Callable[..., Desk], faketime: Path) -> None:
    """While servers switch, while clients switch, and while the current chain leaves the bundles."""
    desk = new_desk(on_machines=True)
    desk.to_phase("overlap")
    _move_through(desk, [Phase.SERVERS, Phase.CLIENTS, Phase.RETIRED], faketime)


def _move_through(desk: Desk, phases: Sequence[Phase], faketime: Path) -> None:
    with _watched(desk) as (hurt, allowed):
        for phase in phases:
            scene = Scene(desk.lab, phase, faketime)
            _open_gates(desk, phase)
            for fault in STOPPING:
                if phase not in fault.not_in:
                    _stops(desk, scene, fault)
            _is_completed(desk, scene)
        allowed.add(f"{desk.lab.standbys[1].name}:5432")
    assert {entry.endpoint for entry in hurt} <= allowed, hurt[:5]


@contextmanager
def _watched(desk: Desk) -> Iterator[tuple[list[Entry], set[str]]]:
    """What failed of all logins by every path, known at the end; and on which endpoints that may be."""
    watcher = desk.lab.run_watcher(interval_ms=100)
    hurt: list[Entry] = []
    yield hurt, set()
    desk.lab.finish(watcher)
    seen = summarise(desk.lab.journal("watch"))
    hurt += seen.failures
    assert seen.attempted > 500


def _open_gates(desk: Desk, phase: Phase) -> None:
    """What people do before a phase."""
    if phase is Phase.SERVERS:
        desk.trust()
    elif phase is Phase.RETIRED:
        desk.lab.owner.take_delivery()
        desk.approve("clients")


def _stops(desk: Desk, scene: Scene, fault: Fault) -> None:
    """The run ends with 1, names the host and what is wrong; the fleet rests where every mix is proven."""
    if fault.midway:
        program = desk.start("refresh", ENVIRONMENT, "--yes", "--until", scene.phase.value)
        _wait_for_the_first(program, desk.lab.standbys[0].name)
        with fault.happens(scene):
            said, code = drain(program), program.returncode
    else:
        with fault.happens(scene):
            done = desk.run("refresh", ENVIRONMENT, "--yes", "--until", scene.phase.value, expect=None)
        said, code = done.stderr, done.returncode
    last = said.splitlines()[-1]
    assert code == 1, f"{fault.name}: exit {code}: {said[-800:]}"
    assert scene.host.name in last, f"{fault.name}: {last}"
    assert fault.says in last, f"{fault.name}: {last}"
    status = desk.status()
    assert (status["phase"], status["target"]) == (_BEFORE[scene.phase], scene.phase.value), fault.name


def _wait_for_the_first(program: subprocess.Popen[str], host: str) -> None:
    """Until the first host has its set, and its services have proven it."""
    assert program.stderr is not None
    said = []
    for line in program.stderr:
        said.append(line)
        if f"{host}: installed" in line or f"{host}: unchanged" in line:
            return
    raise AssertionError("".join(said))


def _is_completed(desk: Desk, scene: Scene) -> None:
    """What the run sets right by itself is done to it, and then it completes."""
    for fault in SET_RIGHT:
        if scene.phase not in fault.not_in:
            with fault.happens(scene):
                pass
    assert desk.refresh("--until", scene.phase.value)["resting_phase"] == scene.phase.value
    assert stat.S_IMODE(scene.key.stat().st_mode) == 0o600
    verified: subprocess.CompletedProcess[str] = desk.run("verify", ENVIRONMENT)
    assert verified.returncode == 0
