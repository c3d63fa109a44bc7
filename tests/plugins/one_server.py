"""One PostgreSQL server with TLS, for tests that judge logins and need no fleet."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.account import unprivileged_account
from lab.addresses import free_addresses
from lab.installation import Installation, usable_by
from lab.postgresql import Server
from rechain.fleet import Endpoint
from tests.plugins.authority import Authority

NAME = "db1.example"
HBA = (
    "local all all trust",
    "hostssl all asks_password all scram-sha-256",
    "hostssl closed all all reject",
    "hostssl postgres,absent all all cert",
)
TLS = {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "root.crt"}


@dataclass(frozen=True, slots=True)
class OneServer:
    """A running server and the authority above its certificate.

    Attributes:
        server: The lab's server.
        authority: Made its leaf, and is the CA that it trusts.
    """

    server: Server
    authority: Authority

    @property
    def endpoint(self) -> Endpoint:
        """Where it is reached."""
        return Endpoint("one", NAME, self.server.address, self.server.port)

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        """Replace one of its files."""
        path = self.server.data / name
        path.write_text(text, "ascii")
        self.server.account.own(path, mode)

    def restart(self, settings: Mapping[str, str], hba: Sequence[str] = HBA) -> None:
        """Restart it with other settings."""
        self.server.configure(settings, hba)
        self.server.restart()


@contextmanager
def one_server(installation: Installation) -> Iterator[OneServer]:
    """Start a server with the roles app, full (which may not have a connection) and asks_password."""
    home = Path(tempfile.mkdtemp(prefix="rechain-one-", dir="/var/tmp"))
    home.chmod(0o755)
    account = unprivileged_account()
    addresses = free_addresses(1)
    usable = usable_by(installation, account, home / "postgresql")
    one = OneServer(Server(usable, account, home / "server", addresses.hosts[0], addresses.port), Authority("ours"))
    try:
        _start(one)
        yield one
    finally:
        one.server.stop("immediate")
        shutil.rmtree(home)


def _start(one: OneServer) -> None:
    one.server.initdb()
    leaf = one.authority.server(NAME)
    one.write("server.crt", leaf.chain_pem)
    one.write("server.key", leaf.key_pem)
    one.write("root.crt", one.authority.client_bundle)
    one.server.configure(TLS, HBA)
    one.server.start()
    with one.server.connect() as session:
        session.execute("create role app login")
        session.execute("create role full login connection limit 0")
        session.execute("create role asks_password login password 'secret'")
