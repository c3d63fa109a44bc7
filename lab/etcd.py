"""Etcd on the hosts of a fleet, as Patroni and stolon keep their state: TLS and certificates for clients."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.account import Account
from lab.errors import LabError
from lab.machine import Machine
from rechain.fleet import Endpoint

PROGRAMS = ("etcd",)
_PORT, _PEERS = 2379, 2380
_START_S = 30
_POLL_S = 0.1

# Members speak to each other without TLS here: that is a chain of its own, of which rechain knows nothing.
_SCRIPT = """\
#!/bin/sh -e
if [ -s {directory}/etcd.pid ]; then
    kill "$(cat {directory}/etcd.pid)" 2>/dev/null || true
    while kill -0 "$(cat {directory}/etcd.pid)" 2>/dev/null; do sleep 0.05; done
fi
setsid etcd --name {name} --data-dir {directory}/data --log-level warn --heartbeat-interval 50 --election-timeout 500 \
    --listen-client-urls https://{address}:{port} --advertise-client-urls https://{address}:{port} \
    --listen-peer-urls http://{address}:{peers} --initial-advertise-peer-urls http://{address}:{peers} \
    --initial-cluster {cluster} --client-cert-auth \
    --cert-file {pki}/server.crt --key-file {pki}/server.key --trusted-ca-file {pki}/root.crt \
    >>{directory}/etcd.log 2>&1 </dev/null &
echo $! >{directory}/etcd.pid
"""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the cluster, which reads the files of its host's PostgreSQL.

    Attributes:
        machine: Where it runs.
        account: Who it runs as.
        pki: The directory of its three files.
    """

    machine: Machine
    account: Account
    pki: Path

    @property
    def endpoint(self) -> Endpoint:
        """Where clients reach it."""
        return Endpoint(self.machine.name, self.machine.name, self.machine.address, _PORT)

    @property
    def restart_command(self) -> str:
        """The shell command that starts it, again if it runs."""
        return self.account.command([str(self._directory / "etcd.sh")])

    def install(self, members: Sequence[Member]) -> None:
        """Write the script that starts it.

        Args:
            members: The whole cluster.
        """
        self._directory.mkdir(exist_ok=True)
        self.account.own(self._directory, 0o755)
        script = self._directory / "etcd.sh"
        cluster = ",".join(f"{one.machine.name}=http://{one.machine.address}:{_PEERS}" for one in members)
        text = _SCRIPT.format(
            directory=self._directory,
            name=self.machine.name,
            address=self.machine.address,
            port=_PORT,
            peers=_PEERS,
            cluster=cluster,
            pki=self.pki,
        )
        script.write_text(text, "utf-8")
        self.account.own(script, 0o755)

    def start(self) -> None:
        """Start it; it answers once most members run. Raises LabError."""
        self.machine.run("/bin/sh", "-c", self.restart_command)

    def wait(self) -> None:
        """Wait until it listens. Raises LabError."""
        deadline = time.monotonic() + _START_S
        while f":{_PORT} " not in self.machine.run("ss", "-Hltn"):
            if time.monotonic() > deadline:
                raise LabError(self.machine.name, "etcd does not listen", f"see {self._directory / 'etcd.log'}")
            time.sleep(_POLL_S)

    def service(self) -> dict[str, object]:
        """Its entry in the inventory."""
        return {
            "kind": "etcd",
            "address": self.machine.address,
            "port": _PORT,
            "cert_dir": str(self.pki),
            "owner": self.account.name,
            "reload": self.restart_command,
            "restart": self.restart_command,
        }

    @property
    def _directory(self) -> Path:
        return self.machine.directory / "etcd"
