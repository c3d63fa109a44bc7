"""What is known of each kind of service, once for the hosts and for the worker.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(NamedTuple):
    """How a kind of service begins TLS, and what it does with new files: measured, not taken from its manual.

    Attributes:
        port: TCP port, unless the inventory says another; None where nothing is served that could be looked at.
        reload: Shell command that has it read its files again, unless the inventory says another; None where it must.
        restart: Shell command that starts it anew, unless the inventory says another; None where nothing calls it.
        asks_first: Whether TLS begins after PostgreSQL's request for it, and not at once.
        tells_bundle: Whether it advertises exactly the CAs that it accepts clients of.
        reads_pairs_alone: Whether it takes a new pair at the next handshake, so that only a bundle needs the reload.
    """

    port: int | None
    reload: str | None
    restart: str | None
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
    # Whatever else reads a server's files, and shows none: how its reload command ends is its proof.
    "files": Kind(None, None, None, asks_first=False, tells_bundle=False),
}


def misfit(name: str, entry: Mapping[str, object]) -> str | None:
    """What is wrong with an entry of the inventory whose kind has no endpoint; None when nothing is."""
    if KINDS[name].port is not None:
        return None
    if not entry.get("reload"):
        return f"kind {name} is proven by its reload command alone: add `reload`"
    needless = [key for key in ("address", "port", "restart", "log") if entry.get(key)]
    return f"kind {name} is proven by its reload command alone: remove {', '.join(needless)}" if needless else None
