"""The fleet as the inventory describes it, read by Ansible's own `ansible-inventory`.

Ansible reads the inventory through a folder of links that lacks certs.yml and its vault. Not only do the private keys
stay where they are: it would print them, and every certificate, once for each host.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rechain.errors import InventoryError, RepositoryError
from rechain.fleet import Fleet, Host
from tasks.fleet.host_variables import read_host
from tasks.fleet.inventory_digest import inventory_digest
from tasks.fleet.templating import AllHosts
from tasks.repository.layout import environment_folder
from tasks.repository.programs import Finished, ansible_environment, find_program, run
from tasks.repository.vault import PASSWORD_VARIABLE, password_file

_NAMES = (
    "hosts",
    "hosts.yml",
    "hosts.yaml",
    "hosts.ini",
    "inventory",
    "inventory.yml",
    "inventory.yaml",
    "inventory.ini",
)
_HIDDEN = ("certs.yml", "certs.vault.yml", "certsvault.yml")
_VARIABLES = "zz_rechain.json"
_TIMEOUT_S = 120.0
_MOST_ANSWERS = 20  # environments that one process looks at by turns


def inventory_path(root: Path, environment: str) -> Path:
    """What `ansible-playbook -i` takes: the inventory file of an environment, or its folder where there is none.

    Raises:
        RepositoryError: There is no such environment.
    """
    folder = environment_folder(root, environment)
    return next((folder / name for name in _NAMES if (folder / name).is_file()), folder)


def read_fleet(root: Path, environment: str, clients: Sequence[str], servers: Collection[str]) -> Fleet:
    """Read hosts, their services and their managed clients.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        clients: The spec's clients; those on no host are external.
        servers: The spec's servers.

    Raises:
        InventoryError: Ansible can't read the inventory, or a variable has the wrong shape.
        RepositoryError: There is no such environment, or Ansible did not answer in time.
    """
    fleet, refusals = read_readable_fleet(root, environment, clients, servers)
    if refusals:
        raise refusals[0]
    return fleet


def read_readable_fleet(
    root: Path, environment: str, clients: Sequence[str], servers: Collection[str]
) -> tuple[Fleet, tuple[InventoryError, ...]]:
    """As `read_fleet`, without the hosts whose variables are wrong; and what is wrong with them.

    Ansible is asked once as long as no file of the inventory changes.

    Raises:
        InventoryError: Ansible can't read the inventory.
        RepositoryError: There is no such environment, or Ansible did not answer in time.
    """
    with without_certs(root, environment) as view:
        digest = inventory_digest(view, root)
        asked = _Question(root, environment, tuple(clients), frozenset(servers), digest)
        answer = _answers.get(asked) or _fleet(_list(root, environment, view), environment, clients, servers)
    if digest is not None and not answer[1]:
        _answers[asked] = answer
        _forget_all_but_the_newest()
    return answer


@dataclass(frozen=True, slots=True)
class _Question:
    root: Path
    environment: str
    clients: tuple[str, ...]
    servers: frozenset[str]
    digest: str | None


# What was read of the inventories as they are: nothing secret is in a fleet, as it is in Ansible's variables.
_answers: dict[_Question, tuple[Fleet, tuple[InventoryError, ...]]] = {}


def _forget_all_but_the_newest() -> None:
    for old in list(_answers)[:-_MOST_ANSWERS]:
        _answers.pop(old, None)


def _fleet(
    listing: Mapping[str, Mapping[str, object]], environment: str, clients: Sequence[str], servers: Collection[str]
) -> tuple[Fleet, tuple[InventoryError, ...]]:
    groups = {name: _members(listing, name) for name in listing if name != "_meta"}
    hosts = AllHosts(_variables(listing, groups.get("all", ())), groups)
    found: list[Host] = []
    refusals: list[InventoryError] = []
    for host, variables in hosts.items():
        try:
            found.append(read_host(variables, hosts.groups_of(host), clients, servers))
        except InventoryError as error:
            refusals.append(error)
    managed = {client.name for host in found for client in host.clients}
    external = tuple(client for client in clients if client not in managed)
    return Fleet(environment, tuple(found), external), tuple(refusals)


def _list(root: Path, environment: str, view: Path) -> Mapping[str, Mapping[str, object]]:
    source = inventory_path(root, environment)
    finished = run(
        [find_program("ansible-inventory"), "--list", "-i", str(view), "--playbook-dir", str(root)],
        environment=_environment(),
        cwd=root,  # so that the repository's ansible.cfg counts
        timeout_s=_TIMEOUT_S,
    )
    if finished.returncode != 0:
        raise _refusal(finished, source, str(view))
    listing: dict[str, dict[str, object]] = json.loads(finished.stdout)
    if not _members(listing, "all"):
        raise InventoryError(str(source), "has no hosts", "add the hosts of the fleet")
    return listing


@contextmanager
def without_certs(root: Path, environment: str, variables: Mapping[str, object] | None = None) -> Iterator[Path]:
    """An inventory without certs.yml and its vault, to be read with no vault password; gone when the block ends.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        variables: Further variables of all hosts.

    Yields:
        What `-i` takes.

    Raises:
        RepositoryError: There is no such environment.
    """
    source = inventory_path(root, environment)
    with _view(environment_folder(root, environment)) as folder:
        if variables is not None:
            _add_variables(folder / "group_vars" / "all", variables)
        yield folder / source.name if source.is_file() else folder


def _add_variables(folder: Path, variables: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(variables, ensure_ascii=False)
    (folder / _VARIABLES).write_text(text, "utf-8")


@contextmanager
def _view(folder: Path) -> Iterator[Path]:
    """A folder that shows an inventory folder through links, without the certs files."""
    with tempfile.TemporaryDirectory(prefix="rechain-inventory-") as scratch:
        view = Path(scratch) / folder.name
        _link(folder, view, opened=("group_vars",))
        _link(folder / "group_vars", view / "group_vars", opened=("all",))
        _link(folder / "group_vars" / "all", view / "group_vars" / "all", hidden=_HIDDEN)
        yield view


def _link(folder: Path, view: Path, *, opened: Collection[str] = (), hidden: Collection[str] = ()) -> None:
    """Link what is in a folder, but for folders that are shown one level deeper and files that are not shown."""
    if not folder.is_dir():
        return
    view.mkdir()
    for entry in folder.iterdir():
        if entry.name not in hidden and not (entry.name in opened and entry.is_dir()):
            (view / entry.name).symlink_to(entry.absolute())


def _environment() -> dict[str, str]:
    environment = ansible_environment(keep_settings=True)
    password = password_file()
    if password:
        environment[PASSWORD_VARIABLE] = str(password)
    return environment | {
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",  # else a broken file is a warning and no hosts
        "ANSIBLE_INVENTORY_EXPORT": "0",
    }


def _refusal(finished: Finished, source: Path, view: str) -> InventoryError | RepositoryError:
    if "no vault secrets" in finished.stderr:
        return InventoryError(
            str(source), "a vault beside it needs a password", f"export {PASSWORD_VARIABLE}=FILE with the right one"
        )
    lines = [line for line in finished.stderr.splitlines() if re.match(r"\[(ERROR|WARNING)\]: ", line)]
    said = re.sub(r"^\[\w+\]: ", "", lines[0]) if lines else f"ansible-inventory ended with code {finished.returncode}"
    return InventoryError(str(source), said.replace(view, str(source)), "correct it; try ansible-inventory --list")


def _members(listing: Mapping[str, Mapping[str, object]], group: str) -> tuple[str, ...]:
    """The hosts of a group and of the groups below it, each once, in the order of the inventory."""
    content = listing.get(group, {})
    below = [host for child in _names(content, "children") for host in _members(listing, child)]
    return tuple(dict.fromkeys([*_names(content, "hosts"), *below]))


def _names(content: Mapping[str, object], key: str) -> list[str]:
    names = content.get(key, [])
    return [str(name) for name in names] if isinstance(names, list) else []


def _variables(
    listing: Mapping[str, Mapping[str, object]], hosts: Sequence[str]
) -> dict[str, dict[str, object]]:  # fmt: skip
    known = listing.get("_meta", {}).get("hostvars", {})
    of = known if isinstance(known, dict) else {}
    dropped = ("certs", "private_keys")  # in some other file of variables; not ours to know
    return {host: {name: value for name, value in of.get(host, {}).items() if name not in dropped} for host in hosts}
