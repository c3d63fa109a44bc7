"""Environment repositories on disk, small and whole."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from rechain.certs import Certs
from rechain.issue import Issued
from rechain.phase import Phase
from rechain.rotation import Rotation
from tasks.repository.certs_yaml import render_certs, render_keys
from tasks.repository.vault import encrypt
from tests.chains import Chain, make_chain

SERVERS = ("pg1", "pg2")
CLIENTS = ("postgres", "applicatie")
AT_REST = Rotation(Phase.RETIRED, current=1, next=None, last_generation=1)
ISSUED = replace(AT_REST, phase=Phase.ISSUED, next=2, last_generation=2)
HOSTS = """\
all:
  children:
    pgnodes:
      hosts:
        pg1: {ansible_host: 192.0.2.1}
        pg2: {ansible_host: 192.0.2.2}
  vars:
    chainsmith_users:
      pgnodes: [postgres]
"""
SPEC = """\
subject: {CN: postgres, O: Acme}
key: ecdsa-p256
intermediates:
  - name: server
    servers: {pg1: [192.0.2.1], pg2: [192.0.2.2]}
  - name: client
    clients: [postgres, applicatie]
"""
"""The chain spec of such an environment."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment `acc` in a repository of its own.

    Attributes:
        root: The repository.
        chain: What its certs.yml and vault hold.
    """

    root: Path
    chain: Chain
    name: str = "acc"

    @property
    def folder(self) -> Path:
        """The inventory's folder."""
        return self.root / "environments" / self.name

    @property
    def certs(self) -> Path:
        """certs.yml."""
        return self.folder / "group_vars" / "all" / "certs.yml"

    @property
    def vault(self) -> Path:
        """The vault."""
        return self.folder / "group_vars" / "all" / "certs.vault.yml"

    @property
    def state(self) -> Path:
        """What rechain keeps about it."""
        return self.root / "rechain" / self.name


@dataclass(frozen=True, slots=True)
class Shared:
    """Two clones of one remote: the first clone's and the second clone's."""

    remote: Path
    ours: Path
    theirs: Path


def make_environment(root: Path, *, vault: str | None = None) -> Environment:
    """Write an environment that has one chain; a vault's text may be given where no test opens it."""
    environment = Environment(root, make_chain(1, SERVERS, CLIENTS))
    environment.certs.parent.mkdir(parents=True)
    (environment.folder / "hosts").write_text(HOSTS)
    environment.certs.write_text(render_certs("", certs_of(environment.chain)))
    environment.vault.write_text(vault or encrypt(render_keys("", environment.chain.keys)))
    return environment


def files_in(root: Path) -> Environment:
    """The environment in another clone: its paths, with a chain that is nobody's."""
    return Environment(root, make_chain(1, (), ()))


def certs_of(chain: Chain) -> Certs:
    """The certs.yml of a generation alone."""
    generation = chain.generation
    return Certs(generation.server_bundle, generation.client_bundle, generation.servers, generation.clients)


def issued(chain: Chain) -> Issued:
    """A chain as the product's issuing hands it over."""
    ca_keys = {"root": chain.root.key_pem, "server": chain.server_ca.key_pem, "client": chain.client_ca.key_pem}
    return Issued(chain.generation, chain.keys, ca_keys)


def sealed(text: str) -> str:
    """A text that looks like a vault, for tests that move files and open none."""
    return f"$ANSIBLE_VAULT;1.1;AES256\n{text.encode().hex()}\n"


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder as a person with a name."""
    person = ("-c", "user.name=Dba", "-c", "user.email=dba@example.com")
    done = subprocess.run(
        ["git", *person, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )  # fmt: skip
    return done.stdout


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, Git's own left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.relative_to(folder).parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
