"""Every fault of a machine in every phase: a named host, a resting point, no login lost, completion after repair."""

from __future__ import annotations

import logging
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from lab.environment import ENVIRONMENT
from lab.login import log_in, read_journal
from lab.watch import summarise
from rechain.certificate import read_certificates
from rechain.fleet import ServiceKind
from rechain.generation import Side
from rechain.phase import Phase
from tasks.fleet.wire import served
from tests.faults.seen import hosts_with, wait_until
from tests.machine_faults import ONE_OF_EACH_KIND, PASSED, STOPPING, STOPPING_LATER, Fault, Moment
from tests.machine_hands import held, installed_by_hand, killed_before_the_reload, times_installed
from tests.machine_runs import a_run, heard, wait_for_the_first
from tests.machine_scene import Scene
from tests.plugins.desk import Desk

_BEFORE = {Phase.OVERLAP: "issued", Phase.SERVERS: "overlap", Phase.CLIENTS: "servers", Phase.RETIRED: "clients"}
_UNWATCHED_MS = 60_000
_log = logging.getLogger(__name__)

pytestmark = pytest.mark.usefixtures("machines_fit")


@pytest.mark.timeout(900)
def test_a_fault_of_each_kind_on_a_machine(new_desk: Callable[..., Desk]) -> None:
    """Network, SSH, file system, privileges, clock and service, one after the other while trust is spread."""
    desk = new_desk(on_machines=True)
    with _watched(desk, Phase.OVERLAP) as scene:
        for fault in ONE_OF_EACH_KIND:
            _stops(desk, scene, fault)
        assert desk.refresh("--until", scene.phase.value)["resting_phase"] == scene.phase.value


@pytest.mark.long
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("phase", _BEFORE)
def test_every_fault_of_a_machine(new_desk: Callable[..., Desk], phase: Phase) -> None:
    """While trust is spread, servers switch, clients switch, and the current chain leaves the bundles."""
    desk = new_desk(on_machines=True)
    if phase is not Phase.OVERLAP:
        desk.to_phase(_BEFORE[phase])
    _open_gates(desk, phase)
    with _watched(desk, phase) as scene:
        _endure(desk, scene)
    _pooler_restarts(scene)


@contextmanager
def _watched(desk: Desk, phase: Phase) -> Iterator[Scene]:
    """Somebody logs in by every path all the time; in the end nobody was refused whom a fault had not cut off."""
    scene = Scene(desk.lab, phase)
    watcher = desk.lab.run_watcher(interval_ms=100)
    yield scene
    assert watcher.lives(), "it ended early, and saw only a part"
    ended_ms = time.time() * 1000
    desk.lab.finish(watcher)
    journal = desk.lab.journal("watch")
    latest = {entry.endpoint: entry.at_ms for entry in read_journal(journal)}
    assert [endpoint for endpoint, at_ms in latest.items() if at_ms < ended_ms - _UNWATCHED_MS] == []
    assert set(latest) >= {str(path) for path in desk.lab.paths}
    seen = summarise(journal)
    assert [each for each in seen.failures if not any(loss.explains(each) for loss in scene.losses)] == []
    assert seen.attempted > 500


def _open_gates(desk: Desk, phase: Phase) -> None:
    """What people do before a phase."""
    if phase is Phase.SERVERS:
        desk.trust()
    elif phase is Phase.RETIRED:
        desk.lab.owner.take_delivery()
        desk.approve("clients")


def _endure(desk: Desk, scene: Scene) -> None:
    """Every fault of one phase, up to its completion."""
    for fault in _in(scene, STOPPING):
        _stops(desk, scene, fault)
    _log.info("%s: installed by hand on %s", scene.phase, scene.lab.primary.name)
    by_hand = installed_by_hand(scene)
    before = times_installed(scene.lab.primary, by_hand)
    _log.info("%s: killed between copy and reload", scene.phase)
    reloaded = killed_before_the_reload(desk, scene)
    for fault in _in(scene, STOPPING_LATER):
        _stops(desk, scene, fault)
        assert scene.reload.times() > reloaded, "the run after one that was killed did not reload"
    _is_completed(desk, scene)
    assert times_installed(scene.lab.primary, by_hand) == before, "what was there by hand was installed again"


def _in(scene: Scene, faults: Sequence[Fault]) -> list[Fault]:
    """Those that are in the way of the scene's phase."""
    return [fault for fault in faults if scene.phase in fault.phases]


def _stops(desk: Desk, scene: Scene, fault: Fault) -> None:
    """The run ends with 1, names the host, what is wrong and where the fleet rests, every mix of which is proven."""
    _log.info("%s: %s", scene.phase, fault.name)
    before = scene.files()
    with ExitStack() as stack:
        if fault.moment is Moment.BEFORE:
            stack.enter_context(fault.happens(scene))
            before = scene.files()
        if fault.moment is Moment.RELOADING:
            stack.enter_context(held(scene, "sleep 3"))
        program = stack.enter_context(a_run(desk, scene.phase))
        if fault.moment is Moment.MIDWAY:
            wait_for_the_first(program, desk.lab.standbys[0].name)
            stack.enter_context(fault.happens(scene))
        if fault.moment is Moment.RELOADING:
            wait_until(scene.begun.exists, "the reload begins", program)
            stack.enter_context(fault.happens(scene))
        said, code = heard(program)
        after = scene.files()
    last = said.splitlines()[-1]
    _log.info("%s", last)
    assert code == 1, f"{fault.name}: exit {code}: {said[-800:]}"
    assert (fault.where or scene.host.name) in last, f"{fault.name}: {last}"
    assert fault.says in last, f"{fault.name}: {last}"
    assert f"rests between phases {_BEFORE[scene.phase]} and {scene.phase}; every mix" in said, fault.name
    status = desk.status()
    assert (status["phase"], status["target"]) == (_BEFORE[scene.phase], scene.phase.value), fault.name
    if fault in STOPPING:
        assert after == before or _is_whole(scene), f"{fault.name}: {sorted(after)}, before {sorted(before)}"


def _is_whole(scene: Scene) -> bool:
    """Whether the host has all that the phase holds for it, and nothing half written: it was faster than the fault."""
    return scene.host.name in hosts_with(scene.lab, scene.lab.repository.deployed())


def _is_completed(desk: Desk, scene: Scene) -> None:
    """With what stops no run going on, the run goes through and tells of it; what it set right is seen from outside."""
    faults = _in(scene, PASSED)
    _log.info("%s: completed in spite of %s", scene.phase, ", ".join(fault.name for fault in faults))
    with ExitStack() as stack:
        for fault in (one for one in faults if one.moment is Moment.BEFORE):
            stack.enter_context(fault.happens(scene))
        program = stack.enter_context(a_run(desk, scene.phase))
        wait_for_the_first(program, desk.lab.standbys[0].name)
        for fault in (one for one in faults if one.moment is Moment.MIDWAY):
            stack.enter_context(fault.happens(scene))
        said, code = heard(program)
    assert code == 0, said[-2000:]
    assert [fault.name for fault in faults if fault.says not in said] == []
    assert desk.status()["phase"] == scene.phase.value
    assert stat.S_IMODE(scene.key.stat().st_mode) == 0o600
    desk.run("verify", ENVIRONMENT)
    _pooler_serves_its_leaf(scene)


def _pooler_serves_its_leaf(scene: Scene) -> None:
    """On the wire, the one that the repository holds for it."""
    (leaf, *_) = served(scene.pool.pooler, kind=ServiceKind.PGBOUNCER)
    held = scene.lab.repository.deployed()[Side.SERVER][scene.pool.name]
    assert leaf == read_certificates(held, "certs.yml")[0]


def _pooler_restarts(scene: Scene) -> None:
    """PgBouncer starts from nothing on the pair that lies there, and lets its clients in."""
    end = "pkill -x 'pgbouncer|haproxy'; while pgrep -x 'pgbouncer|haproxy'; do sleep 0.1; done"
    scene.pool.machine.run("/bin/sh", "-c", end)
    scene.pool.start()
    attempt = log_in(scene.lab.owner.identity, scene.pool.pooler)
    assert attempt.ok, attempt.error
