"""An environment repository and its hosts on this machine, one of which runs PostgreSQL, for tests of the roll-out."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
import yaml

from lab.account import Account, unprivileged_account
from lab.addresses import free_addresses
from lab.environment import write_private
from lab.installation import find_postgresql, usable_by
from lab.postgresql import Server
from rechain.fleet import Endpoint
from tasks.fleet.rollout import RollOutResult, roll_out
from tasks.fleet.wire import served
from tasks.repository.vault import PASSWORD_VARIABLE, encrypt
from tests.plugins.authority import Authority, Pair

ENVIRONMENT = "test"
HOST = "db1.example"
CLIENT = "app"
SERVER_FILES = ("server.crt", "server.key", "root.crt")
CLIENT_FILES = ("postgresql.crt", "postgresql.key", "root.crt")
_LOCAL = {
    "ansible_connection": "local",
    "ansible_become": False,
    "ansible_python_interpreter": "{{ ansible_playbook_python }}",
}


@dataclass(frozen=True, slots=True, repr=False)
class Generation:
    """What one generation deploys on the hosts.

    Attributes:
        authority: Its CAs, with names of their own.
        server: The leaf of HOST.
        client: The leaf of CLIENT.
    """

    authority: Authority
    server: Pair
    client: Pair

    @property
    def server_texts(self) -> dict[str, str]:
        """The server's three files."""
        texts = (self.server.chain_pem, self.server.key_pem, self.authority.client_bundle)
        return dict(zip(SERVER_FILES, texts, strict=True))

    @property
    def client_texts(self) -> dict[str, str]:
        """The client's three files."""
        texts = (self.client.chain_pem, self.client.key_pem, self.authority.server_bundle)
        return dict(zip(CLIENT_FILES, texts, strict=True))

    @property
    def certs(self) -> dict[str, dict[str, str]]:
        """What certs.yml holds."""
        return {
            "server": {"chain": self.authority.server_bundle, HOST: self.server.chain_pem},
            "client": {"chain": self.authority.client_bundle, CLIENT: self.client.chain_pem},
        }

    @property
    def keys(self) -> dict[str, dict[str, str]]:
        """What the vault holds."""
        return {"server": {HOST: self.server.key_pem}, "client": {CLIENT: self.client.key_pem}}


def make_generation(name: str) -> Generation:
    """Make a generation with its own CA names."""
    authority = Authority(name)
    return Generation(authority, authority.server(HOST), authority.client(CLIENT))


@dataclass(slots=True, repr=False)
class Site:
    """A repository, a running server and a place for more hosts.

    Attributes:
        home: Directory of all of it; everybody may enter.
        server: The running server; its `cert_dir` is `pki`.
        old: The generation that it starts with.
        new: The next generation.
        hosts: Inventory host to its variables, as they are written.
    """

    home: Path
    server: Server
    old: Generation
    new: Generation
    hosts: dict[str, dict[str, object]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The environment repository."""
        return self.home / "repository"

    @property
    def account(self) -> Account:
        """The OS user that owns the files."""
        return self.server.account

    @property
    def pki(self) -> Path:
        """The server's `cert_dir`."""
        return self.server.directory / "pki"

    @property
    def certs_folder(self) -> Path:
        """Where certs.yml and the vault are."""
        return self.root / "environments" / ENVIRONMENT / "group_vars" / "all"

    @property
    def endpoint(self) -> Endpoint:
        """Where the server is reached."""
        return Endpoint(HOST, HOST, self.server.address, self.server.port)

    def reset(self) -> None:
        """Begin anew: plain files of the old generation on the host, the server serves them, no other host."""
        for directory in (self.pki, self.root, self.home / "hosts"):
            shutil.rmtree(directory, ignore_errors=True)
        self.hosts.clear()
        self.put(self.pki, self.old.server_texts)
        if self.server.is_running():
            self.server.reload()
        else:
            self.server.start()
        self.wait_for(self.old.server)
        self.hosts[HOST] = self.variables(HOST, rechain_services=[self.service()])
        self.deploy(self.old)

    def put(self, directory: Path, texts: Mapping[str, str]) -> None:
        """Write plain files as an Ansible role would, keys closed to others."""
        directory.mkdir(parents=True, exist_ok=True)
        self.account.own(directory, 0o755)
        for name, text in texts.items():
            (directory / name).unlink(missing_ok=True)
            write_private(directory / name, text)
            self.account.own(directory / name, 0o600 if name.endswith(".key") else 0o644)

    def deploy(
        self,
        generation: Generation,
        certs: Mapping[str, Mapping[str, str]] | None = None,
        keys: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Write certs.yml and the vault of a generation, or something else in their place."""
        self.certs_folder.mkdir(parents=True, exist_ok=True)
        document = {"certs": certs or generation.certs}
        (self.certs_folder / "certs.yml").write_text(yaml.safe_dump(document), "utf-8")
        vaulted = _encrypted(yaml.safe_dump({"private_keys": keys or generation.keys}))
        (self.certs_folder / "certs.vault.yml").write_text(vaulted, "utf-8")

    def variables(self, host: str, **given: object) -> dict[str, object]:
        """The variables of a host on this machine."""
        state = {"rechain_state_dir": str(self.state_directory(host)), "rechain_services": [], "rechain_clients": []}
        return {**_LOCAL, **state, **given}

    def state_directory(self, host: str) -> Path:
        """What /var/lib/rechain is on a real host."""
        return self.home / "hosts" / host / "state"

    def service(self, reload: str | None = None, **given: object) -> dict[str, object]:
        """The inventory's entry for the running server."""
        return {
            "kind": "postgresql",
            "address": self.server.address,
            "port": self.server.port,
            "cert_dir": str(self.pki),
            "owner": self.account.name,
            "reload": reload or self.server.reload_command,
            "log": str(self.server.log),
            **given,
        }

    def add_client_host(self, host: str, **given: object) -> Path:
        """Add a host with one managed client and no service, and return the client's `cert_dir`."""
        directory = self.home / "hosts" / host / "postgresql"
        self.put(directory, self.old.client_texts)
        client = {"name": CLIENT, "cert_dir": str(directory), "owner": self.account.name, **given}
        self.hosts[host] = self.variables(host, rechain_clients=[client])
        return directory

    def roll_out(
        self, hosts: Sequence[str] = (HOST,), *, claim: int = 1, batch: int = 1, timeout_s: float = 60
    ) -> RollOutResult:
        """Write the inventory and roll out."""
        self.write_inventory()
        return roll_out(
            self.root, ENVIRONMENT, hosts=hosts, claim=claim, phase="overlap", batch=batch, timeout_s=timeout_s
        )

    def write_inventory(self) -> None:
        """Write the inventory as it stands."""
        inventory = self.root / "environments" / ENVIRONMENT / "hosts"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": self.hosts}}), "utf-8")

    def fingerprint(self) -> str:
        """What the server serves now."""
        return served(self.endpoint)[0].fingerprint

    def wait_for(self, pair: Pair) -> None:
        """Wait until the server serves a leaf."""
        deadline = time.monotonic() + 10
        while self.fingerprint() != pair.value.fingerprint:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@cache
def _encrypted(text: str) -> str:
    """A vault's text; the same keys are written in test after test."""
    return encrypt(text)


@contextmanager
def site() -> Iterator[Site]:
    """A site whose server runs, to be `reset` before each test."""
    home = Path(tempfile.mkdtemp(prefix="rechain-site-", dir="/var/tmp"))
    home.chmod(0o755)
    account, addresses = unprivileged_account(), free_addresses(1)
    installation = usable_by(find_postgresql(), account, home / "postgresql")
    server = Server(installation, account, home / "server", addresses.hosts[0], addresses.port)
    made = Site(home, server, make_generation("old"), make_generation("new"))
    try:
        _initialise(made)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(PASSWORD_VARIABLE, str(home / "password"))
            yield made
    finally:
        server.stop("immediate")
        shutil.rmtree(home)


def _initialise(made: Site) -> None:
    write_private(made.home / "password", "correct horse\n")
    made.server.initdb()
    made.put(made.pki, made.old.server_texts)
    files = zip(("ssl_cert_file", "ssl_key_file", "ssl_ca_file"), SERVER_FILES, strict=True)
    settings = {"ssl": "on"} | {setting: str(made.pki / name) for setting, name in files}
    made.server.configure(settings, ("local all all trust", "hostssl all all all cert"))
    made.server.start()


@pytest.fixture(scope="module")
def running_site() -> Iterator[Site]:
    """A site with a running server, for all tests of a file."""
    with site() as made:
        yield made


@pytest.fixture
def fresh_site(running_site: Site) -> Site:
    """The site as it is at first: plain files of the old generation, which the server serves."""
    running_site.reset()
    return running_site
