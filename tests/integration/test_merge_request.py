"""Changes of the chain spec as merge requests, on real Git repositories; what is unsafe is refused, nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.repository.claim import commit_phase
from tests.environments import Shared, files_in, git, tree

SPEC = """\
subject: {C: NL, O: Company, CN: postgres}
intermediates:
  - name: server
    servers: {db1.example.com: [10.0.0.1]}   # the only one
  - name: client
    clients:
    - postgres
    # what the application team asked for
    - applicatie
"""
NAME = "config/chainsmith_acc.yml"
BRANCH = "rechain/acc-add-client-etl"
ADDRESS = "https://gitlab.example.com/dba/environments/-/merge_requests/7"
_RECHAIN = Path(sys.executable).with_name("rechain")


@dataclass(frozen=True)
class Team:
    """Two clones of a remote that takes push options, notes them and tells an address, as GitLab does."""

    shared: Shared

    def config(self, *arguments: str, expect: int = 0, where: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `rechain config add-… acc … --merge-request`; an error is one line."""
        what, *names = arguments
        command = [str(_RECHAIN), "config", what, "acc", *names, "--merge-request", "--repo", str(where or self.ours)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=_environment())
        assert done.returncode == expect, done.stdout + done.stderr
        assert expect == 0 or (done.stdout == "" and done.stderr.count("\n") == 1), done.stdout + done.stderr
        return done

    @property
    def ours(self) -> Path:
        """Where the command runs."""
        return self.shared.ours

    @property
    def remote(self) -> Path:
        """The bare repository."""
        return self.shared.remote

    def hook(self, name: str, *lines: str) -> None:
        """Have the remote run a shell script."""
        hook = self.remote / "hooks" / name
        hook.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        hook.chmod(0o755)

    def state(self) -> tuple[dict[str, bytes], str, str]:
        """Files, branches and status of the clone: what may not change when a command is refused."""
        branches = git(self.ours, "for-each-ref", "refs/heads")
        return tree(self.ours), branches, git(self.ours, "status", "--porcelain")


def _environment() -> dict[str, str]:
    author = {f"GIT_{who}_{what}": "dba@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**os.environ, **author}


@pytest.fixture
def team(shared: Shared) -> Team:
    """The spec is on the base branch; the server is one that takes push options."""
    spec = shared.ours / NAME
    spec.parent.mkdir()
    spec.write_text(SPEC)
    git(shared.ours, "add", NAME)
    git(shared.ours, "commit", "--quiet", "-m", "The chain spec")
    git(shared.ours, "push", "--quiet", "origin", "dev")
    git(shared.remote, "config", "receive.advertisePushOptions", "true")
    team = Team(shared)
    team.hook(
        "post-receive", 'env | grep GIT_PUSH_OPTION_ | sort > "$GIT_DIR/options"', f"echo 'View it: {ADDRESS}' >&2"
    )
    return team


def test_a_change_is_a_branch_of_the_base_branch_with_this_file_alone(team: Team) -> None:
    """Message, push options and address; the working tree, what lies in it and where it stands do not change."""
    (team.ours / "notes.txt").write_text("not in Git\n")
    git(team.ours, "switch", "--quiet", "--create", "elsewhere")
    git(team.ours, "commit", "--quiet", "--allow-empty", "-m", "Something else")
    files, status = tree(team.ours), git(team.ours, "status", "--porcelain")
    said = team.config("add-client", "etl", "--reason", "The nightly load\nlogs in by itself").stdout
    assert ADDRESS in said
    assert "rechain refresh acc --strategy add-clients" in said
    assert git(team.remote, "diff", "--name-only", "dev", BRANCH).split() == [NAME]
    assert git(team.remote, "show", f"{BRANCH}:{NAME}") == SPEC + "    - etl\n"
    assert git(team.remote, "log", "--format=%s", f"dev..{BRANCH}") == "acc: add client etl\n"
    assert "The nightly load" in git(team.remote, "log", "-1", "--format=%b", BRANCH)
    options = (team.remote / "options").read_text()
    for option in (
        "create",
        "target=dev",
        "title=acc: add client etl",
        "description=The nightly load logs in by itself",
    ):
        assert f"=merge_request.{option}\n" in options
    assert (tree(team.ours), git(team.ours, "status", "--porcelain")) == (files, status)
    assert git(team.ours, "branch", "--show-current") == "elsewhere\n"


def test_what_was_squashed_or_closed_is_not_gone_on_with(team: Team) -> None:
    """Merged as another commit it is there already; closed and deleted it is made anew, of what the base holds now."""
    team.config("add-client", "etl")
    theirs = team.shared.theirs
    git(theirs, "pull", "--quiet", "origin", "dev")
    (theirs / NAME).write_text(SPEC + "    - etl\n")
    git(theirs, "commit", "--quiet", "--all", "-m", "Squashed")
    git(theirs, "push", "--quiet", "origin", "HEAD:dev")
    assert "has client etl already" in team.config("add-client", "etl", expect=2).stderr
    team.config("add-client", "batch")
    git(team.remote, "branch", "-D", "rechain/acc-add-client-batch")
    (theirs / NAME).write_text(SPEC + "    - etl\n    - bi\n")
    git(theirs, "commit", "--quiet", "--all", "-m", "Another one")
    git(theirs, "push", "--quiet", "origin", "HEAD:dev")
    team.config("add-client", "batch")
    made = git(team.remote, "show", f"rechain/acc-add-client-batch:{NAME}")
    assert made == SPEC + "    - etl\n    - bi\n    - batch\n"


def test_a_mode_stays_and_a_link_is_left_to_people(team: Team) -> None:
    """What a link points at may be shared with other environments, which this change does not name."""
    git(team.ours, "update-index", "--chmod=+x", NAME)
    git(team.ours, "commit", "--quiet", "-m", "Executable")
    (team.ours / NAME).chmod(0o755)
    git(team.ours, "push", "--quiet", "origin", "dev")
    team.config("add-client", "etl")
    assert git(team.remote, "ls-tree", BRANCH, "--", NAME).startswith("100755 ")
    git(team.ours, "mv", NAME, "shared.yml")
    (team.ours / NAME).symlink_to("../shared.yml")
    git(team.ours, "add", NAME)
    git(team.ours, "commit", "--quiet", "-m", "One for all")
    git(team.ours, "push", "--quiet", "origin", "dev")
    assert "is a symbolic link to ../shared.yml" in team.config("add-client", "batch", expect=2).stderr


def test_a_merged_change_reaches_every_clone_by_a_pull(team: Team) -> None:
    """And the same command then says that it is there."""
    team.config("add-server", "db2.example.com", "10.0.0.2")
    (branch,) = git(team.remote, "branch", "--list", "--format=%(refname:short)", "rechain/*").split()
    git(team.remote, "update-ref", "refs/heads/dev", f"refs/heads/{branch}")
    git(team.ours, "pull", "--quiet", "--ff-only", "origin", "dev")
    assert 'db2.example.com: ["10.0.0.2"]' in (team.ours / NAME).read_text()
    refused = team.config("add-server", "db2.example.com", "10.0.0.2", expect=2)
    assert "has server db2.example.com already" in refused.stderr


def test_a_server_without_push_options_is_asked_plainly(team: Team) -> None:
    """The address that it tells is shown all the same, without a password in it; else the branch."""
    git(team.remote, "config", "receive.advertisePushOptions", "false")
    team.hook("post-receive", "echo 'Create one: https://dba:secret@git.example.com/new?branch=x' >&2")
    said = team.config("add-client", "etl").stdout
    assert "https://***@git.example.com/new?branch=x" in said
    team.hook("post-receive")
    said = team.config("add-client", "batch").stdout
    assert "open it from branch rechain/acc-add-client-batch into dev" in said


@pytest.mark.parametrize("staged", [False, True])
def test_uncommitted_changes_are_refused_and_stay(team: Team, *, staged: bool) -> None:
    """They would be missing from the change, and nobody would notice."""
    (team.ours / NAME).write_text(SPEC.replace("10.0.0.1", "10.0.0.9"))
    if staged:
        git(team.ours, "add", NAME)
    before = team.state()
    refused = team.config("add-client", "etl", expect=2)
    assert f"uncommitted changes ({NAME})" in refused.stderr
    assert team.state() == before
    assert git(team.remote, "branch", "--list", "rechain/*") == ""


def test_a_rotation_under_way_is_no_obstacle(team: Team) -> None:
    """Its files differ from the base branch all the time, and they are rechain's own."""
    files_in(team.ours).certs.write_text("certs: {of: overlap}\n")
    commit_phase(team.ours, "acc", "overlap is deployed")
    before = tree(team.ours)
    team.config("add-client", "etl")
    assert git(team.remote, "diff", "--name-only", "dev", BRANCH).split() == [NAME]
    assert tree(team.ours) == before


def test_a_branch_that_is_ours_is_gone_on_with(team: Team) -> None:
    """Again pushes no second commit; after reviewers changed other lines of it, theirs stay."""
    team.config("add-client", "etl")
    first = git(team.remote, "rev-parse", BRANCH)
    team.config("add-client", "etl")
    assert git(team.remote, "rev-parse", BRANCH) == first
    theirs = team.shared.theirs
    git(theirs, "fetch", "--quiet")
    git(theirs, "switch", "--quiet", BRANCH)
    (theirs / NAME).write_text((theirs / NAME).read_text().replace("- etl", "- etl   # nightly"))
    git(theirs, "commit", "--quiet", "--all", "-m", "Say when")
    git(theirs, "push", "--quiet")
    team.config("add-client", "etl")
    assert "# nightly" in git(team.remote, "show", f"{BRANCH}:{NAME}")


def test_a_branch_of_somebody_else_is_refused(team: Team) -> None:
    """The same name by chance: neither overwritten nor built upon."""
    theirs = team.shared.theirs
    git(theirs, "switch", "--quiet", "--create", BRANCH)
    git(theirs, "commit", "--quiet", "--allow-empty", "-m", "My own")
    git(theirs, "push", "--quiet", "origin", BRANCH)
    before, pushed = team.state(), git(team.remote, "rev-parse", BRANCH)
    refused = team.config("add-client", "etl", expect=2)
    assert "exists, and is not of this change" in refused.stderr
    assert (team.state(), git(team.remote, "rev-parse", BRANCH)) == (before, pushed)


@pytest.mark.parametrize("checked_out", ["branch", "detached"])
def test_a_refused_push_is_told_and_the_work_is_kept(team: Team, checked_out: str) -> None:
    """A protected branch; once it is allowed the same command pushes the same commit. A detached head is fine."""
    if checked_out == "detached":
        git(team.ours, "switch", "--quiet", "--detach", "HEAD")
    team.hook("pre-receive", "echo 'GitLab: You are not allowed to push code to this project.' >&2", "exit 1")
    head, files = git(team.ours, "rev-parse", "HEAD"), tree(team.ours)
    refused = team.config("add-client", "etl", expect=2)
    assert "GitLab: You are not allowed to push code" in refused.stderr
    assert f"kept on branch {BRANCH} here" in refused.stderr
    kept = git(team.ours, "rev-parse", BRANCH)
    assert git(team.ours, "show", f"{BRANCH}:{NAME}") == SPEC + "    - etl\n"
    assert git(team.remote, "branch", "--list", "rechain/*") == ""
    team.hook("pre-receive", "exit 0")
    team.config("add-client", "etl")
    assert git(team.remote, "rev-parse", BRANCH) == kept
    assert (git(team.ours, "rev-parse", "HEAD"), tree(team.ours)) == (head, files)


def test_a_hook_that_says_nothing_is_named(team: Team) -> None:
    """Git itself only says that some refs were not pushed."""
    team.hook("pre-receive", "exit 1")
    refused = team.config("add-client", "etl", expect=2)
    assert "[remote rejected] (pre-receive hook declined)" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_without_a_remote_nothing_is_changed(team: Team) -> None:
    """Nobody could merge it; nor in a folder that is no clone, nor when the remote is gone."""
    gone = team.remote.rename(team.remote.with_name("moved.git"))
    before = team.state()
    assert "git fetch origin" in team.config("add-client", "etl", expect=2).stderr
    assert team.state() == before
    gone.rename(team.remote)
    git(team.ours, "remote", "remove", "origin")
    before = team.state()
    assert "has no remote" in team.config("add-client", "etl", expect=2).stderr
    assert team.state() == before
    (team.ours / ".git").rename(team.ours / "was-git")
    assert "is no Git clone" in team.config("add-client", "etl", expect=2).stderr


def test_a_private_key_in_plain_is_never_committed(team: Team) -> None:
    """Not in the spec, where somebody pasted it, and not in a rotation's certs.yml: one push can't be taken back."""
    key = "".join(
        f"# {line}\n" for line in ("-----BEGIN RSA PRIVATE KEY-----", "c2VjcmV0", "-----END RSA PRIVATE KEY-----")
    )
    (team.ours / NAME).write_text(SPEC + key)
    git(team.ours, "commit", "--quiet", "--all", "-m", "Oops")
    git(team.ours, "push", "--quiet", "origin", "dev")
    before = team.state()
    refused = team.config("add-client", "etl", expect=2)
    assert "holds a private key in plain" in refused.stderr
    assert "c2VjcmV0" not in refused.stderr
    assert team.state() == before
    certs = files_in(team.ours).certs
    certs.write_text(certs.read_text() + key)
    with pytest.raises(Exception, match=r"certs\.yml: holds a private key in plain"):
        commit_phase(team.ours, "acc", "oops")
    assert git(team.remote, "branch", "--list", "rechain/*") == ""


def test_two_clones_that_ask_for_the_same_end_with_one_branch(team: Team) -> None:
    """The second goes on with the first one's; a merged and deleted branch is begun anew from the base."""
    theirs = team.shared.theirs
    git(theirs, "pull", "--quiet", "origin", "dev")
    team.config("add-client", "etl")
    first = git(team.remote, "rev-parse", BRANCH)
    team.config("add-client", "etl", where=theirs)
    assert git(team.remote, "rev-parse", BRANCH) == first


def test_an_invalid_change_leaves_no_branch(team: Team) -> None:
    """Exit 2, one line, nothing changed, here or there."""
    before = team.state()
    assert "has client applicatie already" in team.config("add-client", "applicatie", expect=2).stderr
    assert "64" in team.config("add-client", "a" * 65, expect=2).stderr
    lonely = [str(_RECHAIN), "config", "add-client", "acc", "etl", "--reason", "why", "--repo", str(team.ours)]
    assert subprocess.run(lonely, capture_output=True, timeout=60, check=False).returncode == 2
    assert team.state() == before
    assert git(team.remote, "branch", "--list", "rechain/*") == ""
