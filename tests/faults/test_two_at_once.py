"""Must-show row 12: two runs want one environment at once, from one clone, from two, and with a claim that is stale."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.environment import ENVIRONMENT, Repository
from lab.fleet import Lab
from lab.watch import summarise
from rechain.phase import Phase
from tasks.repository.rotation_yaml import read_rotation
from tests.environments import git
from tests.faults.seen import (
    Moment,
    claims,
    drain,
    freeze,
    generations,
    hosts_with,
    start_and_wait,
)
from tests.plugins.desk import WAITING, Desk


@pytest.mark.timeout(900)
def test_of_two_refreshes_of_one_clone_one_acts(new_desk: Callable[..., Desk], tmp_path: Path) -> None:
    """Started at the same instant, one chain is issued, one run acts, and the other is told who does: exit 2.

    A run that hangs is respected until a person says --take-over; when it wakes up it changes nothing any more. A copy
    of the repository that nobody else knows of holds a lower claim: the hosts themselves refuse it.
    """
    desk = new_desk()
    lab = desk.lab
    watcher = lab.run_watcher()
    copy = Path(shutil.copytree(lab.repository.root, tmp_path / "copy"))

    _start_two_at_once(desk)
    _hang_and_be_overtaken(desk)
    _refuse_stale_claim(desk, copy)
    lab.finish(watcher)
    assert summarise(lab.journal("watch")).failures == ()


@pytest.mark.timeout(900)
def test_a_rollback_from_another_clone_acts_on_no_host_while_a_refresh_does(
    new_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    """Two clones of one remote: a rollback and a refresh are refused with exit 2 while a refresh acts elsewhere.

    They name the owner and change nothing in their clone's certs files. The fleet is not taken further than the base
    branch. When the refresh has ended, the rollback takes
    over its state from the remote and walks it back: certs.yml and vault are as before, and no login failed.
    """
    desk = new_desk()
    lab = desk.lab
    watcher = lab.run_watcher()
    ours = lab.repository
    theirs = Repository(_shared(ours, tmp_path), ours.password_file)
    before = _files(theirs)

    refresh = start_and_wait(desk, Phase.OVERLAP, Moment.FIRST_HOST)
    for command in ("rollback", "refresh"):
        refused = desk.run(command, ENVIRONMENT, "--yes", repo=theirs.root, expect=2)
        _require_named(refused.stderr, refresh)
    said = drain(refresh)
    assert refresh.returncode == 0, said
    assert claims(lab) == {1}
    assert len(hosts_with(lab, ours.deployed())) == len(lab.hosts)

    desk.trust()
    waits = desk.json("refresh", ENVIRONMENT, "--yes", "--until", "servers", expect=WAITING)
    assert [one["gate"] for one in waits["waiting_for"]] == ["base-branch"], "the phase is not merged yet"
    assert [one["gate"] for one in desk.status()["waiting_for"]] == ["base-branch"]

    desk.run("rollback", ENVIRONMENT, "--yes", repo=theirs.root)
    assert read_rotation(theirs.root, ENVIRONMENT).phase is Phase.ISSUED
    assert _files(theirs) == before
    assert len(hosts_with(lab, theirs.deployed())) == len(lab.hosts)
    assert len(claims(lab)) == 2
    lab.finish(watcher)
    assert summarise(lab.journal("watch")).failures == ()


def _start_two_at_once(desk: Desk) -> None:
    """From rest: both would issue, both would move."""
    runs = [desk.start("refresh", ENVIRONMENT, "--yes", "--until", "overlap") for _ in range(2)]
    said = [drain(run) for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 2], said
    loser = [run.returncode for run in runs].index(2)
    _require_named(said[loser], runs[1 - loser])
    assert set(generations(desk.lab.repository.root)) == {"generation-1", "generation-2"}
    assert claims(desk.lab) == {1}, "a second run acted on a host"
    desk.run("verify", ENVIRONMENT)


def _hang_and_be_overtaken(desk: Desk) -> None:
    """A run hangs in mid-phase, another takes over and ends the phase, the first one wakes up."""
    desk.trust()
    root = desk.lab.repository.root
    hung = start_and_wait(desk, Phase.SERVERS, Moment.WRITTEN)
    freeze(hung, root)
    try:
        refused = desk.run("refresh", ENVIRONMENT, "--yes", "--until", "servers", expect=2)
        _require_named(refused.stderr, hung)
        assert "--take-over" in refused.stderr
        assert desk.refresh("--until", "servers", "--take-over")["resting_phase"] == "servers"
        after = read_rotation(root, ENVIRONMENT), _files(desk.lab.repository), _served(desk.lab)
    finally:
        os.killpg(hung.pid, signal.SIGCONT)
    said = drain(hung)
    assert hung.returncode in (1, 2), said
    assert "claim" in said.splitlines()[-1]
    assert (read_rotation(root, ENVIRONMENT), _files(desk.lab.repository), _served(desk.lab)) == after


def _refuse_stale_claim(desk: Desk, copy: Path) -> None:
    """The hosts have seen claim 3; a copy without a remote starts from claim 1, with a chain of its own."""
    before, seen = _served(desk.lab), claims(desk.lab)
    refused = desk.run("refresh", ENVIRONMENT, "--yes", "--until", "overlap", repo=copy, expect=1)
    said = refused.stderr.splitlines()[-1]
    assert "claim 1 is refused: this host has seen claim" in said
    assert "somebody else moves this environment" in said
    assert (_served(desk.lab), claims(desk.lab)) == (before, seen)


def _require_named(said: str, owner: subprocess.Popen[str]) -> None:
    """The last line names the process that acts, and how long the claim holds."""
    last = said.splitlines()[-1]
    assert f":{owner.pid}:" in last, said
    assert "acts on it" in last


def _served(lab: Lab) -> dict[str, str]:
    """Every certificate file on every host."""
    return {str(path): path.read_text("ascii") for host in lab.hosts for path in host.server.directory.rglob("*.crt")}


def _files(repository: Repository) -> tuple[str, str]:
    return repository.certs.read_text("utf-8"), repository.vault.read_text("utf-8")


def _shared(repository: Repository, tmp_path: Path) -> Path:
    """Put the repository under Git with a remote, and clone it."""
    remote, clone = tmp_path / "remote.git", tmp_path / "theirs"
    repository.commit("As chainsmith made it")
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=dev", str(remote))
    git(repository.root, "remote", "add", "origin", str(remote))
    git(repository.root, "push", "--quiet", "origin", "dev")
    git(tmp_path, "clone", "--quiet", str(remote), str(clone))
    return clone
