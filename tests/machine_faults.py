"""Everything that goes wrong on a machine: done to it, and undone again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab.errors import LabError
from lab.machine import Machine
from lab.pool import POOL
from lab.ssh import USER
from rechain.phase import Phase
from tests.faults.seen import wait_until
from tests.inventories import set_command
from tests.machine_scene import Scene

Happens = Callable[[Scene], AbstractContextManager[None]]
_OTHER_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKLq1Vb0Zo0s3Qk3Gm0o8r1cBz0m2Z8pQ4Yy0m6mX0Qd"
_CLOCK = "/usr/lib/python3/dist-packages/another_time.pth"
_LIMIT_S, _SLOW_S = 25, 40
_SILENT = "Data could not be sent to remote host"
_EVERY = (Phase.OVERLAP, Phase.SERVERS, Phase.CLIENTS, Phase.RETIRED)
_RECONNECTING = (Phase.SERVERS, Phase.CLIENTS)
_OF_SERVERS = (Phase.OVERLAP, Phase.SERVERS, Phase.RETIRED)


class Kind(StrEnum):
    """What fails."""

    NETWORK = "network"
    SSH = "ssh"
    FILES = "file system"
    PRIVILEGES = "privileges"
    CLOCK = "clock"
    SERVICE = "service"


class Moment(StrEnum):
    """When it happens."""

    BEFORE = "before the run"
    MIDWAY = "when the first host has its set already"
    RELOADING = "while the module on the host waits for a reload"


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: What.
        kind: What fails.
        says: What the run says about it.
        happens: Does it, and undoes it.
        moment: When it happens.
        phases: Where it is in the way.
        where: The inventory host that the run names; empty for the scene's own.
    """

    name: str
    kind: Kind
    says: str
    happens: Happens
    moment: Moment = Moment.BEFORE
    phases: tuple[Phase, ...] = _EVERY
    where: str = ""


def _scripts(do: str, undo: str) -> Happens:
    """A fault that one script on the host makes, and another takes back."""

    @contextmanager
    def happens(scene: Scene) -> Iterator[None]:
        scene.sh(do)
        try:
            yield
        finally:
            scene.sh(undo)

    return happens


_disk_full = _scripts(
    # The directory is on a small file system of its own, which has not a byte left.
    "cp -a $place /tmp/copy; mount -t tmpfs -o size=256k tmpfs $place; cp -a /tmp/copy/. $place; rm -r /tmp/copy;"
    "head -c 1m /dev/zero >$place/filler 2>/dev/null || true",
    "umount --lazy $place",
)
_read_only = _scripts("mount --bind $place $place; mount -o remount,bind,ro $place", "umount --lazy $place")
_immutable = _scripts(*(f"find $place -not -type l -print0 | xargs -0 chattr {flag}" for flag in ("+i", "-i")))
_sudo_refused = _scripts(f"mv /etc/sudoers.d/{USER} /etc/{USER}.off", f"mv /etc/{USER}.off /etc/sudoers.d/{USER}")
_no_python = _scripts("mount --bind /dev/null $python", "umount $python")


def _clock(seconds: int) -> Happens:
    """What the module is told of the time: no namespace shifts it, and sshd would not live with libfaketime."""
    return _scripts(
        f"echo 'import time; time.time = lambda now=time.time: now() + {seconds}' >{_CLOCK}",
        f"rm {_CLOCK}",
    )


@contextmanager
def _key_open_to_all(scene: Scene) -> Iterator[None]:
    """A server has read its key and goes on; a client reads it at each login, and libpq refuses it."""
    with scene.losing(scene.reads_key):
        scene.sh("chmod 644 $key")
        yield


@contextmanager
def _link_down(scene: Scene) -> Iterator[None]:
    with scene.losing(scene.reaches_host):
        scene.machines.cut(scene.host.name)
        try:
            yield
        finally:
            scene.machines.mend(scene.host.name)


@contextmanager
def _no_sshd(scene: Scene) -> Iterator[None]:
    with _no_sshd_on(scene, scene.machine):
        yield


@contextmanager
def _no_sshd_to_answer(scene: Scene) -> Iterator[None]:
    """The module outlives it: it reloads, proves, and has nobody to tell."""
    before = scene.reload.times()
    with _no_sshd_on(scene, scene.reload.machine):
        yield
    wait_until(lambda: scene.reload.times() > before, "the module that nobody hears any more reloads")


@contextmanager
def _no_sshd_on(scene: Scene, machine: Machine) -> Iterator[None]:
    """The daemon and every connection of it."""
    with suppress(LabError):  # of pkill itself nothing is left to tell
        machine.run("pkill", "-KILL", "sshd")
    try:
        yield
    finally:
        scene.machines.ssh.start(machine)


@contextmanager
def _other_host_key(scene: Scene) -> Iterator[None]:
    known_hosts = scene.machines.ssh.known_hosts
    before = known_hosts.read_text("ascii")
    scene.machines.ssh.know(scene.machine.address, _OTHER_HOST_KEY)
    try:
        yield
    finally:
        known_hosts.write_text(before, "ascii")


@contextmanager
def _server_down(scene: Scene) -> Iterator[None]:
    with scene.losing(scene.reaches_host):
        scene.host.server.stop()
        try:
            yield
        finally:
            scene.host.server.start()


@contextmanager
def _promoted(scene: Scene) -> Iterator[None]:
    """Somebody promotes the standby, and the primary lives on; what he makes good is the standby, by a new copy."""
    scene.host.server.promote()
    try:
        yield
    finally:
        with scene.losing(scene.reaches_host):
            scene.lab.make_standby(scene.host)


@contextmanager
def _slow(scene: Scene) -> Iterator[None]:
    """PgBouncer's reload takes longer than a roll-out may. It ends by itself, after the run has."""
    settings = scene.lab.repository.root / "rechain.yml"
    before = settings.read_text("utf-8")
    settings.write_text(f"{before}roll_out_s: {_LIMIT_S}\n", "utf-8")
    try:
        with _pooler_reloaded_by(scene, f"sleep {_SLOW_S}; {_pooler_reload(scene)}"):
            yield
    finally:
        settings.write_text(before, "utf-8")


@contextmanager
def _reload_breaks_the_pair(scene: Scene) -> Iterator[None]:
    """Between its installation and PgBouncer's reload, which ends with 0, the pair is broken."""
    other = scene.pool.machine.directory / "other.key"
    other.write_bytes(_another_key())
    copy = shlex.join(["cp", str(other), str(scene.pool.server_directory / "server.key")])
    with _pooler_reloaded_by(scene, f"{copy}; {_pooler_reload(scene)}"):
        yield


@contextmanager
def _pooler_has_a_broken_pair(scene: Scene) -> Iterator[None]:
    """Somebody copied another key, and reloaded: PgBouncer says nothing, and goes on with the old pair."""
    (scene.pool.server_directory / "server.key").write_bytes(_another_key())
    scene.pool.machine.run("/bin/sh", "-c", _pooler_reload(scene))
    yield


@contextmanager
def _pooler_reloaded_by(scene: Scene, command: str) -> Iterator[None]:
    set_command(scene.lab, (POOL, "rechain_services"), command)
    try:
        yield
    finally:
        set_command(scene.lab, (POOL, "rechain_services"), _pooler_reload(scene))


def _pooler_reload(scene: Scene) -> str:
    return str(scene.pool.inventory_variables()["rechain_services"][0]["reload"])


def _another_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


STOPPING = (
    Fault("link down", Kind.NETWORK, _SILENT, _link_down, moment=Moment.MIDWAY),
    Fault("host key changed", Kind.SSH, "Host key verification failed", _other_host_key),
    Fault("sshd killed", Kind.SSH, _SILENT, _no_sshd, moment=Moment.MIDWAY),
    Fault("read-only file system", Kind.FILES, "Read-only file system", _read_only),
    Fault("disk full", Kind.FILES, "No space left on device", _disk_full),
    Fault("immutable files", Kind.FILES, "Operation not permitted", _immutable),
    Fault("sudo refused", Kind.PRIVILEGES, "password", _sudo_refused),
    Fault("Python missing", Kind.FILES, "python3", _no_python),
    Fault("clock a day behind", Kind.CLOCK, "which is 1.0 days behind; set the clock", _clock(-86400)),
    Fault("PostgreSQL down", Kind.SERVICE, "speaks TLS", _server_down, moment=Moment.MIDWAY, phases=_OF_SERVERS),
)
"""Each stops the run at the host, by name, and leaves the host's files as they were."""
STOPPING_LATER = (
    Fault(
        "sshd killed while the module works", Kind.SSH, _SILENT, _no_sshd_to_answer,
        moment=Moment.RELOADING, phases=_OF_SERVERS,
    ),
    Fault(
        "sshd killed while the module works", Kind.SSH, _SILENT, _no_sshd_to_answer,
        moment=Moment.RELOADING, phases=(Phase.CLIENTS,), where=POOL,
    ),
    Fault(
        "PgBouncer's pair broken at its reload", Kind.SERVICE, "after the reload it serves the leaf",
        _reload_breaks_the_pair, phases=(Phase.SERVERS,), where=POOL,
    ),
    Fault(
        "PgBouncer's pair broken at its reload", Kind.SERVICE, "files or modes were changed after they were installed",
        _reload_breaks_the_pair, phases=(Phase.OVERLAP, Phase.RETIRED), where=POOL,
    ),
    Fault(
        "slow host", Kind.SERVICE, f"did not end within {_LIMIT_S} s", _slow, phases=_OF_SERVERS, where=POOL,
    ),
    Fault(
        "PostgreSQL down", Kind.SERVICE, "", _server_down, moment=Moment.MIDWAY, phases=(Phase.CLIENTS,),
    ),
    Fault(
        "standby promoted", Kind.SERVICE, "more than one server is a primary",
        _promoted, moment=Moment.MIDWAY, phases=_RECONNECTING,
    ),
)  # fmt: skip
"""Each stops the run when the hosts before have their sets: at the last host, at replication, or at the logins."""
PASSED = (
    Fault("key with wrong mode", Kind.FILES, "", _key_open_to_all),
    Fault("PgBouncer with a broken pair", Kind.SERVICE, "", _pooler_has_a_broken_pair),
    Fault("clock a day ahead", Kind.CLOCK, "its clock is 1.0 days ahead", _clock(86400)),
    Fault("standby promoted", Kind.SERVICE, "", _promoted, moment=Moment.MIDWAY, phases=(Phase.OVERLAP, Phase.RETIRED)),
)
"""What the run sets right by itself, tells of, or does not mind."""
ONE_OF_EACH_KIND = tuple(next(fault for fault in STOPPING if fault.kind is kind) for kind in Kind)
