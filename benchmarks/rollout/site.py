"""Hosts to roll out to, each a machine with sshd, and a repository that names them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab.chain import Chain, Style, make_chain
from lab.machines import Machines, end_machine
from lab.network import remove_network
from rechain.generation import Side
from tasks.repository.vault import PASSWORD_VARIABLE, encrypt

CLIENT, ENVIRONMENT = "app", "bench"
_DIRECTORY = f"/etc/pki/{CLIENT}"
_COPIES = f"""\
- hosts: all
  serial: "{{{{ at_a_time }}}}"
  become: true
  gather_facts: false
  tasks:
    - copy: {{dest: {_DIRECTORY}.crt, content: "{{{{ certs.client.{CLIENT} }}}}", mode: "0644"}}
      notify: reload
    - copy: {{dest: {_DIRECTORY}.key, content: "{{{{ private_keys.client.{CLIENT} }}}}", mode: "0600"}}
      no_log: true
      notify: reload
    - copy: {{dest: {_DIRECTORY}.root.crt, content: "{{{{ certs.server.chain }}}}", mode: "0644"}}
      notify: reload
    - copy: {{dest: {_DIRECTORY}.client.crt, content: "{{{{ certs.client.chain }}}}", mode: "0644"}}
      notify: reload
  handlers:
    - name: reload
      command: "true"
"""


@dataclass(frozen=True, slots=True)
class Site:
    """An environment repository and its hosts.

    Attributes:
        root: The repository; `copies.yml` in it.
        hosts: The inventory names.
    """

    root: Path
    hosts: tuple[str, ...]

    @property
    def inventory(self) -> Path:
        """What `-i` takes."""
        return self.root / "environments" / ENVIRONMENT / "hosts.yml"

    def deploy(self, chain: Chain) -> None:
        """Let the next roll-out find another chain, its keys in a vault. Raises RepositoryError."""
        certs = {side.value: {"chain": chain.bundles[side], **chain.leaves[side]} for side in Side}
        keys = {side.value: dict(chain.keys.of(side)) for side in Side}
        folder = self.inventory.parent / "group_vars" / "all"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "certs.yml").write_text(json.dumps({"certs": certs}), "utf-8")
        (folder / "certsvault.yml").write_text(encrypt(json.dumps({"private_keys": keys})), "utf-8")


@contextmanager
def machines(directory: Path, count: int) -> Iterator[Site]:
    """Start machines; they end with the block. Raises LabError."""
    names = [f"host{number}" for number in range(count)]
    made = Machines.prepare(names, directory / "hosts", directory / "ssh")
    (directory / "hosts").mkdir()
    try:
        made.start(directory)
        for machine in made.all:
            machine.run("mkdir", "-p", _DIRECTORY)
        site = Site(directory / "repository", tuple(names))
        site.inventory.parent.mkdir(parents=True)
        (site.root / "password").write_text("of no worth\n", "ascii")
        os.environ[PASSWORD_VARIABLE] = str(site.root / "password")
        site.inventory.write_text(yaml.safe_dump(_inventory(made)), "utf-8")
        (site.root / "copies.yml").write_text(_COPIES, "utf-8")
        yield site
    finally:
        for machine in made.all:
            end_machine(machine.directory)
        remove_network(directory)


def chains(count: int = 2) -> Sequence[Chain]:
    """Chains of the same names, one after the other to be rolled out."""
    subject = {"O": "Bench", "CN": "bench"}
    return [make_chain(subject, {"host0": ["host0"]}, [CLIENT], Style.GO) for _ in range(count)]


def _inventory(made: Machines) -> dict[str, object]:
    # As Ansible is shipped: connections are kept for a minute, for every contender alike.
    variables = {name: value for name, value in made.ssh.variables().items() if name != "ansible_ssh_args"}
    client = {"name": CLIENT, "cert_dir": _DIRECTORY, "owner": "root"}
    given = {"rechain_services": [], "rechain_clients": [client]}
    hosts = {machine.name: {"ansible_host": machine.address, **given} for machine in made.all}
    return {"all": {"vars": variables, "hosts": hosts}}
