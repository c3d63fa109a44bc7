"""Must-show row 5: a run is killed with SIGKILL from outside, at moments seen from outside, and started again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from lab.environment import ENVIRONMENT
from lab.processes import Process
from lab.watch import summarise
from rechain.phase import Phase
from tasks.repository.rotation_yaml import read_rotation
from tests.faults.seen import Moment, Victim, generations, hosts_with, kill, start_and_wait, wait_until
from tests.plugins.desk import Desk

_MOVES = (Phase.OVERLAP, Phase.SERVERS, Phase.CLIENTS, Phase.RETIRED)
_QUICK = {
    Phase.OVERLAP: [(Moment.FIRST_HOST, Victim.TREE)],
    Phase.SERVERS: [(Moment.WRITTEN, Victim.RUN)],
    Phase.RETIRED: [(Moment.FIRST_HOST, Victim.RUN), (Moment.UNRECORDED, Victim.TREE)],
}


@pytest.mark.timeout(900)
def test_a_rotation_that_is_killed_and_started_again_ends_as_if_it_had_not_been(
    new_desk: Callable[..., Desk],
) -> None:
    """Killed in three of its phases, the last one twice: nobody fails to log in, and there is one next CA."""
    _rotate_under_fire(new_desk(), _QUICK)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("victim", list(Victim), ids=["run", "tree"])
def test_every_phase_survives_a_kill_at_every_moment(new_desk: Callable[..., Desk], victim: Victim) -> None:
    """Twelve kills in one rotation: in each phase after the write, after the first host, and before the record."""
    _rotate_under_fire(new_desk(), {phase: [(moment, victim) for moment in Moment] for phase in _MOVES})


def _rotate_under_fire(desk: Desk, kills: Mapping[Phase, Sequence[tuple[Moment, Victim]]]) -> None:
    """Take a fleet through a rotation, killing the run on the way, while somebody else watches the logins."""
    lab = desk.lab
    watcher = lab.run_watcher()
    orphans: list[Process] = []
    _kill_while_issuing(desk)
    report = desk.refresh("--until", "issued")
    issued = generations(lab.repository.root)
    assert set(issued) == {"generation-1", "generation-2"}

    for phase in _MOVES:
        _open_gates(desk, phase)
        for moment, victim in kills.get(phase, ()):
            orphans += _kill_at(desk, phase, moment, victim)
        report = desk.refresh("--until", phase.value)
        assert report["resting_phase"] == phase.value

    assert generations(lab.repository.root) == issued, "another CA was issued on the way"
    assert [one["name"] for one in report["phases"]] == ["issued", *_MOVES]
    assert report["retired_refused"] is True
    assert report["canary"]["failed"] == 0
    _require_end_state(desk)
    wait_until(lambda: not any(orphan.lives() for orphan in orphans), "what killed runs had started ends", limit_s=60)
    lab.finish(watcher)
    seen = summarise(lab.journal("watch"))
    assert seen.failures == ()
    assert seen.attempted > 200


def _kill_while_issuing(desk: Desk) -> None:
    """Before a phase: when the folder of the next generation appears, recorded or not."""
    program = desk.start("refresh", ENVIRONMENT, "--yes", "--until", "issued")
    folder = desk.lab.repository.root / "rechain" / ENVIRONMENT / "generation-2"
    wait_until(folder.exists, "the next generation's folder", program)
    kill(program, Victim.RUN)


def _kill_at(desk: Desk, phase: Phase, moment: Moment, victim: Victim) -> list[Process]:
    orphans = kill(start_and_wait(desk, phase, moment), victim)
    rotation = read_rotation(desk.lab.repository.root, ENVIRONMENT)
    assert rotation.target is phase, f"{phase}: the kill came too late to be {moment}"
    assert rotation.claim is not None, "a killed run can't have given its claim back"
    done = len(hosts_with(desk.lab, desk.lab.repository.deployed()))
    if moment is Moment.FIRST_HOST:
        assert 0 < done < len(desk.lab.hosts)
    if moment is Moment.UNRECORDED:
        assert done == len(desk.lab.hosts)
    return orphans


def _open_gates(desk: Desk, phase: Phase) -> None:
    if phase is Phase.SERVERS:
        desk.trust()
    if phase is Phase.RETIRED:
        desk.lab.owner.take_delivery()
        desk.approve("clients")


def _require_end_state(desk: Desk) -> None:
    """What a rotation that nobody disturbed leaves behind, in the repository, on the hosts and on the wire."""
    lab = desk.lab
    rotation = read_rotation(lab.repository.root, ENVIRONMENT)
    assert (rotation.phase, rotation.current, rotation.next) == (Phase.RETIRED, 2, None)
    assert (rotation.target, rotation.intent, rotation.claim) == (None, None, None)
    assert len(hosts_with(lab, lab.repository.deployed())) == len(lab.hosts)
    status = desk.status()
    assert [(one["generation"], one["problem"]) for one in status["observed"]] == [(2, None)] * len(lab.hosts)
    desk.run("verify", ENVIRONMENT)
    state = lab.repository.root / "rechain" / ENVIRONMENT
    assert not (state / "staged").exists()
    assert not (state / "generation-1" / "certs.vault.yml").exists(), "keys of the retired generation are kept"
    assert [path for host in lab.hosts for path in host.state_directory.glob("pending-*")] == []
