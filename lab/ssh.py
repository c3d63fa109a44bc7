"""How Ansible reaches machines: OpenSSH, a deploy user without rights of its own, and sudo."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.environment import write_private
from lab.errors import LabError
from lab.machine import Machine

PROGRAMS = ("sshd", "ssh", "ssh-keygen", "sudo", "useradd")
USER = "deploy"
_SSHD = """\
ListenAddress {address}
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys/%u
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UsePAM no
Subsystem sftp internal-sftp
PidFile /run/sshd.pid
"""
_SUDOERS = f"""\
Defaults:{USER} !requiretty, !use_pty
{USER} ALL=(root) NOPASSWD: ALL
"""


@dataclass(frozen=True, slots=True)
class Ssh:
    """The keys of the deploy user and of the hosts, known to each other.

    Attributes:
        directory: Holds the user's private key and the known hosts.
    """

    directory: Path

    @property
    def key(self) -> Path:
        """The deploy user's private key."""
        return self.directory / USER

    @property
    def known_hosts(self) -> Path:
        """The machines' public keys, by address."""
        return self.directory / "known_hosts"

    def prepare(self) -> None:
        """Make the user's key pair anew, with no host known. Raises LabError."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make_key(self.key)
        write_private(self.known_hosts, "")

    def serve(self, machine: Machine) -> None:
        """Set a fresh machine up and start its sshd. Raises LabError."""
        host_key = self.directory / machine.name
        _make_key(host_key)
        machine.run("useradd", "--create-home", "--password", "*", "--shell", "/bin/sh", USER)
        machine.put(f"/etc/ssh/authorized_keys/{USER}", _public_file(self.key).read_text("ascii"))
        machine.put("/etc/ssh/ssh_host_ed25519_key", host_key.read_text("ascii"), 0o600)
        machine.put("/etc/ssh/sshd_config", _SSHD.format(address=machine.address))
        machine.put(f"/etc/sudoers.d/{USER}", _SUDOERS, 0o440)
        self.know(machine.address, _public(host_key))
        self.start(machine)

    def start(self, machine: Machine) -> None:
        """Start a machine's sshd. Raises LabError."""
        machine.run("/usr/sbin/sshd")

    def know(self, address: str, public_key: str) -> None:
        """Trust a host key under an address, and no other one."""
        others = [
            line for line in self.known_hosts.read_text("ascii").splitlines() if not line.startswith(f"{address} ")
        ]
        write_private(self.known_hosts, "\n".join([*others, f"{address} {public_key}"]) + "\n")

    def variables(self) -> dict[str, object]:
        """What an inventory says of the way to the machines."""
        options = [
            f"UserKnownHostsFile={self.known_hosts}",
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
        ]
        return {
            "ansible_user": USER,
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": shlex.join(part for option in options for part in ("-o", option)),
            # Ansible keeps a connection for a minute: here a fault between two runs should be met by the second.
            "ansible_ssh_args": "-C -o ControlMaster=no",
            "ansible_become": True,
            "ansible_python_interpreter": "/usr/bin/python3",
        }


def _make_key(path: Path) -> None:
    path.unlink(missing_ok=True)
    _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)])


def _public(key: Path) -> str:
    kind, content, *_comment = _public_file(key).read_text("ascii").split()
    return f"{kind} {content}"


def _run(command: Sequence[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if ended.returncode:
        raise LabError(command[0], ended.stderr.strip(), "see the message")


def _public_file(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")  # a host's name holds dots
