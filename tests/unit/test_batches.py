"""How many hosts a roll-out takes at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rechain.fleet import ServiceKind
from tasks.distribute import hosts_at_a_time
from tasks.replicate import up_to_each
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


@pytest.mark.parametrize(
    ("wanted", "hosts", "sizes"),
    [
        (1, ["app1", "db2", "db1"], 1),
        (10, ["app1", "app2", "db2", "db1"], [3, 1]),
        (2, ["app1", "app2", "db2", "db1"], [2, 1, 1]),
        (2, ["db2", "db3", "db4", "db1", "db5", "app1", "app2"], [2, 1, 1, 1, 2]),
        (10, ["db2", "app1"], 10),
        (10, ["db1"], [1]),
    ],
)
def test_a_primary_has_a_batch_of_its_own(wanted: int, hosts: list[str], sizes: int | list[int]) -> None:
    """Never with its standby, whatever `batch` says; all others are taken as asked for, in the order given."""
    fleet = make_fleet(dict.fromkeys(hosts, ()))
    assert hosts_at_a_time(fleet, hosts, wanted, alone={"db1", "db5"}) == sizes


@pytest.mark.parametrize(
    ("marked", "groups"),
    [
        ((), [("app1", "db2", "db3", "db1")]),
        (("db2", "db3"), [("app1", "db2"), ("db3",), ("db1",)]),
        (("db1",), [("app1", "db2", "db3", "db1")]),
        (("app1", "db1", "gone"), [("app1",), ("db2", "db3", "db1")]),
    ],
)
def test_a_roll_out_is_parted_after_each_host_that_has_to_be_looked_at(
    marked: tuple[str, ...], groups: list[tuple[str, ...]]
) -> None:
    """Every host in its order, and no more runs of Ansible than there are such hosts, and one."""
    assert list(up_to_each(["app1", "db2", "db3", "db1"], marked)) == groups
