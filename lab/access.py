"""Who may log in to a lab's servers, and the names that its chain is made for."""

from __future__ import annotations

from collections.abc import Sequence

from lab.environment import BACKUP, CLIENTS, EVERYWHERE, EXTERNAL, SERVERS, Names
from lab.placing import Place
from lab.pool import POOLER, VIP, Pool
from lab.postgresql import SUPERUSER

FOREIGN = "auditor"
_ROLES = ("avchecker", "pgquartz", "pgfga", EXTERNAL, FOREIGN)
_LOCAL = "local all postgres trust"
_HBA = ("hostssl replication postgres all cert", "hostssl all all all cert")


def roles(pool: Pool | None) -> tuple[str, ...]:
    """The roles that are made, besides the superuser."""
    return (*_ROLES, POOLER) if pool else _ROLES


def rules(pool: Pool | None) -> tuple[Sequence[str], Sequence[str]]:
    """The lines of pg_hba.conf and of pg_ident.conf: PgBouncer logs in as whoever logged in to it."""
    if pool is None:
        return (_LOCAL, *_HBA), ()
    passed_on = f"hostssl all all {pool.machine.address}/32 cert map={POOLER}"
    themselves = rf"{POOLER} /^(.*)$ \1"  # whom HAProxy passes on comes from the same address
    others = (f"{POOLER} {POOLER} {user}" for user in (SUPERUSER, BACKUP, *roles(pool)))
    return (_LOCAL, passed_on, *_HBA), (themselves, *others)


def names_of(place: Place) -> Names:
    """The servers with the names that their certificates carry, and the clients."""
    behind = (VIP,) if place.pool else ()
    servers = {host.name: (host.name, host.server.address, *behind) for host in place.hosts}
    if place.pool is None:
        return Names(servers)
    pool = {place.pool.name: (place.pool.name, place.pool.machine.address)}
    return Names({**servers, **pool}, (*CLIENTS, POOLER))


def clients_on(name: str) -> tuple[str, ...]:
    """The managed clients of a host."""
    return (*EVERYWHERE, BACKUP) if name == SERVERS[-1] else EVERYWHERE
