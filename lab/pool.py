"""The host before a fleet: PgBouncer, which logs in for its clients, and HAProxy, which passes their TLS through."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.account import Account
from lab.chain import Chain
from lab.environment import write_private
from lab.errors import LabError
from lab.machine import Machine
from rechain.fleet import Endpoint
from rechain.generation import Side

POOL = "pool.demo"
VIP = "vip.demo"
"""The name of what HAProxy passes on: every server's certificate carries it."""
POOLER = "pgbouncer"
"""The client with whose certificate PgBouncer logs in, as whoever logged in to it."""
PROGRAMS = ("pgbouncer", "haproxy", "psql")
_PGBOUNCER, _HAPROXY = 6432, 5000
_START_S = 15
_POLL_S = 0.1

_PGBOUNCER_INI = """\
[databases]
* = host={primary} port={port}
[pgbouncer]
listen_addr = {address}
listen_port = {listen}
unix_socket_dir = {run}
auth_type = cert
auth_file = {directory}/users.txt
admin_users = {pooler}
logfile = {directory}/pgbouncer.log
pidfile = {run}/pgbouncer.pid
client_tls_sslmode = verify-full
client_tls_cert_file = {pki}/server.crt
client_tls_key_file = {pki}/server.key
client_tls_ca_file = {pki}/root.crt
server_tls_sslmode = verify-full
server_tls_cert_file = {client}/postgresql.crt
server_tls_key_file = {client}/postgresql.key
server_tls_ca_file = {client}/root.crt
server_login_retry = 1
"""
_HAPROXY_CFG = """\
defaults
    mode tcp
    option redispatch 1
    retries 2
    timeout connect 2s
    timeout client 1h
    timeout server 1h
frontend postgresql
    bind {address}:{listen}
    default_backend servers
backend servers
    balance roundrobin
{servers}
"""


@dataclass(frozen=True, slots=True)
class Pool:
    """The machine of the two.

    Attributes:
        machine: The machine.
        account: Who they run as.
        servers: Name and address of the PostgreSQL servers, the primary first.
        port: Their port.
    """

    machine: Machine
    account: Account
    servers: tuple[tuple[str, str], ...]
    port: int

    @property
    def name(self) -> str:
        """Its inventory name."""
        return self.machine.name

    @property
    def server_directory(self) -> Path:
        """Where PgBouncer has its three files as a server."""
        return self.machine.directory / "pki" / "postgres"

    @property
    def client_directory(self) -> Path:
        """Where PgBouncer has its three files as a client of PostgreSQL."""
        return self.machine.directory / "home" / POOLER / ".postgresql"

    @property
    def pooler(self) -> Endpoint:
        """PgBouncer."""
        return Endpoint(self.name, self.name, self.machine.address, _PGBOUNCER)

    @property
    def proxy(self) -> Endpoint:
        """HAProxy, with the name that servers' certificates carry."""
        return Endpoint(self.name, VIP, self.machine.address, _HAPROXY)

    def install(self, chain: Chain, roles: Sequence[str]) -> None:
        """Install what the host needs of a chain, and its configuration.

        Args:
            chain: The chain.
            roles: Who may log in through PgBouncer.
        """
        for directory, mode in ((self._run, 0o755), (self.server_directory, 0o755), (self.client_directory, 0o700)):
            directory.mkdir(parents=True, exist_ok=True)
            self.account.own(directory, mode)
        self.account.own(self.machine.directory, 0o755)
        server = (chain.leaves[Side.SERVER][self.name], chain.keys.servers[self.name], chain.bundles[Side.CLIENT])
        client = (chain.leaves[Side.CLIENT][POOLER], chain.keys.clients[POOLER], chain.bundles[Side.SERVER])
        self._write_set(self.server_directory, ("server.crt", "server.key", "root.crt"), server)
        self._write_set(self.client_directory, ("postgresql.crt", "postgresql.key", "root.crt"), client)
        self._write("users.txt", "".join(f'"{role}" ""\n' for role in roles))
        self._write("pgbouncer.ini", self._ini())
        lines = "\n".join(f"    server {name} {address}:{self.port} check" for name, address in self.servers)
        self._write("haproxy.cfg", _HAPROXY_CFG.format(address=self.machine.address, listen=_HAPROXY, servers=lines))

    def start(self) -> None:
        """Start the two, and wait until they listen. Raises LabError."""
        directory = self.machine.directory
        self._act("pgbouncer", "-q", "-d", str(directory / "pgbouncer.ini"))
        self._act("haproxy", "-D", "-f", str(directory / "haproxy.cfg"), "-p", str(self._run / "haproxy.pid"))
        self._wait_for((_PGBOUNCER, _HAPROXY))

    def inventory_variables(self) -> dict[str, Any]:
        """Its variables in the inventory. HAProxy has no certificate, so it is none of rechain's business."""
        files = {"cert_dir": str(self.server_directory), "owner": self.account.name}
        service = {"kind": "pgbouncer", "address": self.machine.address, "port": _PGBOUNCER, **files}
        client = {"name": POOLER, "cert_dir": str(self.client_directory), "owner": self.account.name}
        return {
            "ansible_host": self.machine.address,
            "rechain_services": [{**service, "reload": self._console("RELOAD")}],
            "rechain_clients": [{**client, "reload": f"{self._console('RELOAD')} && {self._console('RECONNECT')}"}],
        }

    @property
    def _run(self) -> Path:
        return self.machine.directory / "run"

    def _console(self, command: str) -> str:
        """PgBouncer's console takes its own OS user without a certificate."""
        return self.account.command(
            ["psql", "-qX", "-h", str(self._run), "-p", str(_PGBOUNCER), "-U", POOLER, "-d", "pgbouncer", "-c", command]
        )

    def _ini(self) -> str:
        return _PGBOUNCER_INI.format(
            primary=self.servers[0][0],
            port=self.port,
            address=self.machine.address,
            listen=_PGBOUNCER,
            run=self._run,
            directory=self.machine.directory,
            pki=self.server_directory,
            client=self.client_directory,
            pooler=POOLER,
        )

    def _write(self, name: str, text: str) -> None:
        path = self.machine.directory / name
        path.write_text(text, "utf-8")
        self.account.own(path, 0o644)

    def _write_set(self, directory: Path, names: Sequence[str], texts: Sequence[str]) -> None:
        for name, text, mode in zip(names, texts, (0o644, 0o600, 0o644), strict=True):
            write_private(directory / name, text)
            self.account.own(directory / name, mode)

    def _act(self, *command: str) -> None:
        ended = self.account.run(command, cwd=self.machine.directory)
        if ended.returncode:
            raise LabError(self.name, f"{command[0]}: {(ended.stderr or ended.stdout).strip()}", "see the message")

    def _wait_for(self, ports: Sequence[int]) -> None:
        deadline = time.monotonic() + _START_S
        listening = ["ss", "-Hltn"]
        while missing := [port for port in ports if f":{port} " not in self.machine.run(*listening)]:
            if time.monotonic() > deadline:
                raise LabError(self.name, f"nobody listens on {missing}", f"see the logs in {self.machine.directory}")
            time.sleep(_POLL_S)
