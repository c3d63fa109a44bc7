"""One writer at a time on this machine: a lock on the folder that holds rotation.yml."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rechain.errors import ClaimRefused
from tasks.repository.files import not_writable
from tasks.repository.layout import environment_folder, state_folder

_PATIENCE_S = 180.0
_PAUSE_S = 0.02


@contextmanager
def locked(root: Path, environment: str) -> Iterator[None]:
    """Hold the environment's state for a read and a write; the kernel releases it when the process dies.

    The folder itself is locked, so that no lock file lies in the repository. It is held for moments, by whoever
    changes rotation.yml; who may act on hosts for hours is the claim's matter.

    Raises:
        ClaimRefused: Another process did not let go of it.
        RepositoryError: There is no such environment.
    """
    environment_folder(root, environment)
    folder = state_folder(root, environment)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(folder, error) from None
    with held(folder):
        yield


@contextmanager
def issuing(root: Path, environment: str) -> Iterator[None]:
    """Let one process at a time issue a generation, which takes longer than rotation.yml may be locked for.

    Raises:
        ClaimRefused: Another process did not end.
        RepositoryError: There is no such environment.
    """
    with held(environment_folder(root, environment)):
        yield


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, against every other process that holds it this way.

    Raises:
        ClaimRefused: Another process did not let go of it.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise not_writable(folder, error) from None
    try:
        _wait(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ClaimRefused(
                    str(folder), f"another process holds it for over {_PATIENCE_S:g} s", "wait for it, or end it"
                ) from None
            time.sleep(_PAUSE_S)
        else:
            return
