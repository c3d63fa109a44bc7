"""A directory of certificate files whose whole set is switched by one rename.

    cert_dir/server.crt            -> .rechain/current/server.crt
    cert_dir/.rechain/current      -> versions/7
    cert_dir/.rechain/versions/7/  server.crt server.key root.crt

The pattern is that of Kubernetes' AtomicWriter. A reader that opens one file after the other still can hit the
rename between two opens: see rechain_lease.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from functools import partial
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tasks.playbooks.module_utils.rechain_account import Account
else:
    from ansible.module_utils.rechain_account import Account

_PUBLIC, _PRIVATE = 0o644, 0o600
_TEMPORARY = ".new"


class CertDirectory:
    """One `cert_dir` and the names of the files in it that are ours.

    Attributes:
        path: The directory, absolute.
        names: File names of the set.
        private: Those of them that hold a private key.
    """

    def __init__(self, path: Path, account: Account, names: set[str], private: set[str]) -> None:
        self.path, self.names, self.private = path, names, private
        self._account = account
        self._base = path / ".rechain"
        self._versions = self._base / "versions"
        self._current = self._base / "current"

    def read(self) -> dict[str, bytes]:
        """The content of the files as a reader sees them now; a missing one is left out."""
        found = {}
        for name in self.names:
            with suppress(FileNotFoundError):
                found[name] = (self.path / name).read_bytes()
        return found

    def holds(self, files: Mapping[str, bytes]) -> bool:
        """Whether readers see exactly this set, with an owner and modes that every service accepts."""
        return self.read() == files and all(self._is_sound(name) for name in files)

    def version(self) -> str | None:
        """The version that `current` points at; None before the first."""
        try:
            return Path(os.readlink(self._current)).name  # noqa: PTH115  # Path.readlink came with Python 3.9
        except OSError:
            return None

    def stage(self, files: Mapping[str, bytes]) -> str:
        """Write a set as a new version beside the ones in use, closed to others, and return its name."""
        self._make_directories()
        version = str(max([0, *(int(entry.name) for entry in self._versions.iterdir() if entry.name.isdigit())]) + 1)
        directory = self._versions / version
        directory.mkdir(mode=0o700)
        for name, content in {**self._foreign(), **files}.items():
            self._write(directory / name, content, _PUBLIC if name in self.names - self.private else _PRIVATE)
        self._settle(directory, 0o700)
        _sync(self._versions)
        return version

    def staged(self, version: str, name: str) -> Path:
        """The path of a file in a version."""
        return self._versions / version / name

    def read_version(self, version: str) -> dict[str, bytes]:
        """The content of a version; empty when it is gone."""
        paths = ((name, self.staged(version, name)) for name in self.names)
        return {name: path.read_bytes() for name, path in paths if path.exists()}

    def adopt(self) -> str | None:
        """Turn regular files, and links that lead elsewhere, into ours without changing what any reader sees.

        Returns:
            The version that holds what was there; None when nothing was.
        """
        present = self.read()
        if present and not all(self._is_linked(name) for name in present):
            self.switch(self.stage(present))
            for name in present:
                self._link(self.path / name, f".rechain/current/{name}")
            _sync(self.path)
        return self.version() if present else None

    def switch(self, version: str) -> None:
        """Make a version the one that readers see, in one rename."""
        self.publish(version)
        self.rename(version)

    def publish(self, version: str) -> None:
        """Open a version to those who may enter the directory anyway, and link the names that are new."""
        self._settle(self._versions / version, self._mode())
        for name in self.names:
            if not (self.path / name).is_symlink() and not (self.path / name).exists():
                self._link(self.path / name, f".rechain/current/{name}")
        _sync(self.path)

    def rename(self, version: str) -> None:
        """The switch itself, and nothing else."""
        self.prepared(version)()
        self.sync()

    def prepared(self, version: str) -> Callable[[], None]:
        """The switch to a version, all but its rename; to be called once."""
        temporary = self._new_link(self._current, f"versions/{version}", f".{version}{_TEMPORARY}")
        return partial(os.rename, str(temporary), str(self._current))

    def sync(self) -> None:
        """Make the switch last through a crash of the host."""
        _sync(self._base)

    def put_back(self, files: Mapping[str, bytes], version: str | None) -> str | None:
        """Make readers see a previous set again, whole, whatever became of its files since. Returns its version."""
        if not files:
            self._remove()
            return None
        if version is None or not self._is_whole(version, files):
            version = self.stage(files)
        self.switch(version)
        for name in files:
            if not self._is_linked(name):
                self._link(self.path / name, f".rechain/current/{name}")
        _sync(self.path)
        return version

    def prune(self, *keep: str | None) -> None:
        """Remove every version but these, with the private keys in them."""
        if not self._versions.exists():
            return
        for entry in list(self._versions.iterdir()):
            if entry.name not in keep:
                self.remove(entry.name)
        for link in self._base.glob(f".*{_TEMPORARY}"):
            link.unlink()
        _sync(self._versions)

    def remove(self, version: str) -> None:
        """Remove one version."""
        shutil.rmtree(self._versions / version)

    def _is_sound(self, name: str) -> bool:
        status = (self.path / name).stat()
        if name in self.private:
            return self._account.owns(status)
        return status.st_uid in (0, self._account.uid) and bool(status.st_mode & stat.S_IRUSR)

    def _foreign(self) -> dict[str, bytes]:
        """Files of sets that used to be installed here, which the next version must not take away."""
        others = (entry.name for entry in self.path.iterdir() if entry.name not in self.names)
        return {name: (self.path / name).read_bytes() for name in others if self._is_linked(name)}

    def _is_whole(self, version: str, files: Mapping[str, bytes]) -> bool:
        try:
            return all(
                self.staged(version, name).read_bytes() == content
                and (name not in self.private or self._account.owns(self.staged(version, name).stat()))
                for name, content in files.items()
            )
        except OSError:
            return False

    def _is_linked(self, name: str) -> bool:
        try:
            return os.readlink(self.path / name) == f".rechain/current/{name}"  # noqa: PTH115
        except OSError:
            return False

    def _mode(self) -> int:
        """As open as the directory itself, so that whoever read the certificates before still can."""
        return 0o700 | stat.S_IMODE(self.path.stat().st_mode) & 0o055

    def _make_directories(self) -> None:
        if not self.path.exists():
            self.path.mkdir(mode=0o700)
            self._settle(self.path, 0o700)
        for directory in (self._base, self._versions):
            directory.mkdir(mode=0o700, exist_ok=True)
            self._settle(directory, self._mode())

    def _write(self, path: Path, content: bytes, mode: int) -> None:
        descriptor = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _PRIVATE)
        with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor, not a path
            file.write(content)
            file.flush()
            self._account.own(descriptor)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)

    def _settle(self, directory: Path, mode: int) -> None:
        descriptor = os.open(str(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            self._account.own(descriptor)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _link(self, path: Path, target: str) -> None:
        self._new_link(path, target, f".{path.name}{_TEMPORARY}").replace(path)

    @staticmethod
    def _new_link(path: Path, target: str, name: str) -> Path:
        temporary = path.with_name(name)
        with suppress(FileNotFoundError):
            temporary.unlink()
        temporary.symlink_to(target)
        return temporary

    def _remove(self) -> None:
        """Leave nothing of ours behind where nothing was before."""
        for name in self.names:
            if self._is_linked(name):
                (self.path / name).unlink()
        shutil.rmtree(self._base, ignore_errors=True)
        _sync(self.path)


def _sync(directory: Path) -> None:
    descriptor = os.open(str(directory), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
