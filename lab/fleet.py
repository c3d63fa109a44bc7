"""A PostgreSQL fleet on this machine: a primary and two standbys that replicate over mTLS, and its applications."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import make_conninfo

from lab import leftover, placing
from lab.access import FOREIGN, clients_on, names_of, roles, rules
from lab.account import Account, unprivileged_account
from lab.chain import Chain, Style, make_chain, make_foreign_client
from lab.environment import BACKUP, EXTERNAL, LOCAL, SUBJECT, Names, Repository
from lab.errors import LabError
from lab.host import Host
from lab.installation import find_postgresql, usable_by
from lab.login import Identity
from lab.owner import Owner
from lab.placing import Place
from lab.pool import POOLER
from lab.postgresql import SUPERUSER, Installation
from lab.processes import Process
from lab.program import Orders, finish, launch
from rechain.fleet import Endpoint
from rechain.generation import Side

_SETTINGS = {
    "wal_keep_size": "64MB",
    "min_wal_size": "2MB",
    "max_wal_size": "64MB",
    "wal_retrieve_retry_interval": "1s",
}


@dataclass(frozen=True, slots=True)
class Lab:
    """A fleet, its environment repository and the people around it.

    Attributes:
        state: The directory of the environment repository, the vault password, journals and the marker.
        directory: The directory of hosts and of people outside the fleet; holds every key in use, removed at the end.
        installation: The PostgreSQL that runs.
        account: The OS user that servers and managed clients run as.
        place: Where its hosts are.
        style: Which chainsmith the first chain looks like.
        canary_interval_ms: Milliseconds between two logins of one client in rechain's canary.
    """

    state: Path
    directory: Path
    installation: Installation
    account: Account
    place: Place
    style: Style
    canary_interval_ms: int

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
            if on_machines:
                place = placing.on_machines(directory, state.resolve(), installation, account)
            else:
                place = placing.on_loopback(directory, installation, account)
        except LabError:
            leftover.end(state)
            raise
        return cls(state.resolve(), directory, installation, account, place, Style(style), canary_interval_ms)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The hosts of the servers, the primary first."""
        return self.place.hosts

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
    def paths(self) -> tuple[Endpoint, ...]:
        """Every way to a database: the servers, and where there is a pool, through PgBouncer and through HAProxy."""
        pool = self.place.pool
        return (*self.endpoints, *((pool.pooler, pool.proxy) if pool else ()))

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
        """Every managed client on every host, PgBouncer's among them, and the external one."""
        managed = (
            Identity(client, host.name, str(host.client_directory(client)), has_role=client != BACKUP)
            for host in self.hosts
            for client in clients_on(host.name)
        )
        pool = self.place.pool
        pooler = (Identity(POOLER, pool.name, str(pool.client_directory)),) if pool else ()
        return (*managed, *pooler, self.owner.identity)

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

    def make_standby(self, host: Host) -> None:
        """Make a host's server a standby of the primary, from a new copy, whatever it was. Raises LabError."""
        host.server.stop()
        shutil.rmtree(host.server.data, ignore_errors=True)
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
        host.server.configure({**_SETTINGS, **host.tls_settings(), "primary_conninfo": source}, *rules(self.place.pool))
        host.server.start()

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
        if self.place.machines:
            self.place.machines.start(self.directory)
        names = names_of(self.place)
        with ThreadPoolExecutor() as workers:
            issuing = workers.submit(make_chain, SUBJECT, names.servers, names.clients, self.style)
            self.primary.server.initdb()
            chain = issuing.result()
        self._write_repository(names, chain)
        for host in self.hosts:
            host.install(chain, clients_on(host.name))
        self._start_etcd()
        self.owner.install_bundle()
        self.owner.install_pair(chain.leaves[Side.CLIENT][EXTERNAL], chain.keys.clients[EXTERNAL])
        self._start_primary()
        with ThreadPoolExecutor() as workers:
            list(workers.map(self.make_standby, self.standbys))
        for member in self.place.members:
            member.wait()
        if self.place.pool:
            self.place.pool.install(chain, (SUPERUSER, BACKUP, *roles(self.place.pool)))
            self.place.pool.start()

    def _start_etcd(self) -> None:
        for member in self.place.members:
            member.install(self.place.members)
            member.start()

    def _write_repository(self, names: Names, chain: Chain) -> None:
        variables = {host.name: host.inventory_variables(clients_on(host.name)) for host in self.hosts}
        for member in self.place.members:
            variables[member.machine.name]["rechain_services"].append(member.service())
        if self.place.pool:
            variables[self.place.pool.name] = self.place.pool.inventory_variables()
        self.repository.write(
            names,
            variables,
            chain,
            style=self.style,
            canary_interval_ms=self.canary_interval_ms,
            connection=self.place.machines.ssh.variables() if self.place.machines else LOCAL,
        )

    def _start_primary(self) -> None:
        server = self.primary.server
        server.configure({**_SETTINGS, **self.primary.tls_settings()}, *rules(self.place.pool))
        server.start()
        with server.connect() as session:
            for role in roles(self.place.pool):
                session.execute(f'create role "{role}" login'.encode())

    def _identity(self, host: Host) -> Identity:
        return Identity(SUPERUSER, host.name, str(host.client_directory(SUPERUSER)))

    def _orders(
        self, name: str, identities: tuple[Identity, ...], interval_ms: int, *, is_kept: bool = False
    ) -> Orders:
        parent = 0 if is_kept else os.getpid()
        stores = tuple(member.endpoint for member in self.place.members)
        return Orders(identities, self.paths, str(self.journal(name)), interval_ms, parent, stores)

    def _launch(self, module: str, orders: Orders) -> Process:
        program = launch(module, orders)
        leftover.record(self.state, program)
        return program
