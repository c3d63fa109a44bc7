"""The machines of a lab, their network and the way that Ansible takes to them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lab.errors import LabError
from lab.machine import Machine, first_process, missing_programs, why_not
from lab.network import Network, free_network
from lab.ssh import PROGRAMS, Ssh

_HOSTS = "127.0.0.1 localhost\n"


@dataclass(frozen=True, slots=True)
class Machines:
    """Machines that run, or will.

    Attributes:
        network: What they are connected by.
        ssh: How they are reached.
        all: The machines, in the order of their addresses.
    """

    network: Network
    ssh: Ssh
    all: tuple[Machine, ...]

    @classmethod
    def prepare(cls, names: Sequence[str], directory: Path, keys: Path, programs: Sequence[Path] = ()) -> Self:
        """Choose a network and addresses. Starts nothing.

        Args:
            names: The machines' names.
            directory: Each shares a directory of its name below this one.
            keys: Where the deploy user's key and the known hosts go.
            programs: Directories of programs that all may read.

        Raises:
            LabError: This machine can hold no others, or lacks a program; says what installs it.
        """
        reason = why_not() or missing_programs(PROGRAMS)
        if reason:
            raise LabError("this machine", reason, "or leave --hosts out: the fleet on loopback needs none of it")
        network = free_network()
        machines = (
            Machine(name, network.address(number), directory / name, tuple(programs))
            for number, name in enumerate(names)
        )
        return cls(network, Ssh(keys), tuple(machines))

    def start(self, directory: Path) -> None:
        """Start them all, each with sshd. Raises LabError; what was started ends with `leftover.end`."""
        self.ssh.prepare()
        self.network.start(directory)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._boot, self.all))
        for number, machine in enumerate(self.all):
            self.network.connect(machine, number)
            self.ssh.serve(machine)

    def of(self, name: str) -> Machine:
        """The machine of a name."""
        return next(machine for machine in self.all if machine.name == name)

    def cut(self, name: str) -> None:
        """Pull the plug of a machine. Raises LabError."""
        self.network.cut(self.all.index(self.of(name)))

    def mend(self, name: str) -> None:
        """Put it in again. Raises LabError."""
        self.network.mend(self.all.index(self.of(name)))

    def _boot(self, machine: Machine) -> None:
        machine.directory.mkdir(parents=True, exist_ok=True)
        machine.boot()
        names = "".join(f"{each.address} {each.name}\n" for each in self.all)
        machine.put("/etc/hosts", _HOSTS + names)


def end_machine(directory: Path) -> None:
    """End the machine that shares a directory, and with it all that runs there. Raises LabError."""
    first = first_process(directory)
    if first is None:
        return
    first.end()
    if first.lives():
        raise LabError(str(directory), f"its machine (pid {first.pid}) does not end", "end it by hand")
