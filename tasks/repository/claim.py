"""Claims: who may act on an environment. Nothing acts without an accepted one.

With a Git remote a claim is a commit on the rotation's branch, and the push decides: a rejected push means that
somebody else was first. Without a remote the lock on this clone decides. Either way the hosts remember the highest
number that they have seen and refuse a lower one, so that an owner who was overtaken and wakes up changes nothing;
two clones on one machine that share no remote are kept apart by that alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from rechain.errors import ClaimRefused, RepositoryError
from rechain.phase import Phase
from rechain.rotation import Claim, Direction, Rotation
from tasks.repository.git import Clone, Committed, open_clone
from tasks.repository.layout import rotation_path
from tasks.repository.lock import locked
from tasks.repository.owner import is_known_dead, this_owner
from tasks.repository.rotation_branch import (
    commit_files,
    fetch,
    remote_rotations,
)
from tasks.repository.rotation_yaml import iso, read_rotation, store_rotation
from tasks.repository.settings import read_settings

LIFETIME = timedelta(hours=1)


def take_claim(
    root: Path,
    environment: str,
    *,
    direction: Direction,
    target: Phase,
    owner: str | None = None,
    take_over: bool = False,
    now: datetime,
) -> Claim:
    """Become the one who moves an environment.

    Side effect: rotation.yml; with a Git remote a pushed commit. Safe to retry: the owner of a claim gets a higher one.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        direction: Which way its owner moves.
        target: The phase that its owner moves to.
        owner: Who; this process when left out.
        take_over: Whether to take it from an owner who is not known dead, on a person's word.
        now: Aware UTC instant.

    Returns:
        The claim, with a number that is higher than any before.

    Raises:
        ClaimRefused: Somebody else moves this environment, or this clone is behind; nothing was changed.
        RepositoryError: The remote can't be reached.
    """
    me = owner or this_owner()
    with locked(root, environment):
        clone = shared_clone(root)
        found = _rotations(root, environment, clone)
        _refuse_rivals(environment, found, me, now, take_over=take_over)
        stored = read_rotation(root, environment)
        number = 1 + max(rotation.last_claim for rotation in found)
        if clone and number - 1 > stored.last_claim:
            raise _behind(environment)
        claim = Claim(number, me, direction, target, taken_at=now, expires_at=now + LIFETIME)
        _publish(root, environment, replace(stored, claim=claim, last_claim=number), _title("claim", claim), clone)
        if clone:
            _yield_to_rivals(root, environment, clone, claim, now)
    return claim


def refuse_rivals(root: Path, environment: str, *, take_over: bool, now: datetime) -> None:
    """Find out, before anything is written, that somebody else acts: `take_claim` would refuse, but later. Reads only.

    Raises:
        ClaimRefused: Somebody else moves this environment.
    """
    clone = shared_clone(root)
    found = [read_rotation(root, environment), *(remote_rotations(clone, environment).values() if clone else ())]
    _refuse_rivals(environment, found, this_owner(), now, take_over=take_over)


def refresh_claim(root: Path, environment: str, claim: Claim, *, now: datetime) -> Claim:
    """Put off the moment at which a claim expires, once a phase at least.

    Raises:
        ClaimRefused: Somebody else has taken it.
        RepositoryError: The remote can't be reached.
    """
    with locked(root, environment):
        stored = read_rotation(root, environment)
        refuse_lost(stored, claim)
        fresh, clone = replace(claim, expires_at=now + LIFETIME), shared_clone(root)
        if clone:
            fetch(clone, environment)  # so that a claim of somebody else is found even when nothing is to be pushed
        _publish(root, environment, replace(stored, claim=fresh), _title("keep", claim), clone)
    return fresh


def require_claim(root: Path, environment: str, claim: Claim) -> None:
    """Make sure that a claim still holds, before an action.

    Raises:
        ClaimRefused: Somebody else has taken it.
    """
    refuse_lost(read_rotation(root, environment), claim)


def refuse_lost(stored: Rotation, claim: Claim) -> None:
    """Make sure that a claim still holds, by a rotation that was just read.

    Raises:
        ClaimRefused: Somebody else has taken it.
    """
    if stored.claim is None or stored.claim.number != claim.number:
        owner = stored.claim.owner if stored.claim else "nobody"
        raise ClaimRefused(
            "rotation.yml", f"claim {claim.number} is lost, {owner} holds {stored.last_claim}", "see `rechain status`"
        )


def release_claim(root: Path, environment: str, claim: Claim) -> str | None:
    """Give a claim back, so that the next run needs no word of a person. Does nothing when it was taken already.

    Returns:
        None; or, when others could not be told, the reason: they then need `--take-over`.
    """
    with locked(root, environment):
        stored = read_rotation(root, environment)
        if stored.claim is None or stored.claim.number != claim.number:
            return None
        store_rotation(root, environment, replace(stored, claim=None))
        clone = shared_clone(root)
        try:
            if clone:
                commit_files(clone, environment, _title("release", claim))
        except (RepositoryError, ClaimRefused) as error:
            return str(error)
    return None


def commit_phase(root: Path, environment: str, message: str) -> Committed | None:
    """Commit what a phase changed to the branch `rechain/ENV-gN`, and push it if there is a remote. Idempotent.

    Returns:
        The commit; None when the repository is no Git clone.

    Raises:
        ClaimRefused: Somebody else pushed to the branch.
        RepositoryError: The push failed for another reason.
    """
    with locked(root, environment):
        clone = open_clone(root, read_settings(root))
        return commit_files(clone, environment, message) if clone else None


def share(root: Path, environment: str, message: str, *, take_over: bool, now: datetime) -> str | None:
    """Push what was made here before any move, where there is a remote: a claim of somebody else would outdate it.

    Side effect: a pushed commit under a claim that is given back. Safe to retry.

    Returns:
        None; or why the claim could not be given back, so that others need `--take-over`.

    Raises:
        ClaimRefused: Somebody else moves this environment.
        RepositoryError: The remote can't be reached.
    """
    if shared_clone(root) is None:
        return None
    claim = take_claim(
        root, environment, direction=Direction.REFRESH, target=Phase.ISSUED, take_over=take_over, now=now
    )
    try:
        commit_phase(root, environment, message)
    finally:
        kept = release_claim(root, environment, claim)
    return kept


def shared_clone(root: Path) -> Clone | None:
    """The clone, where it has a remote that others push to."""
    clone = open_clone(root, read_settings(root))
    return clone if clone and clone.remote else None


def _rotations(root: Path, environment: str, clone: Clone | None) -> list[Rotation]:
    if clone:
        fetch(clone, environment)
    remote = remote_rotations(clone, environment).values() if clone else ()
    return [read_rotation(root, environment), *remote]


def _refuse_rivals(
    environment: str, rotations: Iterable[Rotation], me: str, now: datetime, *, take_over: bool
) -> None:  # fmt: skip
    for claim in _rivals(rotations, me):
        if not take_over:
            raise _refusal(environment, claim, now)


def _rivals(rotations: Iterable[Rotation], me: str) -> list[Claim]:
    """Claims of others that may still act: those with the highest number; a lower one was overtaken."""
    known = list(rotations)
    highest = max((rotation.last_claim for rotation in known), default=0)
    claims = [rotation.claim for rotation in known if rotation.claim and rotation.claim.number >= highest]
    return [claim for claim in claims if claim.owner != me and not is_known_dead(claim.owner)]


def _refusal(environment: str, claim: Claim, now: datetime) -> ClaimRefused:
    does = "acts on it" if claim.expires_at > now else f"left a claim that expired at {iso(claim.expires_at)}"
    return ClaimRefused(
        environment,
        f"{claim.owner} {does} ({claim.direction} to {claim.target}, claim {claim.number} of {iso(claim.taken_at)})",
        "wait for it to end; if you know that it is dead, use --take-over",
    )


def _behind(environment: str) -> ClaimRefused:
    return ClaimRefused(
        environment, "another clone moved it since this one was brought up to date", "run the same command again"
    )


def _publish(root: Path, environment: str, rotation: Rotation, title: str, clone: Clone | None) -> None:
    """Write rotation.yml and have it accepted; put the old one back when it is not."""
    path = rotation_path(root, environment)
    before = read_rotation(root, environment) if path.exists() else None
    store_rotation(root, environment, rotation)
    if clone is None:
        return
    try:
        commit_files(clone, environment, title)
    except (ClaimRefused, RepositoryError) as error:
        _put_back(root, environment, before)
        fetch(clone, environment)
        owner = rotation.claim.owner if rotation.claim else ""
        rivals = _rivals(remote_rotations(clone, environment).values(), owner)
        if rivals and rotation.claim and isinstance(error, ClaimRefused):
            raise _refusal(environment, rivals[0], rotation.claim.taken_at) from None
        raise


def _put_back(root: Path, environment: str, before: Rotation | None) -> None:
    if before is None:
        rotation_path(root, environment).unlink()
    else:
        store_rotation(root, environment, before)


def _yield_to_rivals(root: Path, environment: str, clone: Clone, claim: Claim, now: datetime) -> None:
    """Look again after the push: two who began from different generations push to different branches.

    Each pushes before it looks, so at least one of them sees the other, and whoever sees one yields.
    """
    rotations = _rotations(root, environment, clone)
    rivals = _rivals(rotations, claim.owner)
    if rivals:
        stored = read_rotation(root, environment)
        _publish(root, environment, replace(stored, claim=None), _title("yield", claim), clone)
        raise _refusal(environment, rivals[0], now)


def _title(what: str, claim: Claim) -> str:
    return f"{what.capitalize()} claim {claim.number}: {claim.direction} to {claim.target} by {claim.owner}"
