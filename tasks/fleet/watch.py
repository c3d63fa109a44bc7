"""What the canary is to watch: public paths and places, passed to its process as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rechain.fleet import Endpoint, Fleet, Host, ManagedClient, ServiceKind
from rechain.login import ClientFiles


@dataclass(frozen=True, slots=True)
class Watch:
    """One login to try again and again.

    Attributes:
        client: The role.
        host: The host whose files are used; empty for material of our own.
        endpoint: Where to log in.
        files: The client's files.
        owner: OS user to read them as, when this process may become it; None for the user that it runs as.
        pinned: Whether links in the paths are followed once for all three files: for material of our own, which is
            swapped by a link. A managed client's files are read as libpq reads them.
    """

    client: str
    host: str
    endpoint: Endpoint
    files: ClientFiles
    owner: str | None = None
    pinned: bool = False

    def paths(self) -> ClientFiles:
        """The files to open now."""
        if not self.pinned:
            return self.files
        directory = os.path.realpath(Path(self.files.cert).parent)
        cert, key, ca = (
            os.path.join(directory, os.path.basename(path))  # noqa: PTH118, PTH119 - texts in, texts out
            for path in (self.files.cert, self.files.key, self.files.ca)
        )
        return ClientFiles(cert, key, ca, self.files.crl)


@dataclass(frozen=True, slots=True)
class Watching:
    """The order to the canary's process.

    Attributes:
        watches: The logins to try.
        database: Database to log in to.
        interval_ms: Time between two logins of one client, milliseconds.
        timeout_s: Limit for one login.
        recording: Absolute path of the file to write.
        parent: Process id of the run; the canary ends when it does.
    """

    watches: tuple[Watch, ...]
    database: str
    interval_ms: float
    timeout_s: float
    recording: str
    parent: int


def managed_watches(fleet: Fleet) -> tuple[Watch, ...]:
    """Every managed client whose files this machine holds, on every endpoint that logs clients in."""
    endpoints = fleet.endpoints(ServiceKind.POSTGRESQL, ServiceKind.PGBOUNCER)
    return tuple(
        watch
        for host in fleet.hosts
        if host.is_local
        for client in host.clients
        for watch in _on_each(host, client, endpoints)
    )


def to_json(watching: Watching) -> str:
    """The order as one line."""
    return json.dumps(asdict(watching))


def from_json(text: str) -> Watching:
    """Read an order."""
    fields = json.loads(text)
    return Watching(**{**fields, "watches": tuple(_watch(watch) for watch in fields["watches"])})


def _watch(fields: dict[str, object]) -> Watch:
    places = {"endpoint": Endpoint(**fields["endpoint"]), "files": ClientFiles(**fields["files"])}  # type: ignore[arg-type]  # our own JSON
    return Watch(**{**fields, **places})  # type: ignore[arg-type]  # our own JSON


def _on_each(host: Host, client: ManagedClient, endpoints: Iterable[Endpoint]) -> Iterator[Watch]:
    files = client_files(client)
    for endpoint in endpoints:
        yield Watch(client.name, host.name, endpoint, files, owner=client.owner)


def client_files(client: ManagedClient) -> ClientFiles:
    """The paths of a managed client's files on this machine.

    Its root.crl is named too: libpq reads it when it is there, and one that misses a generation refuses every server.
    """
    directory = Path(client.cert_dir).expanduser()
    cert, key, ca, crl = (str(directory / name) for name in (client.cert, client.key, client.ca, "root.crl"))
    return ClientFiles(cert, key, ca, crl)
