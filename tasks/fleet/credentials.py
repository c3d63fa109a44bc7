"""Keys in use: a closed directory in memory for as long as a task needs them."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rechain.certificate import Bundle
from rechain.generation import Generation, PrivateKeys
from rechain.login import ClientFiles

_MEMORY = Path("/dev/shm")  # noqa: S108 - it is the point: a file system that never reaches a disk
_PREFIX = "rechain-keys-"
_NAMES = ("postgresql.crt", "postgresql.key", "root.crt")
_SETTLED_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """What one client needs to log in. Lives inside one task; its text form shows no key.

    Attributes:
        client: The role.
        generation: Generation of the leaf.
        chain_pem: Leaf and intermediate.
        key_pem: The private key.
        bundle_pem: The server bundle that it trusts.
    """

    client: str
    generation: int
    chain_pem: str
    key_pem: str
    bundle_pem: str

    def __repr__(self) -> str:
        return f"Credential({self.client!r}, generation {self.generation})"


def credentials(generation: Generation, keys: PrivateKeys, trust: Bundle) -> tuple[Credential, ...]:
    """The credentials of every client of a generation whose key is there.

    Args:
        generation: Whose leaves are presented.
        keys: The keys of that generation.
        trust: The server bundle to trust; may be of another generation, as the phase wants it.
    """
    return tuple(
        Credential(name, generation.number, chain.pem, keys.clients[name], trust.pem)
        for name, chain in generation.clients.items()
        if name in keys.clients
    )


@contextmanager
def material(wanted: Iterable[Credential]) -> Iterator[Mapping[tuple[str, int], ClientFiles]]:
    """Write credentials where libpq can read them, and remove them whatever happens.

    Side effect: a 0700 directory with 0600 files in memory. What a killed run left behind is removed on the way.

    Yields:
        The paths, by client and generation.
    """
    with key_directory() as directory:
        yield {(each.client, each.generation): put(directory, each) for each in wanted}


@contextmanager
def key_directory() -> Iterator[Path]:
    """A 0700 directory in memory, for as long as the block lasts.

    On a disk, with a warning in the log, where the machine has no tmpfs.
    """
    home = _home()
    _sweep(home)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)  # shows other runs that the owner lives, across PID namespaces too
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(held)


def put(directory: Path, credential: Credential) -> ClientFiles:
    """Write one credential into a directory of `key_directory`; each generation of a client has a place of its own."""
    place = directory / _place(credential)
    place.mkdir(mode=0o700, exist_ok=True)
    texts = (credential.chain_pem, credential.key_pem, credential.bundle_pem)
    return ClientFiles(*(_write(place / name, text) for name, text in zip(_NAMES, texts, strict=True)))


def present(directory: Path, credential: Credential) -> ClientFiles:
    """Write one credential and let it be what the client presents from now on; the paths stay the same.

    For the canary, which goes on reading while a phase moves a client: the place is switched by one rename of a
    link, and its three files are to be read through the link at once (`Watch.pinned`).
    """
    put(directory, credential)
    link, new = directory / credential.client, directory / f".{credential.client}"
    new.unlink(missing_ok=True)
    new.symlink_to(_place(credential))
    new.replace(link)
    return ClientFiles(*(str(link / name) for name in _NAMES))


def _place(credential: Credential) -> str:
    return f"{credential.client}-{credential.generation}"


def _write(path: Path, text: str) -> str:
    """Write a file that is never seen half written nor open to others; returns its path."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib opens no descriptors
        file.write(text)
    new.replace(path)
    return str(path)


def _home() -> Path | None:
    if os.access(_MEMORY, os.W_OK | os.X_OK):
        return _MEMORY
    _log.warning("%s can't be written: private keys in use go to %s instead", _MEMORY, tempfile.gettempdir())
    return None


def _sweep(home: Path | None) -> None:
    """Remove the directories of runs that were killed: nobody holds their lock any more."""
    for directory in (home or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = directory.lstat()
            # A new directory is not locked yet in its first instant.
            if status.st_uid == os.geteuid() and time.time() - status.st_ctime > _SETTLED_S:
                _remove_abandoned(directory)


def _remove_abandoned(directory: Path) -> None:
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(held)
