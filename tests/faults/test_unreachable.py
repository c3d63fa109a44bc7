"""Must-show row 8: a host does not answer in mid-phase; the run stops where it is safe, names it, and continues."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.environment import ENVIRONMENT
from lab.host import Host
from lab.watch import Summary, summarise
from rechain.phase import Phase
from rechain.rotation import Rotation
from tasks.repository.rotation_yaml import read_rotation
from tests.faults.seen import Moment, drain, hosts_with, start_and_wait
from tests.plugins.desk import Desk


@pytest.mark.timeout(900)
def test_a_host_that_ansible_can_not_reach_holds_the_run_between_two_proven_phases(
    new_desk: Callable[..., Desk],
) -> None:
    """While servers get next leaves, ssh to the second of three is refused: exit 1, its name, and nobody is hurt.

    The host before it serves the next leaf, it and the host after it the current one. Reachable again, the same
    command goes on.
    """
    desk = new_desk()
    lab = desk.lab
    watcher = lab.run_watcher()
    desk.to_phase("overlap")
    desk.trust()
    first, lost, last = lab.standbys[0].name, lab.standbys[1].name, lab.primary.name

    run = start_and_wait(desk, Phase.SERVERS, Moment.FIRST_HOST)
    with _unreachable(lab.repository.inventory, lost):
        said = drain(run).splitlines()[-1]
    assert run.returncode == 1, said
    assert said.startswith(f"{lost}: ")
    assert "onnection refused" in said
    assert f"not reached: {last}" in said
    assert "run the same command again" in said
    _require_between(desk, Phase.OVERLAP, Phase.SERVERS)
    assert hosts_with(lab, lab.repository.deployed()) == [first]
    desk.run("verify", ENVIRONMENT, expect=1)

    again = desk.refresh("--until", "servers")
    assert again["resting_phase"] == "servers"
    assert len(hosts_with(lab, lab.repository.deployed())) == len(lab.hosts)
    lab.finish(watcher)
    seen = summarise(lab.journal("watch"))
    assert seen.failures == ()
    assert seen.attempted > 200


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["stopped", pytest.param("hangs", marks=pytest.mark.faults)])
def test_a_server_that_does_not_answer_in_mid_phase_is_named_and_waited_for(
    new_desk: Callable[..., Desk], how: str
) -> None:
    """After the first host has its set, PostgreSQL on the last one stops, or hangs: exit 1, and its name.

    Its files stay as they were, and on the other hosts every login succeeds. When it is back, the same command goes on.
    """
    desk = new_desk()
    lab = desk.lab
    watcher = lab.run_watcher(interval_ms=50)  # each server is asked within the seconds in which one is silent
    lost = lab.primary

    run = start_and_wait(desk, Phase.OVERLAP, Moment.FIRST_HOST)
    with _silenced(lost, how):
        said = drain(run).splitlines()[-1]
    assert run.returncode == 1, said
    assert lost.name in said.split("(")[0]
    _require_between(desk, Phase.ISSUED, Phase.OVERLAP)
    assert lost.name not in hosts_with(lab, lab.repository.deployed())

    again = desk.refresh("--until", "overlap")
    assert again["resting_phase"] == "overlap"
    assert len(hosts_with(lab, lab.repository.deployed())) == len(lab.hosts)
    lab.finish(watcher)
    _require_hurt_only(lost, summarise(lab.journal("watch")))


def _require_between(desk: Desk, resting: Phase, target: Phase) -> None:
    """The run rests between two phases, has given its claim back, and `status` says so."""
    rotation: Rotation = read_rotation(desk.lab.repository.root, ENVIRONMENT)
    assert (rotation.phase, rotation.target, rotation.intent, rotation.claim) == (resting, target, None, None)
    status = desk.status()
    assert (status["phase"], status["target"]) == (resting.value, target.value)


def _require_hurt_only(lost: Host, seen: Summary) -> None:
    """Logins failed on the host that was silent, as they must, and on no other."""
    assert {entry.endpoint for entry in seen.failures} == {str(lost.endpoint)}
    assert seen.attempted - seen.failed > 100


@contextmanager
def _unreachable(inventory: Path, host: str) -> Iterator[None]:
    """Ansible has to reach a host by ssh, on a port where nobody listens."""
    before = inventory.read_text("utf-8")
    content: dict[str, Any] = yaml.safe_load(before)
    variables = content["all"]["children"]["hacluster"]["hosts"][host]
    variables |= {"ansible_connection": "ssh", "ansible_port": 1, "ansible_ssh_timeout": 3}
    inventory.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    try:
        yield
    finally:
        inventory.write_text(before, "utf-8")


@contextmanager
def _silenced(host: Host, how: str) -> Iterator[None]:
    """A host's PostgreSQL is stopped, or hangs: its kernel still accepts connections and nobody answers."""
    if how == "stopped":
        host.server.stop()
        try:
            yield
        finally:
            host.server.start()
        return
    pid = host.server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
