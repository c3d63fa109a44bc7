"""A change of the chain spec as a merge request: a branch from the base branch that holds this change alone.

The clone's working tree is not touched; the change is there once it is merged and pulled.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rechain.errors import InputError, RepositoryError
from tasks.repository.git import (
    Clone,
    commit_tree,
    fetch_refs,
    git,
    index_of,
    open_clone,
    push,
    remote_ref,
    revision,
)
from tasks.repository.settings import read_settings
from tasks.repository.spec_file import spec_path

_TRAILER = "Rechain-Change"
_LONGEST = 60
_LINK = "120000"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a chain spec.

    Attributes:
        environment: Whose spec.
        what: What is done, as in `add client etl`: names the branch and the merge request.
        why: Why, for those who review it.
        edit: Makes the new text of the spec out of the present one.
        is_in: Whether a text has the change already.
    """

    environment: str
    what: str
    why: str
    edit: Callable[[str], str]
    is_in: Callable[[str], bool]

    @property
    def branch(self) -> str:
        """Its branch; names that Git can't have are told apart by a digest."""
        plain = re.sub(r"[^A-Za-z0-9]+", "-", self.what).strip("-")[:_LONGEST]
        mark = "" if plain == self.what.replace(" ", "-") else "-" + hashlib.sha256(self.what.encode()).hexdigest()[:8]
        return f"rechain/{self.environment}-{plain}{mark}"

    @property
    def mark(self) -> str:
        """The line by which a commit of this change is known as ours."""
        return f"{_TRAILER}: {self.environment}: {self.what}"


@dataclass(frozen=True, slots=True)
class Requested:
    """A merge request that was asked for.

    Attributes:
        branch: Its branch, on the remote and here.
        base: The branch that it is to be merged into.
        address: Where the remote says that it is, or can be made; None when it told nothing.
    """

    branch: str
    base: str
    address: str | None


def request_merge(root: Path, change: Change) -> Requested:
    """Push a change of the chain spec as a branch of its own, and ask for a merge request.

    Side effect: the branch, here and on the remote. Idempotent: a branch that is ours is gone on with. Safe to retry
    after a push that was refused: the commit is kept on the branch here.

    Args:
        root: The environment repository.
        change: What is to be changed.

    Raises:
        InputError: There is no clone with a remote, it holds uncommitted changes, the branch is somebody else's, or
            the spec can't be changed so; nothing was changed.
        RepositoryError: The remote can't be reached, or refused the push.
    """
    clone = _shared(root)
    _refuse_uncommitted(clone)
    base = _fetched(clone, change)
    name = str(spec_path(root, change.environment).relative_to(root))
    _refuse_merged(clone, change, base, name)
    parent = _existing(clone, change, base) or base
    mode = _mode_at(clone, parent, name)
    text = git(clone.root, "show", f"{parent}:{name}").stdout
    commit = parent if parent != base and change.is_in(text) else _commit(clone, change, parent, (mode, name), text)
    git(root, "update-ref", f"refs/heads/{change.branch}", commit)
    if commit == revision(root, remote_ref(clone, change.branch)):  # git dies of a closed pipe where nothing is new
        return Requested(change.branch, clone.settings.base, None)
    title = f"{change.environment}: {change.what}"
    try:
        address = push(clone, change.branch, commit, {"title": title, "description": _one_line(change.why)})
    except RepositoryError as error:
        kept = f"{error.what}; the commit is kept on branch {change.branch} here"
        raise RepositoryError(error.where, kept, error.fix) from None
    git(root, "update-ref", remote_ref(clone, change.branch), commit)
    return Requested(change.branch, clone.settings.base, address)


def _shared(root: Path) -> Clone:
    clone = open_clone(root, read_settings(root))
    if clone is None or clone.remote is None:
        what = "is no Git clone" if clone is None else "has no remote"
        raise InputError(
            str(root), f"{what}, so nobody could merge", "leave out --merge-request, or git remote add one"
        )
    return clone


def _refuse_uncommitted(clone: Clone) -> None:
    """The change is made of what is committed; whoever edited a file meant that to be in it, or forgot it.

    What rechain itself keeps is left out: during a rotation it is committed to a branch of its own.
    """
    ours = (":(exclude)rechain", ":(exclude)environments/*/group_vars/all/certs*.yml")
    told = git(clone.root, "status", "--porcelain", "--untracked-files=no", "--", ".", *ours).stdout.splitlines()
    if told:
        more = f" and {len(told) - 1} more" if len(told) > 1 else ""
        what = f"holds uncommitted changes ({told[0][3:]}{more})"
        raise InputError(str(clone.root), what, "commit or stash them, then run the same command again")


def _fetched(clone: Clone, change: Change) -> str:
    """The base branch's commit, after looking for it and for our branch on the remote."""
    base = clone.settings.base
    fetch_refs(clone, f"+refs/heads/{base}:{remote_ref(clone, base)}")
    pattern = f"rechain/{change.environment}-*"  # a pattern may be without a match, a branch may not
    fetch_refs(clone, f"+refs/heads/{pattern}:{remote_ref(clone, pattern)}")
    commit = revision(clone.root, remote_ref(clone, base))
    if commit is None:
        raise RepositoryError(f"branch {base}", "is not on the remote", "correct git.base in rechain.yml")
    return commit


def _refuse_merged(clone: Clone, change: Change, base: str, name: str) -> None:
    """Squashed or not: what the base branch has already is asked for nobody a second time."""
    _mode_at(clone, base, name)
    text = git(clone.root, "show", f"{base}:{name}").stdout
    if change.is_in(text):
        change.edit(text)  # says what is there already
        raise InputError(name, f"has it already on branch {clone.settings.base}: {change.what}", "git pull")


def _existing(clone: Clone, change: Change, base: str) -> str | None:
    """Where our branch stands, on the remote or here; None when there is none, it is merged, or the base moved on.

    The last is about a commit that is here alone: its push was refused once, or its merge request was closed and its
    branch deleted. It is made anew on what the base branch holds by now.
    """
    for ref in (remote_ref(clone, change.branch), f"refs/heads/{change.branch}"):
        commit = revision(clone.root, ref)
        if commit is None or _is_ancestor(clone, commit, base):
            continue
        marked = git(clone.root, "log", "--format=%B", f"{base}..{commit}").stdout.splitlines()
        if change.mark not in marked:
            raise InputError(
                f"branch {change.branch}", "exists, and is not of this change", "rename or delete it, then run again"
            )
        is_here_alone = ref.startswith("refs/heads/")
        return None if is_here_alone and _is_one_commit_behind(clone, commit, base) else commit
    return None


def _is_one_commit_behind(clone: Clone, commit: str, base: str) -> bool:
    """Whether it is a single commit on an older state of the base branch: nobody has added to it."""
    count = git(clone.root, "rev-list", "--count", f"{base}..{commit}").stdout.strip()
    return count == "1" and revision(clone.root, f"{commit}^") != base


def _is_ancestor(clone: Clone, commit: str, of: str) -> bool:
    return git(clone.root, "merge-base", "--is-ancestor", commit, of, may_fail=True).returncode == 0


def _mode_at(clone: Clone, commit: str, name: str) -> str:
    """The mode of a file in a commit, as Git writes it."""
    entry = git(clone.root, "ls-tree", commit, "--", name).stdout
    if not entry:
        raise InputError(name, f"is not on branch {clone.settings.base} of the remote", "merge it there first")
    mode = entry.split()[0]
    if mode == _LINK:
        target = git(clone.root, "show", f"{commit}:{name}").stdout
        raise InputError(name, f"is a symbolic link to {target}", "leave out --merge-request, and commit by hand")
    return mode


def _commit(clone: Clone, change: Change, parent: str, entry: tuple[str, str], text: str) -> str:
    """A commit with the edited text; `entry` is mode and path."""
    edited = change.edit(text)
    if git(clone.root, "for-each-ref", "--format=%(worktreepath)", f"refs/heads/{change.branch}").stdout.strip():
        raise InputError(f"branch {change.branch}", "is checked out here", f"git switch {clone.settings.base}")
    blob = git(clone.root, "hash-object", "-w", "--stdin", given=edited).stdout.strip()
    with index_of(clone.root, parent) as index:
        git(clone.root, "update-index", "--cacheinfo", ",".join((entry[0], blob, entry[1])), extra=index)
        tree = git(clone.root, "write-tree", extra=index).stdout.strip()
    message = f"{change.environment}: {change.what}\n\n{change.why}\n\n{change.mark}\n"
    return commit_tree(clone.root, parent, tree, message)


def _one_line(text: str) -> str:
    """Push options hold no newline."""
    return " ".join(text.split())
