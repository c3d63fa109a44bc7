"""How many hosts a roll-out takes at a time."""

from __future__ import annotations

from dataclasses import replace

from rechain.fleet import ServiceKind
from tasks.distribute import hosts_at_a_time
from tests.fleets import make_fleet, make_service


def test_members_of_etcd_are_taken_one_by_one() -> None:
    """All at once they would be restarted all at once; other hosts of the same fleet are taken as asked for."""
    fleet = make_fleet(dict.fromkeys(("db1", "db2", "app1", "app2"), ()))
    etcd = make_service(ServiceKind.ETCD)
    members = tuple(
        replace(host, services=(*host.services, etcd)) if host.name.startswith("db") else host for host in fleet.hosts
    )
    with_etcd = replace(fleet, hosts=members)
    assert hosts_at_a_time(with_etcd, ["db1", "db2", "app1"], 10) == 1
    assert hosts_at_a_time(with_etcd, ["app1", "app2"], 10) == 10
    assert hosts_at_a_time(fleet, ["db1", "db2"], 10) == 10
