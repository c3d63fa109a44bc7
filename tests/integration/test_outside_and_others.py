"""What an outside CA is asked for, and what it gave, is not lost to what another clone does meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rechain.errors import RechainError, RepositoryError
from rechain.generation import Side
from rechain.phase import Phase
from rechain.rotation import Direction
from tasks.discard import discard_next_generation
from tasks.generate import issue_next_generation
from tasks.import_certificates import import_certificates
from tasks.repository.catch_up import bring_up_to_date
from tasks.repository.claim import commit_phase, release_claim, take_claim
from tasks.repository.generations import read_generation
from tasks.repository.rotation_yaml import read_rotation, store_rotation
from tasks.request_certificates import Asked, discard_requests, request_certificates
from tasks.state import EnvironmentRef
from tests.environments import SPEC, files_in, git, make_environment, tree
from tests.outside_ca import OutsideCa


@dataclass(frozen=True)
class Two:
    """Two clones of one remote, and the CA that signs."""

    remote: Path
    ours: EnvironmentRef
    theirs: EnvironmentRef
    authority: OutsideCa

    @property
    def requests(self) -> Path:
        """Our requests."""
        return self.ours.root / "rechain" / "acc" / "requests"

    def ask(self) -> None:
        """Make requests for everything."""
        request_certificates.fn(self.ours, Asked())

    def take(self, *, take_over: bool = False) -> int:
        """Import what the CA gave."""
        signed = self.authority.sign_all(sorted(self.requests.glob("*.csr")), self.ours.root.parent / "returned.pem")
        return import_certificates.fn(self.ours, (signed, *self.authority.chain), take_over=take_over).number


def _move(ref: EnvironmentRef) -> None:
    """Something that takes a claim and pushes, such as the nightly lists."""
    claim = take_claim(ref.root, "acc", direction=Direction.REFRESH, target=Phase.RETIRED, now=datetime.now(UTC))
    release_claim(ref.root, "acc", claim)


@pytest.fixture
def two(tmp_path: Path, vault_password: Path) -> Two:
    """An adopted environment."""
    remote, ours, theirs = (tmp_path / name for name in ("remote.git", "ours", "theirs"))
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=dev", str(remote))
    make_environment(ours)
    (ours / "config").mkdir()
    (ours / "config" / "chainsmith_acc.yml").write_text(SPEC)
    git(ours, "init", "--quiet", "--initial-branch=dev")
    git(ours, "remote", "add", "origin", str(remote))
    git(ours, "add", "--all")
    git(ours, "commit", "--quiet", "-m", "As chainsmith made it")
    git(ours, "push", "--quiet", "origin", "dev")
    git(tmp_path, "clone", "--quiet", str(remote), str(theirs))
    authority = OutsideCa.root(tmp_path / "root").below(tmp_path / "issuing")
    return Two(remote, EnvironmentRef(ours, "acc"), EnvironmentRef(theirs, "acc"), authority)


@pytest.mark.parametrize("is_committed", [False, True])
def test_requests_outlive_what_another_clone_does(two: Two, *, is_committed: bool) -> None:
    """The keys are in them alone; committed to a branch of people or not, and the answer is taken after it."""
    two.ask()
    if is_committed:
        git(two.ours.root, "add", "--all")
        git(two.ours.root, "commit", "--quiet", "-m", "Requests")
        git(two.ours.root, "push", "--quiet", "origin", "dev")
    before = tree(two.requests)
    _move(two.theirs)
    assert bring_up_to_date(two.ours.root, "acc")
    assert tree(two.requests) == before
    assert read_rotation(two.ours.root, "acc").last_claim == 1
    assert two.take() == 2


def test_an_imported_generation_is_everybody_s_at_once(two: Two) -> None:
    """The other clone finds it, and nothing that it does takes it away."""
    two.ask()
    assert two.take() == 2
    held = read_generation(two.ours.root, "acc", 2)
    assert bring_up_to_date(two.theirs.root, "acc")
    assert read_rotation(two.theirs.root, "acc").next == 2
    _move(two.theirs)
    assert bring_up_to_date(two.ours.root, "acc")
    assert read_generation(two.ours.root, "acc", 2) == held
    assert not two.requests.exists()


def test_an_import_is_refused_where_another_clone_has_begun_already(two: Two) -> None:
    """Before anything is made of it, and the requests wait on."""
    two.ask()
    before = tree(two.requests)
    issue_next_generation.fn(two.theirs)
    _move(two.theirs)
    with pytest.raises(RechainError, match="generation 2 is not rolled out yet"):
        two.take()
    assert tree(two.requests) == before


def test_nothing_is_asked_or_taken_while_another_clone_acts(two: Two) -> None:
    """Its claim would be copied, and outlive it here; when it has ended, what it did is taken first."""
    two.ask()
    before = tree(two.requests)
    claim = take_claim(
        two.theirs.root, "acc", direction=Direction.REFRESH, target=Phase.RETIRED, owner="dba@worker:1:1",
        now=datetime.now(UTC),
    )  # fmt: skip
    for act in (two.take, two.ask):
        with pytest.raises(RechainError, match="dba@worker:1:1 acts on it"):
            act()
    assert tree(two.requests) == before
    certs = files_in(two.theirs.root).certs
    certs.write_text(certs.read_text() + "# what it did\n")
    commit_phase(two.theirs.root, "acc", "something was done")
    release_claim(two.theirs.root, "acc", claim)
    assert two.take() == 2
    assert files_in(two.ours.root).certs.read_text().endswith("# what it did\n")


def test_a_claim_that_a_dead_run_left_is_taken_on_a_person_s_word(two: Two) -> None:
    """Nothing is lost before that: not even what was to be dropped."""
    two.ask()
    before = tree(two.requests)
    when, owner = datetime.now(UTC) - timedelta(days=9), "dba@gone:1:1"
    take_claim(two.theirs.root, "acc", direction=Direction.REFRESH, target=Phase.RETIRED, owner=owner, now=when)
    for act in (two.take, lambda: discard_requests.fn(two.ours)):
        with pytest.raises(RechainError, match="left a claim that expired") as told:
            act()
        assert "--take-over" in told.value.fix
    assert tree(two.requests) == before
    assert two.take(take_over=True) == 2
    assert bring_up_to_date(two.theirs.root, "acc")
    assert read_rotation(two.theirs.root, "acc").next == 2


def test_what_a_killed_run_had_not_pushed_is_not_overwritten_by_what_it_had(two: Two) -> None:
    """Of the same claim the branch is behind then."""
    root = two.ours.root
    take_claim(root, "acc", direction=Direction.REFRESH, target=Phase.RETIRED, now=datetime.now(UTC))
    stored = read_rotation(root, "acc")
    store_rotation(root, "acc", replace(stored, reached_at=datetime.now(UTC)))
    before = tree(root)
    assert bring_up_to_date(root, "acc") is None
    assert tree(root) == before


def test_requests_that_are_dropped_are_dropped_for_everybody(two: Two) -> None:
    """Where another clone made others, one of the two has to go; the advice says where."""
    two.ask()
    _move(two.ours)
    request_certificates.fn(two.theirs, Asked(sides=(Side.SERVER, Side.CLIENT)))
    assert tree(two.theirs.root / "rechain" / "acc" / "requests") == tree(two.requests), "they are found, not made anew"
    discard_requests.fn(two.ours)
    assert bring_up_to_date(two.theirs.root, "acc")
    assert not (two.theirs.root / "rechain" / "acc" / "requests").exists()


def test_an_imported_generation_that_was_discarded_elsewhere_stops_nobody(two: Two) -> None:
    """Its files are on the branch of its own rotation."""
    two.ask()
    two.take()
    assert bring_up_to_date(two.theirs.root, "acc")
    discard_next_generation.fn(two.ours)
    issue_next_generation.fn(two.ours, own_ca=True)
    _move(two.ours)
    assert bring_up_to_date(two.theirs.root, "acc")
    assert read_rotation(two.theirs.root, "acc").next == 3


def test_an_import_that_can_not_be_shared_says_so_and_is_kept(two: Two) -> None:
    """It is made by then; whatever others do before it is shared does not take it away."""
    two.ask()
    hook = two.remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(RechainError, match="generation 2 is issued here, but not shared") as told:
        two.take()
    assert told.value.exit_code == 1
    hook.unlink()
    held = tree(two.ours.root / "rechain")
    _move(two.theirs)
    with pytest.raises(RepositoryError, match="have both moved on"):
        bring_up_to_date(two.ours.root, "acc")
    assert tree(two.ours.root / "rechain") == held
