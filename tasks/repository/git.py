"""The few Git commands that share an environment's state: no prompts, time limits, no checkout.

A rotation's commits go to the branch `rechain/ENV-gN` without switching to it: a commit is made of the branch's tree
and this environment's files, through an index of its own. So rotations of two environments run from one clone, and
what else a person has changed in it stays out.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rechain.errors import ClaimRefused, RepositoryError
from rechain.rotation import Rotation
from tasks.repository.layout import certs_paths, rotation_path, staged_folder, state_folder
from tasks.repository.owner import this_owner
from tasks.repository.programs import Finished, find_program, run
from tasks.repository.rotation_yaml import parse_rotation, read_rotation
from tasks.repository.settings import Git, Settings
from tasks.repository.vault import require_encrypted

_TIMEOUT_S = 120.0
_NOT_OURS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


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
    remotes = _git(root, "remote").stdout.split()
    wanted = settings.git.remote
    if wanted is not None and wanted not in remotes:
        raise RepositoryError(
            str(root / "rechain.yml"), f"git.remote names {wanted!r}, which is no remote here", "git remote add it"
        )
    return Clone(root, wanted or ("origin" if "origin" in remotes else None), settings.git)


def branch_name(environment: str, rotation: Rotation) -> str:
    """The branch of the newest generation's rotation, there and back."""
    return f"rechain/{environment}-g{rotation.last_generation}"


def fetch(clone: Clone, environment: str) -> None:
    """Learn what others pushed for an environment.

    Raises:
        RepositoryError: The remote can't be reached.
    """
    if clone.remote is not None:
        _fetch(clone, f"+refs/heads/rechain/{environment}-g*:refs/remotes/{clone.remote}/rechain/{environment}-g*")


def remote_rotations(clone: Clone, environment: str) -> dict[str, Rotation]:
    """What rotation.yml says on each rotation branch of an environment, as last fetched: branch to rotation."""
    if clone.remote is None:
        return {}
    prefix = f"refs/remotes/{clone.remote}/"
    listed = _git(clone.root, "for-each-ref", "--format=%(refname)", f"{prefix}rechain").stdout.split()
    branches = [name.removeprefix(prefix) for name in listed]
    path = rotation_path(clone.root, environment).relative_to(clone.root)
    return {
        branch: parse_rotation(_git(clone.root, "show", f"{prefix}{branch}:{path}").stdout, f"{branch}: {path}")
        for branch in branches
        if re.fullmatch(rf"rechain/{re.escape(environment)}-g\d+", branch)
    }


def commit_files(clone: Clone, environment: str, message: str) -> str:
    """Commit an environment's state and its two certs files to the rotation's branch, and push it.

    Returns:
        The commit's id; the branch's present one when nothing changed.

    Raises:
        ClaimRefused: The remote's branch has moved on: somebody else acts.
        RepositoryError: The push failed for another reason, or a vault is not encrypted.
    """
    stored = read_rotation(clone.root, environment)
    branch = branch_name(environment, stored)
    parent, tree = _tip(clone, branch), _tree(clone, environment, branch)
    _refuse_overtaken(clone, environment, parent, stored)
    if parent is not None and tree == _rev(clone.root, f"{parent}^{{tree}}"):
        return parent
    ancestry = ("-p", parent) if parent else ()
    made = _git(clone.root, *_identity(clone.root), "commit-tree", *ancestry, "-m", message, tree)
    commit = made.stdout.strip()
    _push(clone, environment, branch, commit)
    _note(clone, environment, branch, commit)
    return commit


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
    base = f"refs/remotes/{clone.remote}/{settings.git.base}"
    if fetch:
        _fetch(clone, f"+refs/heads/{settings.git.base}:{base}")
    tip = _tip(clone, branch_name(environment, read_rotation(root, environment)))
    paths = [path.relative_to(root) for path in certs_paths(root, environment)]
    return tip is not None and all(_rev(root, f"{tip}:{path}") == _rev(root, f"{base}:{path}") for path in paths)


def known_to(clone: Clone, branch: str, paths: Iterable[Path]) -> bool:
    """Whether a remote branch's history holds files as they are here, so that overwriting them loses nothing."""
    objects = _git(clone.root, "rev-list", "--objects", f"refs/remotes/{clone.remote}/{branch}").stdout
    known = {line.split(" ", 1)[0] for line in objects.splitlines()}
    return all(_git(clone.root, "hash-object", str(path)).stdout.strip() in known for path in paths if path.exists())


def take_files(clone: Clone, branch: str, paths: Iterable[Path]) -> None:
    """Put a remote branch's version of files and folders into the working tree; what it lacks is removed."""
    source = f"refs/remotes/{clone.remote}/{branch}"
    for path in paths:
        name = str(path.relative_to(clone.root))
        if _rev(clone.root, f"{source}:{name}") is not None:
            _git(clone.root, "add", "--force", "--all", "--", name, may_fail=True)  # known, so that leftovers go too
            _git(clone.root, "restore", f"--source={source}", "--staged", "--worktree", "--", name)


def files_of(root: Path, environment: str) -> tuple[Path, ...]:
    """What is committed for an environment: its state and its two certs files."""
    return (state_folder(root, environment), *certs_paths(root, environment))


def _fetch(clone: Clone, refspec: str) -> None:
    finished = _git(clone.root, "fetch", "--quiet", "--no-tags", "--prune", str(clone.remote), refspec, may_fail=True)
    if finished.returncode != 0:
        raise RepositoryError(
            f"git fetch {clone.remote}", _said(finished), "check the remote and git.base in rechain.yml"
        )


def _tip(clone: Clone, branch: str) -> str | None:
    """The commit to build on: the remote's branch, else ours, else where the clone stands."""
    remote = [f"refs/remotes/{clone.remote}/{branch}"] if clone.remote else []
    candidates = (_rev(clone.root, f"{name}^{{commit}}") for name in (*remote, f"refs/heads/{branch}", "HEAD"))
    return next((commit for commit in candidates if commit), None)


def _tree(clone: Clone, environment: str, branch: str) -> str:
    _refuse_plain_vaults(clone.root, environment)
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        tip = _tip(clone, branch)
        if tip:
            _git(clone.root, "read-tree", tip, extra=index)
        _add(clone.root, environment, index)
        return _git(clone.root, "write-tree", extra=index).stdout.strip()


def _add(root: Path, environment: str, index: Mapping[str, str], *, may_fail: bool = False) -> None:
    names = [str(path.relative_to(root)) for path in files_of(root, environment) if path.exists()]
    staged = staged_folder(root, environment).relative_to(root)
    _git(root, "add", "--force", "--all", "--", *names, f":(exclude){staged}", extra=index, may_fail=may_fail)


def _refuse_plain_vaults(root: Path, environment: str) -> None:
    _, vault = certs_paths(root, environment)
    for path in (vault, *state_folder(root, environment).glob("generation-*/*.vault.yml")):
        if path.exists():
            require_encrypted(path.read_text(encoding="utf-8"), str(path))


def _refuse_overtaken(clone: Clone, environment: str, parent: str | None, stored: Rotation) -> None:
    """A push on top of what somebody else pushed would be accepted once it is fetched, so the claims are compared."""
    path = rotation_path(clone.root, environment).relative_to(clone.root)
    if parent is None or _rev(clone.root, f"{parent}:{path}") is None:
        return
    theirs = parse_rotation(_git(clone.root, "show", f"{parent}:{path}").stdout, f"{parent}: {path}")
    if theirs.last_claim > stored.last_claim:
        owner = theirs.claim.owner if theirs.claim else "somebody else"
        raise ClaimRefused(environment, f"{owner} took claim {theirs.last_claim} meanwhile", "see `rechain status`")


def _push(clone: Clone, environment: str, branch: str, commit: str) -> None:
    if clone.remote is None:
        return
    target = [clone.remote, f"{commit}:refs/heads/{branch}"]
    finished = _git(clone.root, "push", "--porcelain", *_merge_request(clone, environment), *target, may_fail=True)
    if "does not support push options" in finished.stderr:
        finished = _git(clone.root, "push", "--porcelain", *target, may_fail=True)
    if finished.returncode == 0:
        return
    refused = [line for line in finished.stdout.splitlines() if line.startswith("!") and "rejected]" in line]
    if refused and "declined" not in refused[0] and "protected" not in refused[0]:
        raise ClaimRefused(f"branch {branch}", "the remote's has moved on: somebody else acts", "see `rechain status`")
    raise RepositoryError(f"git push {clone.remote}", _said(finished), "correct that, then run the same command again")


def _merge_request(clone: Clone, environment: str) -> list[str]:
    if not clone.settings.merge_request:
        return []
    title = f"Refresh the certificates of {environment}"
    wanted = ("create", f"target={clone.settings.base}", f"title={title}")
    return [argument for option in wanted for argument in ("-o", f"merge_request.{option}")]


def _note(clone: Clone, environment: str, branch: str, commit: str) -> None:
    """Let the clone know the branch, and the index the files: then a pull of the merged branch finds them in place."""
    names = [f"refs/heads/{branch}"]
    names += [f"refs/remotes/{clone.remote}/{branch}"] if clone.remote else []
    for name in names:
        _git(clone.root, "update-ref", name, commit)
    _add(clone.root, environment, {}, may_fail=True)  # somebody else's git may hold the index just now


def _identity(root: Path) -> tuple[str, ...]:
    if _git(root, "var", "GIT_COMMITTER_IDENT", may_fail=True).returncode == 0:
        return ()
    return ("-c", "user.name=rechain", "-c", f"user.email={this_owner().split(':', 1)[0]}")


def _rev(root: Path, name: str) -> str | None:
    return _git(root, "rev-parse", "--quiet", "--verify", name, may_fail=True).stdout.strip() or None


def _said(finished: Finished) -> str:
    """The first line of what git complained about, credentials in an address blotted out."""
    lines = [line for line in finished.stderr.splitlines() if line.startswith(("fatal:", "error:", "remote:"))]
    text = (lines or finished.stderr.splitlines() or [f"ended with code {finished.returncode}"])[0]
    return re.sub(r"://[^/@\s]+@", "://***@", text)


def _git(root: Path, *arguments: str, extra: Mapping[str, str] | None = None, may_fail: bool = False) -> Finished:
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GCM_INTERACTIVE": "never", "LC_ALL": "C", **(extra or {})}
    environment.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    command = [find_program("git"), "-c", "core.quotepath=off", *arguments]
    finished = run(command, environment=environment, cwd=root, timeout_s=_TIMEOUT_S)
    if finished.returncode != 0 and not may_fail:
        raise RepositoryError(f"git {arguments[0]}", _said(finished), f"correct that in {root}")
    return finished
