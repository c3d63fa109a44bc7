"""What the inventory asks of a host, as sets of files: one per directory, with the services and clients that read it.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from tasks.playbooks.module_utils.rechain_account import Account
    from tasks.playbooks.module_utils.rechain_kinds import KINDS, misfit
    from tasks.playbooks.module_utils.rechain_pem import Refused, certificates, require_key, revocation_lists
    from tasks.playbooks.module_utils.rechain_store import CertDirectory
    from tasks.playbooks.module_utils.rechain_wire import Endpoint
else:
    from ansible.module_utils.rechain_account import Account
    from ansible.module_utils.rechain_kinds import KINDS, misfit
    from ansible.module_utils.rechain_pem import Refused, certificates, require_key, revocation_lists
    from ansible.module_utils.rechain_store import CertDirectory
    from ansible.module_utils.rechain_wire import Endpoint

_SERVICE_FILES = {"cert": "server.crt", "key": "server.key", "ca": "root.crt"}
_CLIENT_FILES = {"cert": "postgresql.crt", "key": "postgresql.key", "ca": "root.crt"}


class Material:
    """Leaf, key and bundle of one reader.

    Attributes:
        label: What to call it in a message.
        cert: Leaf and intermediate, PEM.
        key: Private key, PEM.
        ca: Bundle of the other side, PEM.
        crl: Revocation lists of the bundle's CAs, PEM; None when it reads none.
    """

    def __init__(self, label: str, cert: str, key: str, ca: str, crl: str | None = None) -> None:
        self.label, self.cert, self.key, self.ca, self.crl = label, cert, key, ca, crl

    def check(self) -> None:
        """Refuse what can be seen to be broken without writing it anywhere. Raises Refused."""
        certificates(self.cert, f"{self.label}: the certificate")
        require_key(self.key, f"{self.label}: the private key")
        certificates(self.ca, f"{self.label}: the bundle")
        if self.crl is not None:
            revocation_lists(self.crl, f"{self.label}: the revocation lists")

    def contents(self) -> dict[str, str]:
        """Part of a reader's files to its content."""
        lists = {} if self.crl is None else {"crl": self.crl}
        return {"cert": self.cert, "key": self.key, "ca": self.ca, **lists}


class Reader:
    """A service or managed client that reads a set.

    Attributes:
        label: What to call it in a message.
        files: `cert`, `key`, `ca`, and `crl` where it reads one, to file name.
        reload: Shell command after which the new files are in use; None when it reads them at every connect.
        endpoint: Where a service serves the leaf; None where its reload command is all there is.
        log: Path or pattern of a service's log; None when unknown.
        restart: Shell command that starts a service anew; None where nothing calls it.
    """

    def __init__(
        self,
        label: str,
        files: Mapping[str, str],
        reload: str | None,
        *,
        endpoint: Endpoint | None = None,
        log: str | None = None,
        restart: str | None = None,
    ) -> None:
        self.label, self.files, self.reload, self.endpoint, self.log = label, files, reload, endpoint, log
        self.restart = restart


class CertSet:
    """All files of one directory and everybody who reads them.

    Attributes:
        path: The directory.
        account: Who owns the files.
        files: File name to content.
        readers: The services first, then the clients.
        directory: The directory as it is switched.
    """

    def __init__(self, path: Path, account: Account) -> None:
        self.path, self.account = path, account
        self.files: dict[str, bytes] = {}
        self.readers: list[Reader] = []
        self._private: set[str] = set()

    @property
    def directory(self) -> CertDirectory:
        """The directory with the names of this set."""
        return CertDirectory(self.path, self.account, set(self.files), self._private)

    @property
    def services(self) -> list[tuple[Reader, Endpoint]]:
        """Its readers that serve a leaf, with the endpoint of each."""
        return [(reader, reader.endpoint) for reader in self.readers if reader.endpoint]

    def has_changed_pair(self, before: Mapping[str, bytes]) -> bool:
        """Whether a certificate or key differs from what was there: only then can a reader hold two halves."""
        names = [reader.files[part] for reader in self.readers for part in ("cert", "key")]
        return any(self.files[name] != before.get(name) for name in names)

    def add(self, reader: Reader, material: Material) -> None:
        """Add a reader. Raises Refused when two readers want different content under one name."""
        contents = material.contents()
        for part, name in reader.files.items():
            content = contents[part].encode("ascii", "replace")
            if self.files.setdefault(name, content) != content:
                raise Refused(f"{self.path / name}: {self.readers[0].label} and {reader.label} need different content")
        self._private.add(reader.files["key"])
        self.readers.append(reader)


def read_sets(params: Mapping[str, Any]) -> list[CertSet]:
    """Make the sets of a host out of the module's parameters.

    Raises:
        Refused: Something is missing, has the wrong shape, or two readers contradict each other.
    """
    sets: dict[Path, CertSet] = {}
    for entry in params["services"]:
        _add_service(sets, entry, params)
    for entry in params["clients"]:
        _add_client(sets, entry if isinstance(entry, dict) else {"name": str(entry)}, params)
    return list(sets.values())


def _add_service(sets: dict[Path, CertSet], entry: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    name = str(entry.get("kind", "postgresql"))
    if name not in KINDS:
        raise Refused(f"rechain_services: kind {name!r} is none of {', '.join(KINDS)}")
    if wrong := misfit(name, entry):
        raise Refused(f"rechain_services: {wrong}")
    kind, endpoint = KINDS[name], _endpoint(name, entry, params)
    reload, restart = entry.get("reload") or kind.reload, entry.get("restart") or kind.restart
    directory = _directory(entry.get("cert_dir") or "/etc/pki/postgres")
    label = str(endpoint) if endpoint else f"{name} in {directory}"
    lists = {"crl": str(entry["crl"])} if entry.get("crl") else {}
    files = _files(entry, {**_SERVICE_FILES, **lists})
    reader = Reader(label, files, reload, endpoint=endpoint, log=entry.get("log") or None, restart=restart)
    cert = _required(params["server_cert"], f"certs.server has no {params['server_name']}")
    key = _required(params["server_key"], f"private_keys.server has no {params['server_name']}")
    ca = _required(params["client_chain"], "certs.client.chain is missing")
    crl = _required(params["client_crls"], "certs.crl.client is missing: `rechain refresh-crls`") if lists else None
    _add(sets, directory, str(entry.get("owner") or "postgres"), reader, Material(reader.label, cert, key, ca, crl))


def _endpoint(name: str, entry: Mapping[str, Any], params: Mapping[str, Any]) -> Endpoint | None:
    default = KINDS[name].port
    if default is None:
        return None
    address = str(entry.get("address") or params["address"])
    return Endpoint(name, address, int(entry.get("port") or default), params["server_name"])


def _add_client(sets: dict[Path, CertSet], entry: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    name = _required(entry.get("name"), "rechain_clients: an entry has no name")
    reader = Reader(f"client {name}", _files(entry, _CLIENT_FILES), entry.get("reload") or None)
    cert = _required(params["client_certs"].get(name), f"certs.client has no {name}")
    key = _required(params["client_keys"].get(name), f"private_keys.client has no {name}")
    ca = _required(params["server_chain"], "certs.server.chain is missing")
    owner = str(entry.get("owner") or name)
    directory = _directory(entry.get("cert_dir") or f"~{name}/.postgresql")
    _add(sets, directory, owner, reader, Material(reader.label, cert, key, ca))


def _add(sets: dict[Path, CertSet], path: Path, owner: str, reader: Reader, material: Material) -> None:
    material.check()
    found = sets.setdefault(path, CertSet(path, Account(owner)))
    if found.account.name != owner:
        raise Refused(f"{path}: {found.readers[0].label} and {reader.label} name different owners")
    found.add(reader, material)


def _files(entry: Mapping[str, Any], defaults: Mapping[str, str]) -> dict[str, str]:
    files = {part: str(entry.get(part) or default) for part, default in defaults.items()}
    for name in files.values():
        if "/" in name or name.startswith("."):
            raise Refused(f"{name}: a file name of a set is a plain name within cert_dir")
    if len(set(files.values())) != len(files):
        raise Refused(f"{', '.join(files.values())}: cert, key, ca and crl need names of their own")
    return files


def _directory(text: str) -> Path:
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise Refused(f"cert_dir {text}: there is no such user on this host") from None
    if not path.is_absolute():
        raise Refused(f"cert_dir {text} is not absolute")
    return Path(*_parts(path))


def _parts(path: Path) -> Iterable[str]:
    if ".." in path.parts:
        raise Refused(f"cert_dir {path} holds `..`")
    return path.parts


def _required(value: Any, message: str) -> str:
    if not value:
        raise Refused(message)
    return str(value)
