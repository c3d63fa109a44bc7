"""The owner of an external application: takes what the phase holds for it, installs it, recycles its pool."""

from __future__ import annotations

import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from lab.environment import Repository, write_private
from lab.errors import LabError
from lab.login import Identity, Kind, read_journal
from lab.processes import Process
from rechain.generation import Side

_RECYCLE_S = 20.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Owner:
    """Somebody outside the fleet with a client certificate and an application.

    Everything comes from the environment repository as the phase left it: nothing is known about generations.

    Attributes:
        repository: Where the phase's certs.yml and vault are.
        client: The PostgreSQL role; also the name in certs.yml, unless its CA is an organisation's own.
        directory: Its own directory; `current` in it is what the application reads.
    """

    repository: Repository
    client: str
    directory: Path

    @property
    def identity(self) -> Identity:
        """What its application logs in with."""
        return Identity(self.client, "", str(self.directory / "current"))

    def install_bundle(self) -> None:
        """Install the server bundle that the phase holds: what gate `external-trust` asks an owner to do."""
        self._install({"root.crt": self.repository.deployed()[Side.SERVER]["chain"]})

    def take_delivery(self) -> None:
        """Install the leaf and the key that the phase holds."""
        leaf = self.repository.deployed()[Side.CLIENT][self.client]
        self.install_pair(leaf, self.repository.private_key(Side.CLIENT, self.client))

    def install_pair(self, leaf: str, key: str) -> None:
        """Install a leaf and its key, together."""
        self._install({"postgresql.crt": leaf, "postgresql.key": key})

    def recycle_pool(self, application: Process, journal: Path) -> None:
        """Tell the application to open all sessions anew, and wait until it has.

        Raises:
            LabError: It did not in time; its journal says why.
        """
        before = _recycled(journal)
        application.send(signal.SIGHUP)
        deadline = time.monotonic() + _RECYCLE_S
        while _recycled(journal) == before:
            if time.monotonic() > deadline or not application.lives():
                raise LabError(self.client, "its pool was not recycled", f"see {journal}")
            time.sleep(_POLL_S)

    def _install(self, files: dict[str, str]) -> None:
        """Put files beside the others of a new set, then change the symbolic link in one rename.

        Former sets stay until the lab ends: a login may be reading one of them.
        """
        current = self.directory / "current"
        fresh = self.directory / f"set-{time.time_ns()}"
        if current.exists():
            shutil.copytree(current, fresh)
        else:
            fresh.mkdir(parents=True)
        for name, text in files.items():
            write_private(fresh / name, text)
        link = self.directory / "current.new"
        link.symlink_to(fresh.name)
        link.replace(current)


def _recycled(journal: Path) -> int:
    return sum(entry.kind is Kind.RECYCLED for entry in read_journal(journal))
