"""The network between the machines of a lab and this one: a bridge with addresses that nobody routes."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.machine import Machine

NETWORK = "network.json"
_FIRST = 11
_TRIES = 50


@dataclass(frozen=True, slots=True)
class Network:
    """A bridge of this machine.

    Attributes:
        bridge: Its name.
        prefix: The first three numbers of its addresses, within 198.18.0.0/15 (RFC 2544: for tests on one's own bench).
    """

    bridge: str
    prefix: str

    @property
    def here(self) -> str:
        """This machine's own address in it."""
        return f"{self.prefix}.1"

    def address(self, number: int) -> str:
        """The address of the machine with a number, from 0 on."""
        return f"{self.prefix}.{_FIRST + number}"

    def start(self, directory: Path) -> None:
        """Make the bridge; the directory remembers it. Raises LabError."""
        (directory / NETWORK).write_text(json.dumps({"bridge": self.bridge}), "utf-8")
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("address", "add", f"{self.here}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")

    def connect(self, machine: Machine, number: int) -> None:
        """Give a machine its address. Raises LabError."""
        outside = f"{self.bridge}-{number}"
        pid = machine.enter()[2]
        _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", pid)
        _ip("link", "set", outside, "master", self.bridge, "up")
        machine.run("ip", "address", "add", f"{machine.address}/24", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")

    def cut(self, number: int) -> None:
        """Pull a machine's plug. Raises LabError."""
        _ip("link", "set", f"{self.bridge}-{number}", "down")

    def mend(self, number: int) -> None:
        """Put a machine's plug in again. Raises LabError."""
        _ip("link", "set", f"{self.bridge}-{number}", "up")


def free_network() -> Network:
    """A network that nobody here uses. Raises LabError."""
    taken, source = _ip("-oneline", "address"), random.SystemRandom()
    for _ in range(_TRIES):
        prefix = f"198.{source.choice((18, 19))}.{source.randint(0, 255)}"
        if f" {prefix}." not in taken:
            return Network(f"rc{source.randint(0, 0xFFFFFF):06x}", prefix)
    raise LabError("198.18.0.0/15", "no free network found", "end the labs that still run")


def remove_network(directory: Path) -> None:
    """Remove the bridge that a directory remembers with all that is plugged in, if it is still there."""
    try:
        bridge = str(json.loads((directory / NETWORK).read_text("utf-8"))["bridge"])
    except (OSError, ValueError, KeyError):
        return
    names = [line.split(": ")[1].split("@")[0] for line in _ip("-oneline", "link").splitlines()]
    for name in names:
        # The kernel takes its time to bury a namespace: a plug may vanish before it is pulled.
        if name == bridge or name.startswith(f"{bridge}-"):
            subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False, timeout=20)


def _ip(*arguments: str) -> str:
    ended = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=20)
    if ended.returncode:
        raise LabError("ip " + " ".join(_short(arguments)), ended.stderr.strip(), "is this machine allowed to?")
    return ended.stdout


def _short(arguments: Iterable[str]) -> Iterable[str]:
    return list(arguments)[:4]
