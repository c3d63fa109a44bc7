"""Take over what another clone pushed, and lose nothing that is here alone."""

from __future__ import annotations

from pathlib import Path

from rechain.errors import RepositoryError
from rechain.rotation import Rotation
from tasks.repository.claim import shared_clone
from tasks.repository.generation_yaml import outside_sides
from tasks.repository.generations import CA_VAULT_FILE, CERTS_FILE, VAULT_FILE, known_generations
from tasks.repository.git import Clone
from tasks.repository.layout import generation_folder, requests_folder
from tasks.repository.lock import locked
from tasks.repository.rotation_branch import branch_has, fetch, files_of, known_to, remote_rotations, take_files
from tasks.repository.rotation_yaml import read_rotation


def bring_up_to_date(root: Path, environment: str) -> str | None:
    """Take over what another clone pushed, before anything is read: repositories are the shared state of workers.

    Side effect: this environment's files in the working tree, rotation.yml last. Idempotent, safe to retry.

    Returns:
        What was done, for a person; None when nothing newer is there, or there is no remote.

    Raises:
        RepositoryError: The remote can't be reached, or the files here hold changes that it does not know.
    """
    with locked(root, environment):
        clone = shared_clone(root)
        if clone is None:
            return None
        fetch(clone, environment)
        rotations = remote_rotations(clone, environment)
        newest = max(rotations, key=lambda branch: rotations[branch].last_claim, default=None)
        stored = read_rotation(root, environment)
        if newest is None or not _is_ahead(root, environment, clone, newest, rotations[newest]):
            return None
        _take(root, environment, clone, newest, stored)
        return f"took the state of {environment} from branch {newest}"


def _is_ahead(root: Path, environment: str, clone: Clone, branch: str, theirs: Rotation) -> bool:
    """Whether a branch has what is not here yet: a newer claim, or more that was done under the same one.

    Of one claim whatever is here and was pushed is in the branch's history; what a run that was killed had not pushed
    yet is not, and then the branch is behind.
    """
    stored = read_rotation(root, environment)
    if theirs.last_claim != stored.last_claim or theirs == stored:
        return theirs.last_claim > stored.last_claim
    state, *certs = files_of(root, environment)
    requests = requests_folder(root, environment)
    here = [path for path in _files(state) if requests not in path.parents]
    return known_to(clone, [branch], [*certs, *here])


def _take(root: Path, environment: str, clone: Clone, branch: str, stored: Rotation) -> None:
    state, *certs = files_of(root, environment)
    # What rechain issued here without an accepted claim was never deployed and may go; certs files may be deployed.
    unknown = _files(state) if stored.target is not None else []
    every = tuple(remote_rotations(clone, environment))
    is_known = known_to(clone, [branch], [*certs, *unknown]) and known_to(
        clone, every, _of_outside_ca(root, environment)
    )
    if stored.intent is not None or not is_known:
        raise RepositoryError(
            str(state),
            f"this clone and branch {branch} have both moved on",
            "keep the one that the hosts have, by hand",
        )
    requests = requests_folder(root, environment)
    if known_to(clone, every, _files(requests)):
        take_files(clone, branch, [*certs, state])
        return
    # Their keys are here alone: without them whatever the outside CA sends is useless.
    if branch_has(clone, branch, requests):
        raise RepositoryError(
            str(requests),
            f"branch {branch} has other requests",
            f"keep those that the CA answers: move this folder away, or, in the clone that made the others, run "
            f"`rechain csr {environment} --discard`",
        )
    take_files(clone, branch, [*certs, state], but=requests)


def _of_outside_ca(root: Path, environment: str) -> list[Path]:
    """Certificates and keys of generations that an outside CA signed: nobody can issue them again."""
    return [
        path
        for number in known_generations(root, environment)
        if outside_sides(root, environment, number)
        for name in (CERTS_FILE, VAULT_FILE, CA_VAULT_FILE)
        if (path := generation_folder(root, environment, number) / name).exists()
    ]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
