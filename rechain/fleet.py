"""The fleet as the inventory describes it: hosts, the services that serve a leaf, and managed clients."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ServiceKind(StrEnum):
    """What a service is. What is known of each kind stands in `rechain_kinds`, which hosts read, too."""

    POSTGRESQL = "postgresql"
    PGBOUNCER = "pgbouncer"
    HAPROXY = "haproxy"
    ETCD = "etcd"
    FILES = "files"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is reached: name to verify, address to connect to, port."""

    host: str
    server_name: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.server_name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Service:
    """A service on a host that has a server leaf.

    Attributes:
        kind: What it is.
        address: Address to connect to.
        port: TCP port; None where it serves nothing that could be looked at.
        cert_dir: Directory of its three files, absolute.
        owner: OS user that owns the files.
        cert: File name of leaf and intermediate (`ssl_cert_file`).
        key: File name of the private key (`ssl_key_file`).
        ca: File name of the client bundle (`ssl_ca_file`).
        reload: Shell command that makes it read its files again.
        restart: Shell command that restarts it; None where nothing calls it.
        log: Absolute path of its log, read after a reload; None when unknown.
        crl: File name of the revocation lists that it judges clients by (`ssl_crl_file`); None when it reads none.
    """

    kind: ServiceKind
    address: str
    port: int | None
    cert_dir: str
    owner: str
    cert: str
    key: str
    ca: str
    reload: str
    restart: str | None
    log: str | None
    crl: str | None = None


@dataclass(frozen=True, slots=True)
class ManagedClient:
    """A client whose files are on this host and are installed by Ansible.

    Attributes:
        name: The spec's client and the PostgreSQL role.
        cert_dir: Directory of its three files; `~name` is expanded on the host.
        owner: OS user that owns the files.
        cert: File name of leaf and intermediate (`sslcert`).
        key: File name of the private key (`sslkey`).
        ca: File name of the server bundle (`sslrootcert`).
        reload: Shell command that makes the client read its files again; None when it does so at every connect.
    """

    name: str
    cert_dir: str
    owner: str
    cert: str
    key: str
    ca: str
    reload: str | None


@dataclass(frozen=True, slots=True)
class Host:
    """One inventory host.

    Attributes:
        name: Inventory name.
        address: Where Ansible reaches it.
        server_name: Its name in the spec's `servers`.
        is_local: Whether Ansible's connection to it is `local`.
        services: Services that serve a leaf, maybe none.
        clients: Managed clients, maybe none.
    """

    name: str
    address: str
    server_name: str
    is_local: bool
    services: tuple[Service, ...]
    clients: tuple[ManagedClient, ...]

    def endpoint(self, service: Service) -> Endpoint | None:
        """Where a service of it is reached; None for one that is proven by its reload command alone."""
        if service.port is None:
            return None
        return Endpoint(self.name, self.server_name, service.address, service.port)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All hosts of an environment, and the spec's clients that are on none of them."""

    environment: str
    hosts: tuple[Host, ...]
    external_clients: tuple[str, ...]

    @property
    def managed_clients(self) -> tuple[str, ...]:
        """Names of the clients on at least one host, each once, in the order of the inventory."""
        return tuple(dict.fromkeys(client.name for host in self.hosts for client in host.clients))

    @property
    def reads_crls(self) -> bool:
        """Whether some service judges clients by revocation lists, which must then never end."""
        return any(service.crl for host in self.hosts for service in host.services)

    def endpoints(self, *kinds: ServiceKind) -> tuple[Endpoint, ...]:
        """Every endpoint, or those of some kinds."""
        return tuple(
            endpoint
            for host in self.hosts
            for service in host.services
            if (endpoint := host.endpoint(service)) and (not kinds or service.kind in kinds)
        )
