"""A PostgreSQL fleet on this machine: a primary and two standbys that replicate over mTLS, and its applications."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import make_conninfo

from lab import leftover
from lab.account import Account, unprivileged_account
from lab.addresses import PORT, free_addresses
from lab.chain import Chain, Style, make_chain, make_foreign_client
from lab.environment import BACKUP, CLIENTS, EVERYWHERE, EXTERNAL, LOCAL, SERVERS, SUBJECT, Repository
from lab.errors import LabError
from lab.host import Host
from lab.installation import find_postgresql, usable_by
from lab.login import Identity
from lab.machine import Machine, Resident
from lab.machines import Machines
from lab.owner import Owner
from lab.postgresql import SUPERUSER, Installation, Server
from lab.processes import Process
from lab.program import Orders, finish, launch
from rechain.fleet import Endpoint
from rechain.generation import Side

FOREIGN = "auditor"
_ROLES = ("avchecker", "pgquartz", "pgfga", EXTERNAL, FOREIGN)
_SETTINGS = {
    "wal_keep_size": "64MB",
    "min_wal_size": "2MB",
    "max_wal_size": "64MB",
    "wal_retrieve_retry_interval": "1s",
}
_HBA = ("local all postgres trust", "hostssl replication postgres all cert", "hostssl all all all cert")


@dataclass(frozen=True, slots=True)
class Lab:
    """A fleet, its environment repository and the people around it.

    Attributes:
        state: The directory of the environment repository, the vault password, journals and the marker.
        directory: The directory of hosts and of people outside the fleet; holds every key in use, removed at the end.
        installation: The PostgreSQL that runs.
        account: The OS user that servers and managed clients run as.
        hosts: The hosts, the primary first.
        style: Which chainsmith the first chain looks like.
        canary_interval_ms: Milliseconds between two logins of one client in rechain's canary.
        machines: A machine of its own for each host; None when all are directories of this one.
    """

    state: Path
    directory: Path
    installation: Installation
    account: Account
    hosts: tuple[Host, ...]
    style: Style
    canary_interval_ms: int
    machines: Machines | None = None

    @classmethod
    def prepare(
        cls,
        state: Path,
        *,
        style: Style | str = Style.GO,
        prefer: str | None = None,
        parent: Path | None = None,
        canary_interval_ms: int = 100,
        on_machines: bool = False,
    ) -> Self:
        """Choose PostgreSQL, addresses and directories; end what an earlier lab left behind. Starts nothing.

        Args:
            state: Directory for repository, password and journals; a lab that was left there is ended and replaced.
            style: Which chainsmith made the chain.
            prefer: Which PostgreSQL, as in `find_postgresql`.
            parent: Where the directory of the hosts is made; default /var/tmp.
            canary_interval_ms: Milliseconds between two logins of one client in rechain's canary.
            on_machines: Whether each host is a machine of its own, reached over SSH.

        Raises:
            PostgresqlNotFound: There is none that fits.
            LabError: No free address, a leftover that would not end, or this machine can hold no others.
        """
        found, account = find_postgresql(prefer), unprivileged_account()
        leftover.end(state)
        leftover.clear(state)
        directory = leftover.make_directory(state, parent)
        try:
            installation = usable_by(found, account, directory / "postgresql")
            machines = _machines(directory, state.resolve(), installation) if on_machines else None
        except LabError:
            leftover.end(state)
            raise
        hosts = _on_machines(machines, installation, account) if machines else _here(directory, installation, account)
        style = Style(style)
        return cls(state.resolve(), directory, installation, account, hosts, style, canary_interval_ms, machines)

    @property
    def repository(self) -> Repository:
        """The environment repository."""
        return Repository(self.state / leftover.REPOSITORY, self.state / leftover.PASSWORD)

    @property
    def primary(self) -> Host:
        """The host whose server takes writes."""
        return self.hosts[0]

    @property
    def standbys(self) -> tuple[Host, ...]:
        """The hosts whose servers follow the primary."""
        return self.hosts[1:]

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where clients log in."""
        return tuple(host.endpoint for host in self.hosts)

    @property
    def owner(self) -> Owner:
        """The owner of the external application."""
        return Owner(self.repository, EXTERNAL, self.directory / EXTERNAL)

    @property
    def foreign_owner(self) -> Owner:
        """The owner of the client under an organisation's own CA, once `add_foreign_client` was called."""
        return Owner(self.repository, FOREIGN, self.directory / FOREIGN)

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Every managed client on every host, and the external one."""
        managed = (
            Identity(client, host.name, str(host.client_directory(client)), has_role=client != BACKUP)
            for host in self.hosts
            for client in clients_on(host.name)
        )
        return (*managed, self.owner.identity)

    def start(self) -> None:
        """Make chain, repository and hosts, and start the servers. Raises LabError; then nothing is left running."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every server and program of the lab and remove the hosts; the repository stays."""
        leftover.end(self.state)

    def restart(self, host: Host) -> None:
        """Restart one host's server. Raises LabError."""
        host.server.restart()

    def add_foreign_client(self) -> Owner:
        """Append an organisation's own CA to the servers' bundle, in the repository and on the hosts."""
        foreign = make_foreign_client("Elders BV", FOREIGN)
        self.repository.append_foreign_ca(Side.CLIENT, foreign.ca)
        self.foreign_owner.install_bundle()
        self.foreign_owner.install_pair(foreign.leaf, foreign.key)
        for host in self.hosts:
            host.write_client_bundle(self.repository.deployed()[Side.CLIENT]["chain"])
            host.server.reload()
        return self.foreign_owner

    def run_application(self, *, interval_ms: int = 100, is_kept: bool = False) -> Process:
        """Start the external application. It ends with this process unless it is kept."""
        orders = self._orders(EXTERNAL, (self.owner.identity,), interval_ms, is_kept=is_kept)
        return self._launch("lab.application", orders)

    def run_watcher(
        self, name: str = "watch", *, interval_ms: int = 250, identities: Sequence[Identity] | None = None
    ) -> Process:
        """Start a watcher that logs in as everybody, or as those named; it ends with this process."""
        return self._launch("lab.watch", self._orders(name, tuple(identities or self.identities), interval_ms))

    def journal(self, name: str) -> Path:
        """Where a program of that name writes: `applicatie` for the application, `watch` for the watcher."""
        return self.state / f"{name}.jsonl"

    def finish(self, program: Process) -> None:
        """End the application or a watcher, and wait until it is gone."""
        finish(program)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        if self.machines:
            self.machines.start(self.directory)
        addresses = {host.name: host.server.address for host in self.hosts}
        servers = {name: [name, address] for name, address in addresses.items()}
        with ThreadPoolExecutor() as pool:
            issuing = pool.submit(make_chain, SUBJECT, servers, CLIENTS, self.style)
            self.primary.server.initdb()
            chain = issuing.result()
        self._write_repository(addresses, chain)
        for host in self.hosts:
            host.install(chain, clients_on(host.name))
        self.owner.install_bundle()
        self.owner.install_pair(chain.leaves[Side.CLIENT][EXTERNAL], chain.keys.clients[EXTERNAL])
        self._start_primary()
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._start_standby, self.standbys))

    def _write_repository(self, addresses: Mapping[str, str], chain: Chain) -> None:
        variables = {host.name: host.inventory_variables(clients_on(host.name)) for host in self.hosts}
        connection = self.machines.ssh.variables() if self.machines else LOCAL
        self.repository.write(
            addresses,
            variables,
            chain,
            style=self.style,
            canary_interval_ms=self.canary_interval_ms,
            connection=connection,
        )

    def _start_primary(self) -> None:
        server = self.primary.server
        server.configure({**_SETTINGS, **self.primary.tls_settings()}, _HBA)
        server.start()
        with server.connect() as session:
            for role in _ROLES:
                session.execute(f'create role "{role}" login'.encode())

    def _start_standby(self, host: Host) -> None:
        source = make_conninfo(
            host=self.primary.name,
            hostaddr=self.primary.server.address,
            port=self.primary.server.port,
            user=SUPERUSER,
            sslmode="verify-full",
            application_name=host.name,
            **self._identity(host).files(),
        )
        host.server.copy_from(source)
        host.server.configure({**_SETTINGS, **host.tls_settings(), "primary_conninfo": source}, _HBA)
        host.server.start()

    def _identity(self, host: Host) -> Identity:
        return Identity(SUPERUSER, host.name, str(host.client_directory(SUPERUSER)))

    def _orders(
        self, name: str, identities: tuple[Identity, ...], interval_ms: int, *, is_kept: bool = False
    ) -> Orders:
        parent = 0 if is_kept else os.getpid()
        return Orders(identities, self.endpoints, str(self.journal(name)), interval_ms, parent)

    def _launch(self, module: str, orders: Orders) -> Process:
        program = launch(module, orders)
        leftover.record(self.state, program)
        return program


def _here(directory: Path, installation: Installation, account: Account) -> tuple[Host, ...]:
    addresses = free_addresses(len(SERVERS))
    return tuple(
        Host(name, Server(installation, account, directory / name, address, addresses.port), account)
        for name, address in zip(SERVERS, addresses.hosts, strict=True)
    )


def _machines(directory: Path, state: Path, installation: Installation) -> Machines:
    programs = [] if installation.bindir.is_relative_to("/usr") else [installation.bindir.parent]
    return Machines.prepare(SERVERS, directory, state / leftover.SSH, programs)


def _on_machines(machines: Machines, installation: Installation, account: Account) -> tuple[Host, ...]:
    def host(machine: Machine) -> Host:
        resident = Resident(account.name, account.uid, account.gid, machine)
        return Host(machine.name, Server(installation, resident, machine.directory, machine.address, PORT), resident)

    return tuple(host(machine) for machine in machines.all)


def clients_on(name: str) -> tuple[str, ...]:
    """The managed clients of a host."""
    return (*EVERYWHERE, BACKUP) if name == SERVERS[-1] else EVERYWHERE


def end_leftover(state: Path) -> bool:
    """End whatever lab was left by a state directory; its repository stays. Returns whether one was there.

    Raises:
        LabError: A server would not end.
    """
    return leftover.end(state)
