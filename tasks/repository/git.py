"""The few Git commands that share an environment repository: no prompts, time limits, no checkout.

Commits go to branches without switching to them: a commit is made of a branch's tree and the files of one change,
through an index of its own. So what else a person has changed in the clone stays out of it, and in place.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rechain.errors import RepositoryError
from tasks.repository.owner import this_owner
from tasks.repository.programs import Finished, find_program, run
from tasks.repository.settings import Git, Settings

_TIMEOUT_S = 120.0
_NOT_OURS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
_PLAIN_KEY = "-----BEGIN (RSA |EC |DSA |OPENSSH )?PRIVATE KEY-----"
_NO_MATCH = 1


class MovedOn(RepositoryError):
    """The remote's branch holds commits that this clone has not: somebody else pushed."""


class Committed(NamedTuple):
    """A commit on a branch.

    Attributes:
        commit: Its id.
        address: Where the remote says that its merge request is, or can be made; None when it told nothing.
    """

    commit: str
    address: str | None


@dataclass(frozen=True, slots=True)
class Clone:
    """A Git clone that is an environment repository.

    Attributes:
        root: Its top folder.
        remote: Name of the remote that is shared with others; None when there is none.
        settings: Base branch and merge requests.
    """

    root: Path
    remote: str | None
    settings: Git


def open_clone(root: Path, settings: Settings) -> Clone | None:
    """Find out whether an environment repository is a Git clone; a folder inside of another clone is none.

    Raises:
        RepositoryError: rechain.yml names a remote that does not exist.
    """
    if not (root / ".git").exists():
        return None
    remotes = git(root, "remote").stdout.split()
    wanted = settings.git.remote
    if wanted is not None and wanted not in remotes:
        raise RepositoryError(
            str(root / "rechain.yml"), f"git.remote names {wanted!r}, which is no remote here", "git remote add it"
        )
    return Clone(root, wanted or ("origin" if "origin" in remotes else None), settings.git)


def fetch_refs(clone: Clone, refspec: str) -> None:
    """Fetch branches of the remote; those that it no longer has are forgotten.

    Raises:
        RepositoryError: The remote can't be reached, or lacks a branch that is named in full.
    """
    finished = git(clone.root, "fetch", "--quiet", "--no-tags", "--prune", str(clone.remote), refspec, may_fail=True)
    if finished.returncode != 0:
        raise RepositoryError(
            f"git fetch {clone.remote}", said(finished), "check the remote and git.base in rechain.yml"
        )


def remote_ref(clone: Clone, branch: str) -> str:
    """Where a clone keeps what it saw last of a branch of its remote."""
    return f"refs/remotes/{clone.remote}/{branch}"


def revision(root: Path, name: str) -> str | None:
    """The object that a name stands for; None when there is none."""
    return git(root, "rev-parse", "--quiet", "--verify", name, may_fail=True).stdout.strip() or None


@contextmanager
def index_of(root: Path, commit: str | None) -> Iterator[Mapping[str, str]]:
    """An index of its own that holds a commit's tree: the variables with which Git uses it."""
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        if commit:
            git(root, "read-tree", commit, extra=index)
        yield index


def commit_tree(root: Path, parent: str | None, tree: str, message: str) -> str:
    """Make a commit that no branch has yet.

    Raises:
        RepositoryError: A file that it would change holds a private key in plain.
    """
    _refuse_plain_keys(root, parent, tree)
    ancestry = ("-p", parent) if parent else ()
    return git(root, *_identity(root), "commit-tree", *ancestry, "-m", message, tree).stdout.strip()


def push(clone: Clone, branch: str, commit: str, request: Mapping[str, str]) -> str | None:
    """Push a commit to a branch of the remote, asking GitLab for a merge request.

    Args:
        clone: Has a remote.
        branch: The branch.
        commit: What it is to hold; the remote's branch must be an ancestor.
        request: GitLab's push options `merge_request.*`, without that prefix. A remote without push options gets a
            plain push.

    Returns:
        The address that the remote told, of the merge request or of the page that makes one; None when it told none.

    Raises:
        MovedOn: The remote's branch is not an ancestor.
        RepositoryError: The push was refused for another reason.

    References: GitLab documentation, "Push options for merge requests".
    """
    wanted = {"create": "", "target": clone.settings.base, **request} if clone.settings.merge_request else {}
    options = [f"merge_request.{name}" + (f"={value}" if value else "") for name, value in wanted.items()]
    target = [str(clone.remote), f"{commit}:refs/heads/{branch}"]
    asking = [argument for option in options for argument in ("-o", option)]
    finished = _push(clone.root, *asking, *target)
    if "does not support push options" in finished.stderr:
        finished = _push(clone.root, *target)
    if finished.returncode == 0:
        return _address(finished)
    refused = [line for line in finished.stdout.splitlines() if line.startswith("!") and "rejected]" in line]
    if refused and "declined" not in refused[0] and "protected" not in refused[0]:
        raise MovedOn(f"branch {branch}", "the remote's has moved on: somebody else pushed", "run the command again")
    raise RepositoryError(
        f"git push {clone.remote}", _declined(finished, refused), "correct that, then run the same command again"
    )


def _push(root: Path, *arguments: str) -> Finished:
    """Push, and once more where the remote hung up in the middle: a race of two ends so, without a word of who won."""
    for _ in range(2):
        finished = git(root, "push", "--porcelain", *arguments, may_fail=True)
        if finished.returncode != -signal.SIGPIPE:
            break
    return finished


def _declined(finished: Finished, refused: Sequence[str]) -> str:
    """Why a push was refused: what the remote's hook says, or that it says nothing."""
    if refused and "remote:" not in finished.stderr:
        return _blotted(refused[0].split("\t")[-1])
    return said(finished)


def said(finished: Finished) -> str:
    """The first line of what git complained about, credentials in an address blotted out."""
    lines = [line for line in finished.stderr.splitlines() if line.startswith(("fatal:", "error:", "remote:"))]
    text = (lines or finished.stderr.splitlines() or [f"ended with code {finished.returncode}"])[0]
    return _blotted(text)


def git(
    root: Path, *arguments: str, extra: Mapping[str, str] | None = None, given: str = "", may_fail: bool = False
) -> Finished:
    """Run git in a clone.

    Args:
        root: The clone's top folder.
        arguments: What follows `git`.
        extra: Further environment variables.
        given: Its standard input.
        may_fail: Whether a failure is the caller's to judge.

    Raises:
        RepositoryError: It failed, or did not end in time.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GCM_INTERACTIVE": "never", "LC_ALL": "C", **(extra or {})}
    environment.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    command = [find_program("git"), "-c", "core.quotepath=off", *arguments]
    finished = run(command, environment=environment, cwd=root, timeout_s=_TIMEOUT_S, given=given)
    if finished.returncode != 0 and not may_fail:
        raise RepositoryError(f"git {arguments[0]}", said(finished), f"correct that in {root}")
    return finished


def _refuse_plain_keys(root: Path, parent: str | None, tree: str) -> None:
    """What is pushed can't be taken back, whatever file it hides in."""
    listing = (
        ("diff-tree", "-r", "--name-only", "--diff-filter=d", parent) if parent else ("ls-tree", "-r", "--name-only")
    )
    changed = git(root, *listing, tree).stdout.splitlines()
    if not changed:
        return
    found = git(
        root, "--literal-pathspecs", "grep", "-a", "-l", "-E", "-e", _PLAIN_KEY, tree, "--", *changed, may_fail=True
    )
    if found.returncode == _NO_MATCH:
        return
    name = found.stdout.partition("\n")[0].removeprefix(f"{tree}:") or "the commit"
    raise RepositoryError(
        str(root / name),
        "holds a private key in plain, and would be committed",
        "encrypt it with `ansible-vault encrypt`",
    )


def _address(finished: Finished) -> str | None:
    """The last address in what the remote says; GitLab tells that of the merge request after all else."""
    remote = "\n".join(line for line in finished.stderr.splitlines() if line.startswith("remote:"))
    addresses = re.findall(r"https?://[^\s'\"<>]+", remote)
    return _blotted(addresses[-1]) if addresses else None


def _blotted(text: str) -> str:
    return re.sub(r"://[^/@\s]+@", "://***@", text)


def _identity(root: Path) -> tuple[str, ...]:
    if git(root, "var", "GIT_COMMITTER_IDENT", may_fail=True).returncode == 0:
        return ()
    return ("-c", "user.name=rechain", "-c", f"user.email={this_owner().split(':', 1)[0]}")
