"""A rotation is a branch with a merge request, on a bare repository that takes push options; what is unsafe is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rechain.errors import ClaimRefused, RepositoryError
from rechain.phase import Phase
from rechain.rotation import Claim, Direction, Rotation
from tasks.repository.catch_up import bring_up_to_date
from tasks.repository.claim import commit_phase, release_claim, take_claim
from tasks.repository.rotation_yaml import parse_rotation, read_rotation, update_rotation
from tests.environments import Shared, files_in, git, tree

BRANCH = "rechain/acc-g2"
OWNERS = ("ours@laptop:11:1", "theirs@jumphost:22:2")
PHASES = tuple(Phase)


@pytest.fixture
def gitlab(shared: Shared) -> Shared:
    """The remote advertises push options and notes those of every push."""
    git(shared.remote, "config", "receive.advertisePushOptions", "true")
    _hook(shared, "post-receive", 'env | grep "GIT_PUSH_OPTION_.*=merge" >> "$GIT_DIR/options"')
    return shared


def _hook(shared: Shared, name: str, *lines: str) -> None:
    hook = shared.remote / "hooks" / name
    hook.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    hook.chmod(0o755)


def _protect(shared: Shared, *, protected: bool) -> None:
    lines = ("echo 'GitLab: You are not allowed to push code to protected branches' >&2", "exit 1")
    _hook(shared, "pre-receive", *(lines if protected else ("exit 0",)))


def _take(root: Path, owner: str) -> Claim:
    now = datetime.now(UTC)
    return take_claim(root, "acc", direction=Direction.REFRESH, target=Phase.RETIRED, owner=owner, now=now)


def test_every_phase_is_a_commit_on_one_branch_with_one_request(gitlab: Shared) -> None:
    """The branch that is there is gone on with, and each push asks GitLab for the same request into the base branch."""
    claim = _take(gitlab.ours, OWNERS[0])
    files_in(gitlab.ours).certs.write_text("certs: {of: overlap}\n")
    commit_phase(gitlab.ours, "acc", "overlap is deployed")
    release_claim(gitlab.ours, "acc", claim)
    subjects = git(gitlab.remote, "log", "--reverse", "--format=%s", f"dev..{BRANCH}").splitlines()
    assert [line.split()[0] for line in subjects] == ["Claim", "overlap", "Release"]
    options = [line.partition("=")[2] for line in (gitlab.remote / "options").read_text().splitlines()]
    assert options.count("merge_request.create") == len(subjects)
    assert set(options) == {
        "merge_request.create",
        "merge_request.target=dev",
        "merge_request.title=Refresh the certificates of acc",
    }


def test_a_protected_branch_gives_no_claim(gitlab: Shared) -> None:
    """Nothing may act then, and the clone is as it was; once it is allowed the same call goes on."""
    _protect(gitlab, protected=True)
    before = tree(gitlab.ours), git(gitlab.ours, "for-each-ref")
    with pytest.raises(RepositoryError, match="GitLab: You are not allowed to push"):
        _take(gitlab.ours, OWNERS[0])
    assert (tree(gitlab.ours), git(gitlab.ours, "for-each-ref")) == before
    _protect(gitlab, protected=False)
    assert _take(gitlab.ours, OWNERS[0]).number == 1


def test_a_phase_that_can_not_be_pushed_is_kept_here(gitlab: Shared) -> None:
    """certs.yml is what the hosts have: it stays, as all else in the clone, and the same call pushes it later."""
    _take(gitlab.ours, OWNERS[0])
    pushed = git(gitlab.remote, "rev-parse", BRANCH)
    files_in(gitlab.ours).certs.write_text("certs: {of: overlap}\n")
    (gitlab.ours / "notes.txt").write_text("not in Git\n")
    _protect(gitlab, protected=True)
    before = tree(gitlab.ours), git(gitlab.ours, "for-each-ref")
    with pytest.raises(RepositoryError, match="GitLab: You are not allowed to push"):
        commit_phase(gitlab.ours, "acc", "overlap is deployed")
    assert (tree(gitlab.ours), git(gitlab.ours, "for-each-ref")) == before
    assert git(gitlab.remote, "rev-parse", BRANCH) == pushed
    _protect(gitlab, protected=False)
    commit_phase(gitlab.ours, "acc", "overlap is deployed")
    certs = files_in(gitlab.ours).certs.relative_to(gitlab.ours)
    assert git(gitlab.remote, "show", f"{BRANCH}:{certs}") == "certs: {of: overlap}\n"
    assert "notes.txt" not in git(gitlab.remote, "ls-tree", "-r", "--name-only", BRANCH)


def test_a_detached_head_is_no_obstacle_and_stays(gitlab: Shared) -> None:
    """A worker's checkout often stands on a commit: the branch begins there, and the head does not move."""
    git(gitlab.ours, "switch", "--quiet", "--detach", "HEAD")
    head = git(gitlab.ours, "rev-parse", "HEAD")
    claim = _take(gitlab.ours, OWNERS[0])
    release_claim(gitlab.ours, "acc", claim)
    assert git(gitlab.ours, "rev-parse", "HEAD") == head
    assert git(gitlab.ours, "branch", "--show-current") == ""
    assert git(gitlab.remote, "rev-list", "--count", f"{head.strip()}..{BRANCH}") == "2\n"


@pytest.mark.timeout(300)
def test_two_workers_with_a_clone_each_take_every_phase_once(gitlab: Shared) -> None:
    """Both try again and again at the same instant, until the rotation has ended: whoever has the claim advances it."""
    barrier = threading.Barrier(2, timeout=120)
    roots = dict(zip(OWNERS, (gitlab.ours, gitlab.theirs), strict=True))
    acted: list[str] = []
    workers = [threading.Thread(target=_work, args=(root, owner, barrier, acted)) for owner, root in roots.items()]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    history = list(_history(gitlab))
    advances = [subject for subject, _rotation in history if " advances to " in subject]
    assert [line.split()[-1] for line in advances] == [str(phase) for phase in PHASES[1:]]
    assert acted == advances, "nobody acted but those whose claim was accepted"
    for subject, rotation in history:
        if " advances to " in subject:
            assert rotation.claim is not None
            assert rotation.claim.owner == subject.split()[0]
    taken = [rotation.last_claim for subject, rotation in history if subject.startswith("Claim")]
    assert taken == sorted(set(taken)), "every claim has a number of its own, and they only grow"


def _work(root: Path, owner: str, barrier: threading.Barrier, acted: list[str]) -> None:
    """Play a worker: as long as the rotation has not ended, claim it, advance it one phase, and give it back."""
    with suppress(threading.BrokenBarrierError):
        while True:
            barrier.wait()
            with suppress(ClaimRefused):
                bring_up_to_date(root, "acc")
                _advance(root, owner, acted)
            if read_rotation(root, "acc").phase is Phase.RETIRED:
                barrier.abort()
                return


def _advance(root: Path, owner: str, acted: list[str]) -> None:
    claim = _take(root, owner)
    phase = read_rotation(root, "acc").phase
    if phase is not None and phase is not Phase.RETIRED:
        reached = PHASES[PHASES.index(phase) + 1]
        acted.append(f"{owner} advances to {reached}")
        update_rotation(root, "acc", lambda stored: replace(stored, phase=reached))
        commit_phase(root, "acc", f"{owner} advances to {reached}")
    release_claim(root, "acc", claim)


def _history(shared: Shared) -> Iterator[tuple[str, Rotation]]:
    """Every commit of the rotation's branch in its order, with what rotation.yml said."""
    for line in git(
        shared.remote, "log", "--reverse", "--first-parent", "--format=%H %s", f"dev..{BRANCH}"
    ).splitlines():
        commit, _, subject = line.partition(" ")
        yield subject, parse_rotation(git(shared.remote, "show", f"{commit}:rechain/acc/rotation.yml"), subject)
