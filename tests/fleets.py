"""Small fleets as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rechain.fleet import Fleet, Host, ManagedClient, Service, ServiceKind


def make_service(kind: ServiceKind = ServiceKind.POSTGRESQL) -> Service:
    """A service with the design's defaults."""
    return Service(
        kind=kind,
        address="127.0.0.1",
        port=5432,
        cert_dir="/etc/pki/postgres",
        owner="postgres",
        cert="server.crt",
        key="server.key",
        ca="root.crt",
        reload="systemctl reload postgresql",
        restart="systemctl restart postgresql",
        log=None,
    )


def make_client(name: str) -> ManagedClient:
    """A managed client with the design's defaults."""
    return ManagedClient(name, f"~{name}/.postgresql", name, "postgresql.crt", "postgresql.key", "root.crt", None)


def make_fleet(
    clients_by_server: Mapping[str, Sequence[str]],
    *,
    external: Sequence[str] = (),
    client_hosts: Mapping[str, Sequence[str]] | None = None,
) -> Fleet:
    """A fleet of one host for each server, with managed clients on it, and hosts that hold clients only."""
    servers = [
        Host(name, "127.0.0.1", name, True, (make_service(),), tuple(make_client(client) for client in clients))
        for name, clients in clients_by_server.items()
    ]
    others = [
        Host(name, "127.0.0.1", name, True, (), tuple(make_client(client) for client in clients))
        for name, clients in (client_hosts or {}).items()
    ]
    return Fleet("test", (*servers, *others), tuple(external))
