"""Where things lie in the environment repository: names only, nothing is read but the list of environments."""

from __future__ import annotations

from pathlib import Path

from rechain.errors import RepositoryError


def environment_folder(root: Path, environment: str) -> Path:
    """The folder of an environment's inventory.

    Raises:
        RepositoryError: There is no such environment; the message names those there are.
    """
    known = environments(root)
    if environment not in known:
        names = ", ".join(known) if known else "none"
        raise RepositoryError(
            str(root / "environments"), f"there is no environment {environment!r}", f"environments there are: {names}"
        )
    return root / "environments" / environment


def environments(root: Path) -> tuple[str, ...]:
    """Names of the environments of a repository, sorted."""
    folder = root / "environments"
    if not folder.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")))


def certs_paths(root: Path, environment: str) -> tuple[Path, Path]:
    """certs.yml and the vault of an environment: `certsvault.yml` where it exists, else `certs.vault.yml`.

    Raises:
        RepositoryError: There is no such environment.
    """
    folder = environment_folder(root, environment) / "group_vars" / "all"
    old_name = folder / "certsvault.yml"
    return folder / "certs.yml", old_name if old_name.exists() else folder / "certs.vault.yml"


def state_folder(root: Path, environment: str) -> Path:
    """What rechain itself keeps about an environment."""
    return root / "rechain" / environment


def rotation_path(root: Path, environment: str) -> Path:
    """The file that records where a rotation stands."""
    return state_folder(root, environment) / "rotation.yml"


def staged_folder(root: Path, environment: str) -> Path:
    """Where files are written whole before they are renamed into place; empty when nothing is under way."""
    return state_folder(root, environment) / "staged"


def generation_folder(root: Path, environment: str, number: int) -> Path:
    """One generation's leaves, bundles and vaults."""
    return state_folder(root, environment) / f"generation-{number}"


def requests_folder(root: Path, environment: str) -> Path:
    """Signing requests that wait for an outside CA, and their vaulted keys."""
    return state_folder(root, environment) / "requests"
