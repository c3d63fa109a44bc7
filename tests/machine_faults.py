"""Everything that goes wrong on a machine: done to it, and undone again."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab.errors import LabError
from lab.fleet import Lab
from lab.host import Host
from lab.machine import Machine
from lab.ssh import USER
from rechain.phase import Phase
from tests.inventories import set_reload

_CLIENT = "pgfga"
_PYTHON = "$(readlink -f /usr/bin/python3)"
_OTHER_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKLq1Vb0Zo0s3Qk3Gm0o8r1cBz0m2Z8pQ4Yy0m6mX0Qd"


@dataclass(frozen=True)
class Scene:
    """A fleet on machines, and the host that something happens to: the second of those that a roll-out takes.

    Attributes:
        lab: The fleet.
        phase: The phase that it is moved to.
        faketime: The library that shifts a clock.
    """

    lab: Lab
    phase: Phase
    faketime: Path

    @property
    def host(self) -> Host:
        """The host."""
        return self.lab.standbys[1]

    @property
    def machine(self) -> Machine:
        """Its machine."""
        assert self.lab.place.machines is not None
        return self.lab.place.machines.of(self.host.name)

    @property
    def directory(self) -> Path:
        """A directory on it whose set this phase changes."""
        changes_clients = self.phase is Phase.CLIENTS
        return self.host.client_directory(_CLIENT) if changes_clients else self.host.server_directory

    @property
    def key(self) -> Path:
        """The private key in that directory."""
        return self.directory / ("postgresql.key" if self.phase is Phase.CLIENTS else "server.key")

    def sh(self, script: str) -> str:
        """Run a script on it, as root."""
        return self.machine.run("/bin/sh", "-ec", script)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: What.
        says: What the run says about it; empty where the run sets it right by itself.
        happens: Does it, and undoes it.
        midway: Whether it happens when the first host has its set already.
        hurts: Whether nobody can log in on the host meanwhile, whatever rechain does.
        not_in: Phases in which it is in nobody's way.
    """

    name: str
    says: str
    happens: Callable[[Scene], AbstractContextManager[None]]
    midway: bool = False
    hurts: bool = False
    not_in: tuple[Phase, ...] = ()


@contextmanager
def _link_down(scene: Scene) -> Iterator[None]:
    assert scene.lab.place.machines is not None
    scene.lab.place.machines.cut(scene.host.name)
    try:
        yield
    finally:
        scene.lab.place.machines.mend(scene.host.name)


@contextmanager
def _no_sshd(scene: Scene) -> Iterator[None]:
    """The daemon and every connection of it."""
    with suppress(LabError):  # of pkill itself nothing is left to tell
        scene.sh("pkill -KILL sshd")
    try:
        yield
    finally:
        assert scene.lab.place.machines is not None
        scene.lab.place.machines.ssh.start(scene.machine)


@contextmanager
def _other_host_key(scene: Scene) -> Iterator[None]:
    assert scene.lab.place.machines is not None
    known_hosts = scene.lab.place.machines.ssh.known_hosts
    before = known_hosts.read_text("ascii")
    scene.lab.place.machines.ssh.know(scene.machine.address, _OTHER_HOST_KEY)
    try:
        yield
    finally:
        known_hosts.write_text(before, "ascii")


@contextmanager
def _disk_full(scene: Scene) -> Iterator[None]:
    """The directory is on a small file system of its own, which has not a byte left."""
    place = shlex.quote(str(scene.directory))
    scene.sh(
        f"cp -a {place} /tmp/copy; mount -t tmpfs -o size=256k tmpfs {place}; cp -a /tmp/copy/. {place};"
        f"rm -r /tmp/copy; head -c 1m /dev/zero >{place}/filler 2>/dev/null || true"
    )
    try:
        yield
    finally:
        scene.sh(f"umount --lazy {place}")


@contextmanager
def _read_only(scene: Scene) -> Iterator[None]:
    place = shlex.quote(str(scene.directory))
    scene.sh(f"mount --bind {place} {place}; mount -o remount,bind,ro {place}")
    try:
        yield
    finally:
        scene.sh(f"umount --lazy {place}")


@contextmanager
def _immutable(scene: Scene) -> Iterator[None]:
    every = f"find {shlex.quote(str(scene.directory))} -not -type l -print0 | xargs -0 chattr"
    scene.sh(f"{every} +i")
    try:
        yield
    finally:
        scene.sh(f"{every} -i")


@contextmanager
def _sudo_refused(scene: Scene) -> Iterator[None]:
    scene.sh(f"mv /etc/sudoers.d/{USER} /root/")
    try:
        yield
    finally:
        scene.sh(f"mv /root/{USER} /etc/sudoers.d/")


@contextmanager
def _no_python(scene: Scene) -> Iterator[None]:
    scene.sh(f"mount --bind /dev/null {_PYTHON}")
    try:
        yield
    finally:
        scene.sh(f"umount {_PYTHON}")


@contextmanager
def _slow(scene: Scene) -> Iterator[None]:
    """A reload that takes longer than a roll-out may."""
    settings = scene.lab.repository.root / "rechain.yml"
    before = settings.read_text("utf-8")
    settings.write_text(f"{before}roll_out_s: 12\n", "utf-8")
    reload = scene.host.server.reload_command
    set_reload(scene.lab, scene.host, f"sleep 15; {reload}")
    try:
        yield
    finally:
        settings.write_text(before, "utf-8")
        set_reload(scene.lab, scene.host, reload)


@contextmanager
def _clock_behind(scene: Scene) -> Iterator[None]:
    """Python lives a day ago; sshd's sandbox would end a daemon that is led to believe so."""
    shared, real = shutil.copy(scene.faketime, scene.host.server.directory), "/usr/bin/python3-at-its-own-time"
    scene.machine.put("/root/python3", f'#!/bin/sh\nLD_PRELOAD={shared} FAKETIME=-1d exec {real} "$@"\n', 0o755)
    scene.sh(f"chmod 755 /root; cp {_PYTHON} {real}; mount --bind /root/python3 {_PYTHON}")
    try:
        yield
    finally:
        scene.sh(f"umount {_PYTHON}")


@contextmanager
def _server_down(scene: Scene) -> Iterator[None]:
    scene.host.server.stop()
    try:
        yield
    finally:
        scene.host.server.start()


@contextmanager
def _key_open_to_all(scene: Scene) -> Iterator[None]:
    scene.key.resolve().chmod(0o644)
    yield


@contextmanager
def _pooler_with_a_broken_pair(scene: Scene) -> Iterator[None]:
    """Somebody copied another key, and reloaded: PgBouncer says nothing, and goes on with the old pair."""
    assert scene.lab.place.pool is not None
    pool = scene.lab.place.pool
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (pool.server_directory / "server.key").resolve().write_bytes(key)
    pool.machine.run("/bin/sh", "-c", str(pool.inventory_variables()["rechain_services"][0]["reload"]))
    yield


STOPPING = (
    Fault("link down", "", _link_down, midway=True, hurts=True),
    Fault("sshd killed", "", _no_sshd, midway=True),
    Fault("PostgreSQL down", "", _server_down, midway=True, hurts=True),
    Fault("host key changed", "Host key verification failed", _other_host_key),
    Fault("disk full", "No space left on device", _disk_full),
    Fault("read-only file system", "Read-only file system", _read_only),
    Fault("immutable files", "Operation not permitted", _immutable),
    Fault("sudo refused", "password", _sudo_refused),
    Fault("Python missing", "python3", _no_python),
    Fault("slow host", "did not end within 12 s", _slow, not_in=(Phase.CLIENTS,)),
    Fault("clock a day behind", "set the clock", _clock_behind),
)
"""Each stops the run at the host, by name."""
SET_RIGHT = (
    Fault("key with wrong mode", "", _key_open_to_all),
    Fault("PgBouncer with a broken pair", "", _pooler_with_a_broken_pair, not_in=(Phase.CLIENTS,)),
)
"""What the run itself sets right."""
