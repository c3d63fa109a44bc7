"""What is known of each kind of service, once for the hosts and for the worker.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """How a kind of service begins TLS, and what it does with new files: measured, not taken from its manual.

    Attributes:
        port: TCP port, unless the inventory says another.
        reload: Shell command that has it read its files again, unless the inventory says another.
        restart: Shell command that starts it anew, unless the inventory says another.
        asks_first: Whether TLS begins after PostgreSQL's request for it, and not at once.
        tells_bundle: Whether it advertises exactly the CAs that it accepts clients of.
        reads_pairs_alone: Whether it takes a new pair at the next handshake, so that only a bundle needs the reload.
    """

    port: int
    reload: str
    restart: str
    asks_first: bool
    tells_bundle: bool
    reads_pairs_alone: bool = False


def _unit(name: str, port: int, *, reload: str = "reload", **facts: bool) -> Kind:
    """A kind that systemd runs under its own name."""
    return Kind(port, f"systemctl {reload} {name}", f"systemctl restart {name}", **facts)


KINDS = {
    "postgresql": _unit("postgresql", 5432, asks_first=True, tells_bundle=True),
    "pgbouncer": _unit("pgbouncer", 6432, asks_first=True, tells_bundle=False),
    "haproxy": _unit("haproxy", 5000, asks_first=False, tells_bundle=False),
    # It reads its bundle when it starts: ADR 11.
    "etcd": _unit("etcd", 2379, reload="restart", asks_first=False, tells_bundle=True, reads_pairs_alone=True),
}
