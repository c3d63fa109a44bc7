"""A rotation's branch `rechain/ENV-gN`: a commit a phase, pushed with a merge request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from rechain.errors import ClaimRefused
from rechain.rotation import Rotation
from tasks.repository.git import (
    Clone,
    Committed,
    MovedOn,
    commit_tree,
    fetch_refs,
    git,
    index_of,
    open_clone,
    push,
    remote_ref,
    revision,
)
from tasks.repository.layout import certs_paths, rotation_path, staged_folder, state_folder
from tasks.repository.rotation_yaml import parse_rotation, read_rotation
from tasks.repository.settings import Settings
from tasks.repository.vault import require_encrypted


def branch_name(environment: str, rotation: Rotation) -> str:
    """The branch of the newest generation's rotation, there and back."""
    return f"rechain/{environment}-g{rotation.last_generation}"


def fetch(clone: Clone, environment: str) -> None:
    """Learn what others pushed for an environment.

    Raises:
        RepositoryError: The remote can't be reached.
    """
    if clone.remote is not None:
        pattern = f"rechain/{environment}-g*"
        fetch_refs(clone, f"+refs/heads/{pattern}:{remote_ref(clone, pattern)}")


def remote_rotations(clone: Clone, environment: str) -> dict[str, Rotation]:
    """What rotation.yml says on each rotation branch of an environment, as last fetched: branch to rotation."""
    if clone.remote is None:
        return {}
    prefix = f"refs/remotes/{clone.remote}/"
    listed = git(clone.root, "for-each-ref", "--format=%(refname)", f"{prefix}rechain").stdout.split()
    branches = [name.removeprefix(prefix) for name in listed]
    path = rotation_path(clone.root, environment).relative_to(clone.root)
    return {
        branch: parse_rotation(git(clone.root, "show", f"{prefix}{branch}:{path}").stdout, f"{branch}: {path}")
        for branch in branches
        if re.fullmatch(rf"rechain/{re.escape(environment)}-g\d+", branch)
    }


def commit_files(clone: Clone, environment: str, message: str) -> Committed:
    """Commit an environment's state and its two certs files to the rotation's branch, and push it.

    Returns:
        The commit; the branch's present one when nothing changed.

    Raises:
        ClaimRefused: The remote's branch has moved on: somebody else acts.
        RepositoryError: The push failed for another reason, or a vault is not encrypted.
    """
    stored = read_rotation(clone.root, environment)
    branch = branch_name(environment, stored)
    parent, tree = _tip(clone, branch), _tree(clone, environment, branch)
    _refuse_overtaken(clone, environment, parent, stored)
    if parent is not None and tree == revision(clone.root, f"{parent}^{{tree}}"):
        return Committed(parent, None)
    commit = commit_tree(clone.root, parent, tree, message)
    address = _push(clone, environment, branch, commit)
    _note(clone, environment, branch, commit)
    return Committed(commit, address)


def is_on_base(root: Path, environment: str, settings: Settings, *, fetch: bool = True) -> bool:
    """Whether the ordinary roll-out from the base branch would deploy what the rotation's branch holds.

    The contents of certs.yml and the vault are compared, so that a squashed merge counts too, and a later commit on
    the base branch that undoes it does not. Without a remote there is no base branch that could differ.

    Args:
        root: The clone.
        environment: Its environment.
        settings: Name the remote and the base branch.
        fetch: Ask the remote, instead of trusting what was seen of it last.

    Raises:
        RepositoryError: The remote can't be reached, or has no such base branch.
    """
    clone = open_clone(root, settings)
    if clone is None or clone.remote is None:
        return True
    base = remote_ref(clone, settings.git.base)
    if fetch:
        fetch_refs(clone, f"+refs/heads/{settings.git.base}:{base}")
    tip = _tip(clone, branch_name(environment, read_rotation(root, environment)))
    paths = [path.relative_to(root) for path in certs_paths(root, environment)]
    return tip is not None and all(
        revision(root, f"{tip}:{path}") == revision(root, f"{base}:{path}") for path in paths
    )


def known_to(clone: Clone, branches: Iterable[str], paths: Iterable[Path]) -> bool:
    """Whether remote branches' history holds files as they are here, so that overwriting them loses nothing."""
    refs = [remote_ref(clone, branch) for branch in branches]
    objects = git(clone.root, "rev-list", "--objects", *refs).stdout
    known = {line.split(" ", 1)[0] for line in objects.splitlines()}
    return all(git(clone.root, "hash-object", str(path)).stdout.strip() in known for path in paths if path.exists())


def branch_has(clone: Clone, branch: str, path: Path) -> bool:
    """Whether a remote branch has a file or folder now."""
    return revision(clone.root, f"{remote_ref(clone, branch)}:{path.relative_to(clone.root)}") is not None


def take_files(clone: Clone, branch: str, paths: Iterable[Path], *, but: Path | None = None) -> None:
    """Put a remote branch's version of files and folders into the working tree; what it lacks is removed.

    Args:
        clone: The clone.
        branch: The branch.
        paths: What to take.
        but: A folder that stays as it is here.
    """
    source = remote_ref(clone, branch)
    left_out = [f":(exclude){but.relative_to(clone.root)}"] if but else []
    for path in paths:
        name = str(path.relative_to(clone.root))
        if branch_has(clone, branch, path):
            # known, so that leftovers go too
            git(clone.root, "add", "--force", "--all", "--", name, *left_out, may_fail=True)
            git(clone.root, "restore", f"--source={source}", "--staged", "--worktree", "--", name, *left_out)


def files_of(root: Path, environment: str) -> tuple[Path, ...]:
    """What is committed for an environment: its state and its two certs files."""
    return (state_folder(root, environment), *certs_paths(root, environment))


def _tip(clone: Clone, branch: str) -> str | None:
    """The commit to build on: the remote's branch, else ours, else where the clone stands."""
    remote = [remote_ref(clone, branch)] if clone.remote else []
    candidates = (revision(clone.root, f"{name}^{{commit}}") for name in (*remote, f"refs/heads/{branch}", "HEAD"))
    return next((commit for commit in candidates if commit), None)


def _tree(clone: Clone, environment: str, branch: str) -> str:
    _refuse_plain_vaults(clone.root, environment)
    with index_of(clone.root, _tip(clone, branch)) as index:
        _add(clone.root, environment, index)
        return git(clone.root, "write-tree", extra=index).stdout.strip()


def _add(root: Path, environment: str, index: Mapping[str, str], *, may_fail: bool = False) -> None:
    names = [str(path.relative_to(root)) for path in files_of(root, environment) if path.exists()]
    staged = staged_folder(root, environment).relative_to(root)
    git(root, "add", "--force", "--all", "--", *names, f":(exclude){staged}", extra=index, may_fail=may_fail)


def _refuse_plain_vaults(root: Path, environment: str) -> None:
    _, vault = certs_paths(root, environment)
    for path in (vault, *state_folder(root, environment).glob("*/*.vault.yml")):
        if path.exists():
            require_encrypted(path.read_text(encoding="utf-8"), str(path))


def _refuse_overtaken(clone: Clone, environment: str, parent: str | None, stored: Rotation) -> None:
    """A push on top of what somebody else pushed would be accepted once it is fetched, so the claims are compared."""
    path = rotation_path(clone.root, environment).relative_to(clone.root)
    if parent is None or revision(clone.root, f"{parent}:{path}") is None:
        return
    theirs = parse_rotation(git(clone.root, "show", f"{parent}:{path}").stdout, f"{parent}: {path}")
    if theirs.last_claim > stored.last_claim:
        owner = theirs.claim.owner if theirs.claim else "somebody else"
        raise ClaimRefused(environment, f"{owner} took claim {theirs.last_claim} meanwhile", "see `rechain status`")


def _push(clone: Clone, environment: str, branch: str, commit: str) -> str | None:
    if clone.remote is None:
        return None
    try:
        return push(clone, branch, commit, {"title": f"Refresh the certificates of {environment}"})
    except MovedOn:
        raise ClaimRefused(
            f"branch {branch}", "the remote's has moved on: somebody else acts", "see `rechain status`"
        ) from None


def _note(clone: Clone, environment: str, branch: str, commit: str) -> None:
    """Let the clone know the branch, and the index the files: then a pull of the merged branch finds them in place."""
    names = [f"refs/heads/{branch}"]
    names += [remote_ref(clone, branch)] if clone.remote else []
    for name in names:
        git(clone.root, "update-ref", name, commit)
    _add(clone.root, environment, {}, may_fail=True)  # somebody else's git may hold the index just now
