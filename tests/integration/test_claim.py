"""Claims on real Git repositories: two clones of one remote, and one folder without Git."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rechain.errors import ClaimRefused, RepositoryError
from rechain.phase import Phase
from rechain.rotation import Claim, Direction, Rotation
from tasks.repository.catch_up import bring_up_to_date
from tasks.repository.claim import (
    LIFETIME,
    commit_phase,
    refresh_claim,
    release_claim,
    require_claim,
    take_claim,
)
from tasks.repository.generation_yaml import generation_text
from tasks.repository.generations import snapshot
from tasks.repository.intent import deploy_files
from tasks.repository.owner import is_known_dead, this_owner
from tasks.repository.rotation_branch import is_on_base
from tasks.repository.rotation_yaml import parse_rotation, read_rotation, write_rotation
from tasks.repository.settings import read_settings
from tests.chains import NOW
from tests.environments import ISSUED, Environment, Shared, files_in, git, sealed, tree

OURS, THEIRS = "ours@laptop:11:1", "theirs@jumphost:22:2"
BRANCH = "rechain/acc-g2"
PROJECT = Path(__file__).parents[2]


def _take(root: Path, owner: str | None = None, *, take_over: bool = False, minutes: int = 0) -> Claim:
    return take_claim(
        root,
        "acc",
        direction=Direction.REFRESH,
        target=Phase.RETIRED,
        owner=owner,
        take_over=take_over,
        now=NOW + timedelta(minutes=minutes),
    )


def _pushed(shared: Shared, branch: str = BRANCH) -> Rotation:
    return parse_rotation(git(shared.remote, "show", f"{branch}:rechain/acc/rotation.yml"), "pushed")


def test_a_claim_is_pushed_before_it_counts(shared: Shared) -> None:
    """It is a commit on the rotation's branch, made without leaving the branch that the person is on."""
    claim = _take(shared.ours, OURS)
    assert claim == Claim(1, OURS, Direction.REFRESH, Phase.RETIRED, NOW, NOW + LIFETIME)
    assert _pushed(shared).claim == read_rotation(shared.ours, "acc").claim == claim
    assert git(shared.ours, "branch", "--show-current") == "dev\n"
    assert git(shared.remote, "log", "-1", "--format=%s", BRANCH) == f"Claim claim 1: refresh to retired by {OURS}\n"


def test_the_second_of_two_clones_is_refused_and_changes_nothing(shared: Shared) -> None:
    """Must-show row 12: it is told who acts, and its files and the remote stay as they were."""
    _take(shared.ours, OURS)
    before, pushed = tree(shared.theirs), git(shared.remote, "rev-parse", BRANCH)
    with pytest.raises(ClaimRefused, match=f"acc: {OURS} acts on it .refresh to retired, claim 1") as caught:
        _take(shared.theirs, THEIRS)
    assert "\n" not in str(caught.value)
    assert tree(shared.theirs) == before
    assert git(shared.remote, "rev-parse", BRANCH) == pushed


def test_of_two_at_the_same_instant_at_most_one_is_accepted(shared: Shared) -> None:
    """The push decides: whoever comes second has a branch that the remote rejects."""

    def attempt(root: Path, owner: str) -> Claim | ClaimRefused:
        try:
            return _take(root, owner)
        except ClaimRefused as refused:
            return refused

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(attempt, (shared.ours, shared.theirs), (OURS, THEIRS)))
    accepted = [result for result in results if isinstance(result, Claim)]
    assert len(accepted) == 1
    assert _pushed(shared).claim == accepted[0]
    loser = shared.theirs if accepted[0].owner == OURS else shared.ours
    assert read_rotation(loser, "acc") == ISSUED


def test_two_generations_branches_do_not_let_two_act(shared: Shared) -> None:
    """A refresh to generation 3 and a rollback on generation 2's branch push to different branches: one is refused."""
    _take(shared.ours, OURS)
    write_rotation(shared.theirs, "acc", replace(ISSUED, next=3, last_generation=3))
    with pytest.raises(ClaimRefused, match=OURS):
        _take(shared.theirs, THEIRS)
    assert git(shared.remote, "branch", "--list", "rechain/acc-g3") == ""


def test_a_rival_that_appears_during_the_push_makes_one_yield(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A push to another branch between the other clone's look and its push is seen afterwards: it steps back."""
    write_rotation(shared.theirs, "acc", replace(ISSUED, next=3, last_generation=3))
    hook = (
        shared.theirs / ".git" / "hooks" / "pre-push"
    )  # runs after the second clone has looked, before its push arrives
    script = f"import tests.integration.test_claim as t; t._take(t.Path({str(shared.ours)!r}), t.OURS)"
    hook.write_text(f"#!/bin/sh\nrm -f {hook}\ncd {PROJECT} && {sys.executable} -c {script!r} >&2\n")
    hook.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT), prepend=os.pathsep)
    with pytest.raises(ClaimRefused, match=f"{OURS} acts on it"):
        _take(shared.theirs, THEIRS)
    assert _pushed(shared).claim is not None
    assert _pushed(shared, "rechain/acc-g3").claim is None
    assert read_rotation(shared.theirs, "acc").claim is None


def test_taking_over_needs_a_person_s_word_and_the_latest_state(shared: Shared) -> None:
    """Expired or not, a claim of another machine is taken only with --take-over; the number grows."""
    first = _take(shared.ours, OURS)
    deploy_files(shared.ours, "acc", read_rotation(shared.ours, "acc"), "certs: {by: ours}\n", sealed("ours"))
    commit_phase(shared.ours, "acc", "overlap is deployed")
    with pytest.raises(ClaimRefused, match=r"left a claim that expired at .*use --take-over"):
        _take(shared.theirs, THEIRS, minutes=61)
    with pytest.raises(ClaimRefused, match="another clone moved it"):
        _take(shared.theirs, THEIRS, take_over=True, minutes=61)
    assert bring_up_to_date(shared.theirs, "acc") == f"took the state of acc from branch {BRANCH}"
    second = _take(shared.theirs, THEIRS, take_over=True, minutes=61)
    assert second.number == first.number + 1
    assert files_in(shared.theirs).certs.read_text() == "certs: {by: ours}\n"
    files_in(shared.ours).certs.write_text("certs: {by: ours, who: woke up}\n")
    with pytest.raises(ClaimRefused, match="has moved on"):
        commit_phase(shared.ours, "acc", "servers are deployed")
    with pytest.raises(ClaimRefused, match=f"{THEIRS} "):
        refresh_claim(shared.ours, "acc", first, now=NOW)
    git(shared.ours, "fetch", "--quiet")
    with pytest.raises(ClaimRefused, match=f"{THEIRS} took claim 2"):
        commit_phase(shared.ours, "acc", "servers are deployed")
    assert _pushed(shared).claim == second


def test_a_clone_that_is_behind_takes_what_others_did(shared: Shared) -> None:
    """Generations that appeared and files that vanished come over, and what the clone made in vain goes."""
    snapshot(shared.ours, "acc", 1)
    (shared.ours / "rechain" / "acc" / "generation-2").mkdir()
    (shared.ours / "rechain" / "acc" / "generation-2" / "certs.yml").write_text("ours's\n")
    (shared.theirs / "rechain" / "acc" / "generation-2").mkdir()
    (shared.theirs / "rechain" / "acc" / "generation-2" / "certs.vault.yml").write_text(sealed("theirs's"))
    (shared.theirs / "rechain" / "acc" / "generation-2" / "generation.yml").write_text(generation_text("x"))
    release_claim(shared.ours, "acc", _take(shared.ours, OURS))
    assert bring_up_to_date(shared.theirs, "acc")
    assert tree(shared.theirs / "rechain") == tree(shared.ours / "rechain")
    assert bring_up_to_date(shared.theirs, "acc") is None
    assert _take(shared.theirs, THEIRS).number == 2


def test_what_a_person_changed_is_not_overwritten(shared: Shared) -> None:
    """certs.yml may be what is deployed: a version that no history knows stops the update."""
    release_claim(shared.ours, "acc", _take(shared.ours, OURS))
    files_in(shared.theirs).certs.write_text("certs: {edited: by hand}\n")
    before = tree(shared.theirs)
    with pytest.raises(RepositoryError, match="have both moved on"):
        bring_up_to_date(shared.theirs, "acc")
    assert tree(shared.theirs) == before


def test_a_released_claim_is_free_for_all(shared: Shared) -> None:
    """After a run's end the next one needs no person; releasing a lost claim does nothing."""
    claim = _take(shared.ours, OURS)
    assert release_claim(shared.ours, "acc", claim) is None
    assert _pushed(shared).claim is None
    bring_up_to_date(shared.theirs, "acc")
    taken = _take(shared.theirs, THEIRS)
    assert release_claim(shared.ours, "acc", claim) is None
    assert _pushed(shared).claim == taken


def test_a_remote_out_of_reach_gives_no_claim(shared: Shared) -> None:
    """Nothing acts without an accepted claim; releasing tells instead of failing."""
    claim = _take(shared.ours, OURS)
    shared.remote.rename(shared.remote.with_suffix(".away"))
    told = release_claim(shared.ours, "acc", claim)
    assert told is not None
    assert "git" in told
    before = tree(shared.theirs)
    with pytest.raises(RepositoryError, match=r"git fetch origin: fatal: .*check the remote"):
        _take(shared.theirs, THEIRS)
    assert tree(shared.theirs) == before


def test_a_refresh_keeps_the_claim_alive(shared: Shared) -> None:
    """The moment of expiry moves on, here and for everybody; the number stays."""
    claim = _take(shared.ours, OURS)
    fresh = refresh_claim(shared.ours, "acc", claim, now=NOW + timedelta(minutes=30))
    assert (fresh.number, fresh.expires_at) == (claim.number, NOW + timedelta(minutes=90))
    assert _pushed(shared).claim == fresh
    require_claim(shared.ours, "acc", fresh)
    with pytest.raises(ClaimRefused):
        require_claim(shared.ours, "acc", replace(claim, number=0))


def test_without_a_remote_the_same_rules_hold_on_one_machine(alone: Path) -> None:
    """Refused while another lives, taken with a person's word, and by its owner again with a higher number."""
    first = _take(alone, OURS)
    with pytest.raises(ClaimRefused, match=OURS):
        _take(alone, THEIRS)
    assert _take(alone, OURS).number == first.number + 1
    second = _take(alone, THEIRS, take_over=True)
    assert second.number == first.number + 2
    with pytest.raises(ClaimRefused):
        refresh_claim(alone, "acc", first, now=NOW)
    assert release_claim(alone, "acc", second) is None
    assert read_rotation(alone, "acc").claim is None
    assert _take(alone, OURS).number == second.number + 1
    assert is_on_base(alone, "acc", read_settings(alone))
    assert bring_up_to_date(alone, "acc") is None


@pytest.fixture
def process() -> Callable[[], subprocess.Popen[bytes]]:
    """Starts a process that waits to be killed."""
    return lambda: subprocess.Popen(["sleep", "600"])


def test_the_claim_of_a_dead_process_here_needs_nobody_s_word(
    closed_environment: Environment, process: Callable[[], subprocess.Popen[bytes]]
) -> None:
    """While it lives it is respected; killed, even before anyone reaps it, its claim is taken at once."""
    other = process()
    started = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
    owner = f"dba@{socket.gethostname()}:{other.pid}:{started}"
    try:
        _take(closed_environment.root, owner)
        with pytest.raises(ClaimRefused):
            _take(closed_environment.root, THEIRS)
    finally:
        other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert is_known_dead(owner)
    assert _take(closed_environment.root, THEIRS).number == 2
    other.wait()
    assert is_known_dead(owner)


def test_death_is_only_known_of_processes_on_this_machine() -> None:
    """A process elsewhere may live; this one does; one with its number that began at another time is another one."""
    assert not is_known_dead(this_owner())
    assert is_known_dead(f"dba@{socket.gethostname()}:{os.getpid()}:1")
    assert not is_known_dead("dba@elsewhere:99999999:1")
    assert not is_known_dead("not an owner")
