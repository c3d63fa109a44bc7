"""Read an environment's chain spec, and the inventory that its `hosts:` points at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from rechain.errors import SpecError
from rechain.spec import ChainSpec, parse_spec
from tasks.repository.files import read_text
from tasks.repository.layout import environment_folder
from tasks.repository.programs import ansible_environment, find_program, run

_INVENTORY_LIMIT_S = 60.0
_Listing = dict[str, Any]  # JSON, as `ansible-inventory --list` gives it


def read_spec(root: Path, environment: str) -> ChainSpec:
    """Read the chain spec of an environment.

    Idempotent, reads only. A spec that names neither servers nor `hosts:` is about the environment's own inventory.

    Args:
        root: The environment repository.
        environment: Name of the environment.

    Raises:
        RepositoryError: There is no such environment, or its spec can't be read.
        SpecError: The spec is no YAML or has a shape that can't be served; names file, key and fix.
    """
    return parse_text(root, environment, read_text(spec_path(root, environment)))


def parse_text(root: Path, environment: str, text: str) -> ChainSpec:
    """Parse a text as the chain spec of an environment; raises as `read_spec` does."""
    path = spec_path(root, environment)
    own = environment_folder(root, environment) / "hosts"
    inventory = str(own.relative_to(root)) if own.exists() else None
    hosts = InventoryServers(root, path)
    return parse_spec(load_text(text, path), str(path), hosts, inventory=inventory)


def spec_path(root: Path, environment: str) -> Path:
    """Where the chain spec of an environment is: its own, else the one that environments share.

    Raises:
        RepositoryError: There is no such environment.
        SpecError: It has no spec.
    """
    environment_folder(root, environment)
    own, shared = (root / "config" / name for name in (f"chainsmith_{environment}.yml", "chainsmith.yml"))
    for path in (own, shared):
        if path.exists():
            return path
    raise SpecError(str(own), "there is no chain spec", f"write it, or {shared} for all environments")


def load_document(path: Path) -> object:
    """Load a spec as YAML 1.2, where `C: NO` is Norway; a key that is there twice is refused.

    Raises:
        RepositoryError: It is missing, unreadable, no text, or empty.
        SpecError: It is not YAML.
    """
    return load_text(read_text(path), path)


def load_text(text: str, path: Path) -> object:
    """Load a spec's text, as `load_document` does; `path` is for errors."""
    try:
        return YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise SpecError(str(path), f"can't be read as YAML: {line}{error.problem}", "correct that line") from None
    except (YAMLError, ValueError) as error:
        raise SpecError(str(path), f"can't be read as YAML: {error}".splitlines()[0], "correct it") from None


class InventoryServers:
    """The servers of an inventory, as `parse_spec` asks for them.

    Every host is one, by its `rechain_server_name` or its inventory name, with its `ansible_host` as a further name.
    Only what the inventory itself says is read, not group_vars and host_vars: those hold vaults, and a spec is to be
    readable without their password.

    Args:
        root: The environment repository, which paths are relative to.
        spec: The spec file, for errors.
    """

    def __init__(self, root: Path, spec: Path) -> None:
        self._root = root
        self._spec = spec

    def __call__(self, path: str) -> Mapping[str, tuple[str, ...]]:
        """Server name to further names, in the order of the inventory. Raises SpecError when it can't be read."""
        inventory = self._root / path
        if not inventory.exists():
            raise SpecError(str(self._spec), f"hosts: there is no inventory {inventory}", "correct the path")
        listing = self._list(inventory)
        variables = listing["_meta"]["hostvars"]
        found = dict(_server(name, variables.get(name, {})) for name in dict.fromkeys(_hosts(listing, "all")))
        if not found:
            raise SpecError(str(self._spec), f"hosts: the inventory {inventory} holds no hosts", "correct the path")
        return found

    def _list(self, inventory: Path) -> _Listing:
        settings = {"ANSIBLE_VARS_ENABLED": "", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"}
        command = [find_program("ansible-inventory"), "-i", str(inventory.absolute()), "--list"]
        environment = ansible_environment(keep_settings=True) | settings
        finished = run(command, environment=environment, cwd=self._root, timeout_s=_INVENTORY_LIMIT_S)
        if finished.returncode:
            said = re.sub(r"\[\w+\]: ", "", finished.stderr).strip() or "it said nothing"
            what = f"hosts: Ansible can't read {inventory}: {said.splitlines()[0]}"
            raise SpecError(str(self._spec), what, "correct the inventory")
        listing: _Listing = json.loads(finished.stdout)
        return listing


def _hosts(listing: _Listing, group: str) -> Iterator[str]:
    """Hosts of a group, then those of the groups below it."""
    content = listing.get(group, {})
    yield from content.get("hosts", ())
    for child in content.get("children", ()):
        yield from _hosts(listing, child)


def _server(name: str, variables: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    server = str(variables.get("rechain_server_name", name))
    address = variables.get("ansible_host")
    is_known = isinstance(address, str) and "{{" not in address and address not in {server, "localhost"}
    return server, (str(address),) if is_known else ()
