"""Chain specs in the shapes that chainsmith's versions and pgvillage use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rechain.spec import ChainSpec, parse_spec

WHERE = "config/chainsmith_poc.yml"

# As pgvillage's chainsmith role writes it (pgvillage-tools/chainsmith, configs/pgvillage.yml), shortened.
PGVILLAGE: dict[str, Any] = {
    "intermediates": [
        {
            "extendedKeyUsages": ["serverAuth"],
            "keyUsages": ["keyEncipherment", "dataEncipherment", "digitalSignature"],
            "name": "server",
            "servers": {
                "db-1.local": ["db-1.local", "172.30.1.31"],
                "db-2.local": ["db-2.local", "172.30.1.32"],
            },
        },
        {
            "clients": ["postgres", "avchecker", "applicatie"],
            "extendedKeyUsages": ["clientAuth"],
            "keyUsages": ["keyEncipherment", "dataEncipherment", "digitalSignature"],
            "name": "client",
        },
    ],
    "subject": {
        "C": "NL/postalCode=1261 WZ",
        "CN": "postgres",
        "L": "Blaricum/street=Binnendelta 1u2",
        "O": "Nibble IT",
        "OU": "PgVillage",
        "ST": "Utrecht",
    },
    "tmpdir": "/tmp/chainsmith/pgvillage",  # noqa: S108
}


def no_hosts(path: str) -> Mapping[str, tuple[str, ...]]:
    """For specs that point at no inventory."""
    raise AssertionError(f"asked for the inventory {path}")


def parse(document: object) -> ChainSpec:
    """Parse a spec that points at no inventory."""
    return parse_spec(document, WHERE, no_hosts)


def small(server: dict[str, Any] | None = None, client: dict[str, Any] | None = None, **top: Any) -> dict[str, Any]:
    """A spec with one server and one client, and what a test adds."""
    sides = [
        {"name": "server", "servers": {"db1.example.com": None}, **(server or {})},
        {"name": "client", "clients": ["postgres"], **(client or {})},
    ]
    return {"intermediates": sides, **top}
