"""What inventory variables say about a host's services and clients, with defaults that fit pgvillage."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from rechain.errors import InventoryError
from rechain.fleet import Host, ManagedClient, Service, ServiceKind
from tasks.fleet.templating import HostVariables
from tasks.playbooks.module_utils.rechain_kinds import KINDS, misfit


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class _Service(_Model):
    """One entry of `rechain_services`."""

    kind: ServiceKind = ServiceKind.POSTGRESQL
    address: str | None = None
    port: int | None = Field(None, ge=1, le=65535)
    cert_dir: str = Field("/etc/pki/postgres", pattern="^/")
    owner: str = "postgres"
    cert: str = "server.crt"
    key: str = "server.key"
    ca: str = "root.crt"
    reload: str | None = None
    restart: str | None = None
    log: str | None = Field(None, pattern="^/")
    crl: str | None = Field(None, pattern=r"^[^/.][^/]*\.crl(\.pem)?$")  # the names that a scan looks for

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if wrong := misfit(self.kind, dict(self)):
            raise PydanticCustomError("kind", "{wrong}", {"wrong": wrong})
        return self

    def on(self, address: str) -> Service:
        kind = KINDS[self.kind]
        given = dict(self) | {
            "address": self.address or address,
            "port": self.port or kind.port,
            "reload": self.reload or kind.reload,
            "restart": self.restart or kind.restart,
        }
        return Service(**given)


class _Client(_Model):
    """One entry of `rechain_clients`."""

    name: str = Field(min_length=1)
    cert_dir: str | None = Field(None, pattern="^[/~]")
    owner: str | None = None
    cert: str = "postgresql.crt"
    key: str = "postgresql.key"
    ca: str = "root.crt"
    reload: str | None = None

    def value(self) -> ManagedClient:
        given = dict(self) | {
            "cert_dir": self.cert_dir or f"~{self.name}/.postgresql",
            "owner": self.owner or self.name,
        }
        return ManagedClient(**given)


def _named(entry: object) -> object:
    """Accept a bare name for a client that has every default."""
    return {"name": entry} if isinstance(entry, str) else entry


_SERVICES = TypeAdapter(tuple[_Service, ...])
_CLIENTS = TypeAdapter(tuple[Annotated[_Client, BeforeValidator(_named)], ...])
_USERS = TypeAdapter(dict[str, tuple[str, ...] | None])
_TEXT = TypeAdapter(Annotated[str, Field(min_length=1)], config=ConfigDict(coerce_numbers_to_str=True))
_Value = TypeVar("_Value")


def read_host(
    variables: HostVariables, groups: Collection[str], clients: Collection[str], servers: Collection[str]
) -> Host:
    """Make a host of its variables.

    Args:
        variables: The host's variables.
        groups: The groups that the host is in, parents and `all` among them.
        clients: The spec's clients.
        servers: The spec's servers.

    Raises:
        InventoryError: Names host, variable and fix.
    """
    address = _read(variables, "ansible_host", _TEXT, variables.host)
    server_name = _read(variables, "rechain_server_name", _TEXT, variables.host)
    return Host(
        name=variables.host,
        address=address,
        server_name=server_name,
        is_local=variables.get("ansible_connection") in ("local", "ansible.builtin.local"),
        services=tuple(_services(variables, address, server_name, servers)),
        clients=tuple(_clients(variables, groups, clients)),
    )


def _services(
    variables: HostVariables, address: str, server_name: str, servers: Collection[str]
) -> Iterable[Service]:  # fmt: skip
    known = server_name in servers
    services = _read(variables, "rechain_services", _SERVICES, (_Service(),) if known else ())
    if services and not known:
        raise _refusal(
            variables.host,
            "rechain_services",
            f"the chain spec names no server {server_name!r}, so there is no leaf to serve",
            "set rechain_server_name to the host's name in the spec's servers",
        )
    return (service.on(address) for service in services)


def _clients(variables: HostVariables, groups: Collection[str], clients: Collection[str]) -> Iterable[ManagedClient]:
    if "rechain_clients" not in variables:
        return (_Client(name=name).value() for name in _pgvillage_users(variables, groups) if name in clients)
    found = _read(variables, "rechain_clients", _CLIENTS, ())
    for client in found:
        if client.name not in clients:
            raise _refusal(
                variables.host,
                "rechain_clients",
                f"the chain spec names no client {client.name!r}",
                "add it to the spec's clients, or correct the name",
            )
    return (client.value() for client in found)


def _pgvillage_users(variables: HostVariables, groups: Collection[str]) -> Iterable[str]:
    """The users of the host's groups; others than the spec's clients have no certificate and no place here."""
    users = _read(variables, "chainsmith_users", _USERS, {})
    return dict.fromkeys(name for group, names in users.items() if group in groups for name in names or ())


def _read(variables: HostVariables, name: str, model: TypeAdapter[_Value], default: _Value) -> _Value:
    if name not in variables:
        return default
    try:
        return model.validate_python(variables[name])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise _refusal(variables.host, f"{name}{place}", first["msg"], "correct it in the inventory") from None


def _refusal(host: str, variable: str, what: str, fix: str) -> InventoryError:
    return InventoryError(f"host {host}, variable {variable}", what, fix)
