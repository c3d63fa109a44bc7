"""Where the hosts of a lab are: directories of this machine on loopback, or machines of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab import etcd, pool
from lab.account import Account
from lab.addresses import PORT, free_addresses
from lab.environment import SERVERS
from lab.errors import LabError
from lab.etcd import Member
from lab.host import Host
from lab.installation import Installation
from lab.leftover import SSH
from lab.machine import Machine, Resident, missing_programs
from lab.machines import Machines
from lab.pool import POOL, Pool
from lab.postgresql import Server


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fleet is.

    Attributes:
        hosts: The hosts of the servers, the primary first.
        machines: The machines that they are on; None when all are directories of this one.
        pool: The host before them; None on loopback.
        members: Etcd on the hosts of the servers; none on loopback.
    """

    hosts: tuple[Host, ...]
    machines: Machines | None = None
    pool: Pool | None = None
    members: tuple[Member, ...] = ()


def on_loopback(directory: Path, installation: Installation, account: Account) -> Place:
    """Each host a directory, and an address in 127/8. Raises LabError when none is free."""
    addresses = free_addresses(len(SERVERS))
    return Place(
        tuple(
            Host(name, Server(installation, account, directory / name, address, addresses.port), account)
            for name, address in zip(SERVERS, addresses.hosts, strict=True)
        )
    )


def on_machines(directory: Path, state: Path, installation: Installation, account: Account) -> Place:
    """Each host a machine. Raises LabError when this machine can hold none, or lacks a program."""
    if reason := missing_programs((*etcd.PROGRAMS, *pool.PROGRAMS)):
        raise LabError("this machine", reason, "or leave --hosts out: the fleet on loopback needs none of it")
    programs = [] if installation.bindir.is_relative_to("/usr") else [installation.bindir.parent]
    machines = Machines.prepare((*SERVERS, POOL), directory, state / SSH, programs)

    def account_on(machine: Machine) -> Resident:
        return Resident(account.name, account.uid, account.gid, machine)

    def host(machine: Machine) -> Host:
        server = Server(installation, account_on(machine), machine.directory, machine.address, PORT)
        return Host(machine.name, server, account_on(machine))

    *servers, before = machines.all
    places = tuple((machine.name, machine.address) for machine in servers)
    hosts = tuple(host(one) for one in servers)
    members = tuple(Member(one, account_on(one), host(one).server_directory) for one in servers)
    return Place(hosts, machines, Pool(before, account_on(before), places, PORT), members)
