"""Where something goes wrong: a fleet on machines, a phase, the host that it happens to, and the logins it may cost."""

from __future__ import annotations

import shlex
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.fleet import Lab
from lab.host import Host
from lab.login import Entry
from lab.machine import Machine
from lab.machines import Machines
from lab.pool import Pool
from rechain.phase import Phase

CLIENT = "pgfga"
"""The managed client whose files are tampered with while clients switch."""
_MARGIN_MS = 2000


@dataclass(frozen=True)
class Loss:
    """Logins that nobody can save: for how long, and whose.

    Attributes:
        start_ms: From when on, milliseconds since the epoch.
        end_ms: Until when.
        hits: Whether a login is one of them.
    """

    start_ms: int
    end_ms: int
    hits: Callable[[Entry], bool]

    def explains(self, failure: Entry) -> bool:
        """Whether a failed login is one of them; it may have begun shortly before, or met a server that starts."""
        return self.start_ms - _MARGIN_MS <= failure.at_ms <= self.end_ms + _MARGIN_MS and self.hits(failure)


@dataclass(frozen=True)
class Reload:
    """The reload by which a host takes what the phase changes on it.

    Attributes:
        machine: Where.
        inventory: The inventory host and the list of its variables whose first entry names the command.
        command: The command.
        log: Where the service tells of it.
        says: What it says then.
    """

    machine: Machine
    inventory: tuple[str, str]
    command: str
    log: Path
    says: str

    def times(self) -> int:
        """How often it has happened."""
        return self.log.read_text("utf-8", "replace").count(self.says)


@dataclass(frozen=True)
class Scene:
    """A fleet on machines, and the host that things happen to: the second of those that a roll-out takes.

    Attributes:
        lab: The fleet.
        phase: The phase that it is moved to.
        losses: Logins that nobody could save, so far.
    """

    lab: Lab
    phase: Phase
    losses: list[Loss] = field(default_factory=list)

    @property
    def host(self) -> Host:
        """The host."""
        return self.lab.standbys[1]

    @property
    def machines(self) -> Machines:
        """All machines."""
        assert self.lab.place.machines is not None
        return self.lab.place.machines

    @property
    def machine(self) -> Machine:
        """The host's machine."""
        return self.machines.of(self.host.name)

    @property
    def pool(self) -> Pool:
        """The host of PgBouncer, the last that a roll-out takes."""
        assert self.lab.place.pool is not None
        return self.lab.place.pool

    @property
    def directory(self) -> Path:
        """A directory on the host whose set this phase changes."""
        return self.host.client_directory(CLIENT) if self.phase is Phase.CLIENTS else self.host.server_directory

    @property
    def key(self) -> Path:
        """The private key in that directory."""
        return self.directory / ("postgresql.key" if self.phase is Phase.CLIENTS else "server.key")

    @property
    def reload(self) -> Reload:
        """Of the host's PostgreSQL; while clients switch, of PgBouncer, the client that needs one."""
        if self.phase is Phase.CLIENTS:
            command = self.pool.inventory_variables()["rechain_clients"][0]["reload"]
            log = self.pool.machine.directory / "pgbouncer.log"
            return Reload(self.pool.machine, (self.pool.name, "rechain_clients"), command, log, "RECONNECT")
        server, inventory = self.host.server, (self.host.name, "rechain_services")
        return Reload(self.machine, inventory, server.reload_command, server.log, "received SIGHUP")

    @property
    def begun(self) -> Path:
        """The mark of a reload that has begun, on the host that it is for."""
        return self.reload.machine.directory / "begun"

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Everything in that directory, what lies hidden there too: path to mode, and content or what a link names."""
        return {str(path.relative_to(self.directory)): _look(path) for path in self.directory.rglob("*")}

    def sh(self, script: str) -> str:
        """Run a script on the host, as root: `$place` is the directory, `$key` the key, `$python` the interpreter."""
        names = f"place={shlex.quote(str(self.directory))}; key={shlex.quote(str(self.key))}"
        return self.machine.run("/bin/sh", "-ec", f"{names}; python=$(readlink -f /usr/bin/python3)\n{script}")

    @contextmanager
    def losing(self, hits: Callable[[Entry], bool]) -> Iterator[None]:
        """Logins that nobody can save while the block lasts."""
        start_ms = int(time.time() * 1000)
        try:
            yield
        finally:
            self.losses.append(Loss(start_ms, int(time.time() * 1000), hits))

    def reaches_host(self, login: Entry) -> bool:
        """Whether a login goes to the host's PostgreSQL, or to one that HAProxy chooses."""
        return login.endpoint in (str(self.host.endpoint), str(self.pool.proxy))

    def reads_key(self, login: Entry) -> bool:
        """Whether a login reads the private key that this phase changes."""
        return self.phase is Phase.CLIENTS and (login.client, login.host) == (CLIENT, self.host.name)


def _look(path: Path) -> tuple[int, bytes]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return mode, bytes(path.readlink())
    return mode, path.read_bytes() if stat.S_ISREG(mode) else b""
