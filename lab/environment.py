"""The environment repository of the lab, as a team that uses pgvillage and chainsmith has it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab.account import scrubbed
from lab.chain import Chain, Style
from lab.errors import LabError
from rechain.generation import Side

ENVIRONMENT = "demo"
SUBJECT = {
    "C": "NL/postalCode=1261 WZ",
    "ST": "Noord-Holland",
    "L": "Blaricum/street=Binnendelta 1",
    "O": "Demo",
    "OU": "PostgreSQL",
    "CN": "postgres",
}
SERVERS = ("db1.demo", "db2.demo", "db3.demo")
EVERYWHERE = ("postgres", "avchecker", "pgquartz", "pgfga")
BACKUP = "minio"
EXTERNAL = "applicatie"
CLIENTS = (*EVERYWHERE, BACKUP, EXTERNAL)
LOCAL = {
    "ansible_connection": "local",
    "ansible_become": False,
    "ansible_python_interpreter": "{{ ansible_playbook_python }}",
}
"""How Ansible reaches hosts that are directories of this machine."""
_USAGES = ["keyEncipherment", "dataEncipherment", "digitalSignature"]
_SETTINGS = """\
# Short windows, so that the demo takes minutes and not hours. Leave them out in real life.
canary:
  interval_ms: {canary_interval_ms}
gates:
  window_s: 3
  quiet_s: 2
"""


@dataclass(frozen=True, slots=True)
class Names:
    """What a chain is made for.

    Attributes:
        servers: Server name to the names and addresses that its certificate carries.
        clients: Client names.
    """

    servers: Mapping[str, Sequence[str]]
    clients: Sequence[str] = CLIENTS


@dataclass(frozen=True, slots=True)
class Repository:
    """An environment repository on disk.

    Attributes:
        root: Its directory.
        password_file: The vault password, outside of it.
    """

    root: Path
    password_file: Path

    @property
    def inventory(self) -> Path:
        """The inventory of the environment."""
        return self.root / "environments" / ENVIRONMENT / "hosts"

    @property
    def certs(self) -> Path:
        """The public half of what is deployed."""
        return self.root / "environments" / ENVIRONMENT / "group_vars" / "all" / "certs.yml"

    @property
    def vault(self) -> Path:
        """The private keys."""
        return self.certs.with_name("certs.vault.yml")

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that rechain and Ansible need to work on it."""
        return {"ANSIBLE_VAULT_PASSWORD_FILE": str(self.password_file), "RECHAIN_REPO": str(self.root)}

    def deployed(self) -> dict[str, dict[str, str]]:
        """What certs.yml holds now: side to `chain` or name to PEM."""
        certs: dict[str, dict[str, str]] = yaml.safe_load(self.certs.read_text("utf-8"))["certs"]
        return certs

    def private_key(self, side: Side, name: str) -> str:
        """One private key out of the vault as it is now. Raises LabError."""
        keys = yaml.safe_load(self._ansible_vault("view", str(self.vault)))["private_keys"]
        return str(keys[side.value][name])

    def write(
        self,
        names: Names,
        hosts: Mapping[str, Mapping[str, object]],
        chain: Chain,
        *,
        style: Style,
        canary_interval_ms: int,
        connection: Mapping[str, object],
    ) -> None:
        """Write everything that a team would have before it meets rechain.

        Args:
            names: What the spec names.
            hosts: Inventory host to its variables.
            chain: The chain that chainsmith made.
            style: How chainsmith wrote it down.
            canary_interval_ms: Milliseconds between two logins of one client in the canary.
            connection: How Ansible reaches the hosts, as variables of the inventory.

        Raises:
            LabError: ansible-vault is missing or refuses.
        """
        self.password_file.parent.mkdir(parents=True, exist_ok=True)
        write_private(self.password_file, secrets.token_urlsafe(24) + "\n")  # first: it tells whose repository this is
        self.certs.parent.mkdir(parents=True)
        (self.root / "config").mkdir()
        spec = _yaml(_spec(names))
        (self.root / "config" / f"chainsmith_{ENVIRONMENT}.yml").write_text(spec, "utf-8")
        (self.root / "rechain.yml").write_text(_SETTINGS.format(canary_interval_ms=canary_interval_ms), "utf-8")
        self.inventory.write_text(_yaml(_inventory(hosts, connection)), "utf-8")
        self.certs.write_text(_chainsmith_yaml({"certs": _certs(chain)}, style), "utf-8")
        vaulted = self._ansible_vault("encrypt", "--output", "-", entry=_chainsmith_yaml(_keys(chain), style))
        self.vault.write_text(vaulted, "utf-8")

    def append_foreign_ca(self, side: Side, pem: str) -> None:
        """Append an organisation's own CA to a deployed bundle, as a colleague does by hand."""
        certs = self.deployed()
        certs[side]["chain"] += pem
        self.certs.write_text(_chainsmith_yaml({"certs": certs}, Style.GO), "utf-8")

    def commit(self, message: str, branch: str = "dev") -> None:
        """Put all of it under git, on a branch of that name. Raises LabError."""
        who = ["-c", "user.name=lab", "-c", "user.email=lab@demo", "-c", "commit.gpgsign=false"]
        if not (self.root / ".git").exists():
            _run(["git", "init", "-q", f"--initial-branch={branch}", str(self.root)])
        _run(["git", "-C", str(self.root), "add", "--all"])
        _run(["git", "-C", str(self.root), *who, "commit", "-q", "-m", message])

    def _ansible_vault(self, *arguments: str, entry: str = "") -> str:
        beside = Path(sys.executable).with_name("ansible-vault")
        program = str(beside) if beside.exists() else "ansible-vault"
        return _run([program, *arguments, "--vault-password-file", str(self.password_file)], entry)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _run(arguments: Sequence[str], entry: str = "") -> str:
    try:
        result = subprocess.run(
            arguments,
            input=entry,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=_ansible_locale(),
        )
    except FileNotFoundError:
        raise LabError(arguments[0], "the program was not found", "install it, or run the project's set-up") from None
    if result.returncode:
        raise LabError(arguments[0], result.stderr.strip(), "see the message")
    return result.stdout


def _ansible_locale() -> dict[str, str]:
    """Ansible refuses to start in a locale that is not UTF-8."""
    others = {name: value for name, value in scrubbed(os.environ).items() if not name.startswith("ANSIBLE_")}
    return others | {"LC_ALL": "C.UTF-8"}


def _spec(names: Names) -> dict[str, object]:
    servers = {name: list(carried) for name, carried in names.servers.items()}
    clients = list(names.clients)
    return {
        "subject": SUBJECT,
        "tmpdir": f"/tmp/chainsmith/{ENVIRONMENT}",  # noqa: S108  # a line of the spec; nothing is made there
        "intermediates": [
            {"name": "server", "keyUsages": _USAGES, "extendedKeyUsages": ["serverAuth"], "servers": servers},
            {"name": "client", "keyUsages": _USAGES, "extendedKeyUsages": ["clientAuth"], "clients": clients},
        ],
    }


def _inventory(hosts: Mapping[str, Mapping[str, object]], connection: Mapping[str, object]) -> dict[str, object]:
    groups = {
        "hacluster": {"hosts": {name: dict(values) for name, values in hosts.items()}},
        "backup": {"hosts": {SERVERS[-1]: None}},
    }
    return {"all": {"vars": dict(connection), "children": groups}}


def _certs(chain: Chain) -> dict[str, dict[str, str]]:
    return {side.value: {"chain": chain.bundles[side], **chain.leaves[side]} for side in Side}


def _keys(chain: Chain) -> dict[str, object]:
    # chainsmith's Python version also leaves the intermediate's encrypted key there, under the side's own name.
    own = {side: {side.value: chain.ca_keys[side]} if chain.ca_keys else {} for side in Side}
    return {"private_keys": {side.value: {**own[side], **chain.keys.of(side)} for side in Side}}


def _yaml(document: object) -> str:
    return "---\n" + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)


def _chainsmith_yaml(document: object, style: Style) -> str:
    """The Python version dumps everything in style `|`, which quotes the names; the Go version does not."""
    if style is Style.PYTHON:
        return "---\n" + yaml.safe_dump(document, default_flow_style=False, default_style="|")
    return "---\n" + yaml.dump(document, Dumper=_Literal, default_flow_style=False)


class _Literal(yaml.SafeDumper):
    """Writes texts of several lines as literal blocks, and all else plainly."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Literal.add_representer(str, _represent)
