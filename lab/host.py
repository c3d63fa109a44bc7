"""One inventory host of the lab: a server and managed clients, in a directory of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.account import Account
from lab.chain import Chain
from lab.environment import write_private
from lab.postgresql import Server
from rechain.fleet import Endpoint
from rechain.generation import Side


@dataclass(frozen=True, slots=True)
class Host:
    """A host: what would be a virtual machine.

    Attributes:
        name: Its inventory name, which is its name in the spec too.
        server: Its PostgreSQL.
        account: The OS user that owns everything on it.
    """

    name: str
    server: Server
    account: Account

    @property
    def endpoint(self) -> Endpoint:
        """Where its PostgreSQL is reached."""
        return Endpoint(self.name, self.name, self.server.address, self.server.port)

    @property
    def server_directory(self) -> Path:
        """Where the server's three files are (`cert_dir`)."""
        return self.server.directory / "pki" / "postgres"

    @property
    def state_directory(self) -> Path:
        """What `/var/lib/rechain` is on a real host."""
        return self.server.directory / "rechain"

    def client_directory(self, client: str) -> Path:
        """Where a managed client's three files are (`cert_dir`)."""
        return self.server.directory / "home" / client / ".postgresql"

    def install(self, chain: Chain, clients: Sequence[str]) -> None:
        """Install what the host needs of a chain, as Ansible roles copy it: plain files with owner and mode."""
        self.server.make_directory()
        self._make(self.server_directory.parent, 0o755)
        self._make(self.server_directory, 0o755)
        self._make(self.server.directory / "home", 0o755)
        server = (chain.leaves[Side.SERVER][self.name], chain.keys.servers[self.name], chain.bundles[Side.CLIENT])
        self._write(self.server_directory, ("server.crt", "server.key", "root.crt"), server)
        for client in clients:
            directory = self.client_directory(client)
            self._make(directory.parent, 0o755)
            self._make(directory, 0o700)
            files = (chain.leaves[Side.CLIENT][client], chain.keys.clients[client], chain.bundles[Side.SERVER])
            self._write(directory, ("postgresql.crt", "postgresql.key", "root.crt"), files)

    def write_client_bundle(self, pem: str) -> None:
        """Replace the client bundle that its server trusts."""
        path = self.server_directory / "root.crt"
        path.write_text(pem, "ascii")
        self.account.own(path, 0o644)

    def tls_settings(self) -> dict[str, str]:
        """The postgresql.conf settings that name its files."""
        directory = self.server_directory
        files = {"ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "root.crt"}
        return {"ssl": "on"} | {setting: str(directory / name) for setting, name in files.items()}

    def inventory_variables(self, clients: Sequence[str]) -> dict[str, Any]:
        """Its variables in the inventory: on real hosts most of these are the defaults."""
        service = {
            "kind": "postgresql",
            "address": self.server.address,
            "port": self.server.port,
            "cert_dir": str(self.server_directory),
            "owner": self.account.name,
            "reload": self.server.reload_command,
            "restart": self.server.restart_command,
            "log": str(self.server.log),
        }
        return {
            "ansible_host": self.server.address,
            "rechain_state_dir": str(self.state_directory),
            "rechain_services": [service],
            "rechain_clients": [
                {"name": client, "cert_dir": str(self.client_directory(client)), "owner": self.account.name}
                for client in clients
            ],
        }

    def _make(self, directory: Path, mode: int) -> None:
        directory.mkdir(exist_ok=True)
        self.account.own(directory, mode)

    def _write(self, directory: Path, names: tuple[str, str, str], texts: tuple[str, str, str]) -> None:
        """Write leaf, key and bundle; the key alone is closed to others."""
        for name, text, mode in zip(names, texts, (0o644, 0o600, 0o644), strict=True):
            write_private(directory / name, text)
            self.account.own(directory / name, mode)
