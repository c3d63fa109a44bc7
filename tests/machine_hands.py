"""What people and the kernel do to a roll-out on machines: certificates copied by hand, and a run that is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab.host import Host
from rechain.generation import Side
from rechain.phase import Phase
from tests.faults.seen import Victim, kill, ledger, wait_until
from tests.inventories import set_command
from tests.machine_runs import a_run
from tests.machine_scene import CLIENT, Scene
from tests.plugins.desk import Desk

_SETS = {
    Side.SERVER: ("server.crt", "server.key", "root.crt"),
    Side.CLIENT: ("postgresql.crt", "postgresql.key", "root.crt"),
}


def installed_by_hand(scene: Scene) -> Path:
    """Somebody copies to the primary what the phase holds for it, and reloads. Returns the directory."""
    host, repository = scene.lab.primary, scene.lab.repository
    side, other = (Side.CLIENT, Side.SERVER) if scene.phase is Phase.CLIENTS else (Side.SERVER, Side.CLIENT)
    name = CLIENT if side is Side.CLIENT else host.name
    directory = host.client_directory(CLIENT) if side is Side.CLIENT else host.server_directory
    deployed = repository.deployed()
    texts = (deployed[side][name], repository.private_key(side, name), deployed[other]["chain"])
    with ExitStack() as stack:
        if side is Side.CLIENT:  # copied one after the other: who logs in between has two halves
            stack.enter_context(scene.losing(lambda login: (login.client, login.host) == (CLIENT, host.name)))
        for file, text in zip(_SETS[side], texts, strict=True):
            (directory / file).write_text(text, "ascii")
    if side is Side.SERVER:
        host.server.reload()
        next(one for one in scene.lab.place.members if one.machine.name == host.name).start()
    return directory


def times_installed(host: Host, directory: Path) -> int:
    """How often a host's ledger says that a set was installed in a directory, or that it was tried."""
    entries = [json.loads(line) for line in ledger(host).splitlines()]
    return sum(entry["directory"] == str(directory) for entry in entries)


@contextmanager
def held(scene: Scene, by: str) -> Iterator[None]:
    """The reload command tells that it has begun, and runs another command first."""
    reload = scene.reload
    set_command(scene.lab, reload.inventory, f"touch {scene.begun} && {by} && {reload.command}")
    try:
        yield
    finally:
        scene.begun.unlink(missing_ok=True)
        set_command(scene.lab, reload.inventory, reload.command)


def killed_before_the_reload(desk: Desk, scene: Scene) -> int:
    """The files are switched, nothing is reloaded, and everything is dead: the run, SSH, and the module on the host.

    Over SSH a module outlives the run that started it, and reloads. Where sessions end with their connection, it dies.

    Returns:
        How often the service has been reloaded up to then.
    """
    reload = scene.reload
    before = reload.times()
    with held(scene, "sleep 600"):
        with a_run(desk, scene.phase) as program:
            wait_until(scene.begun.exists, "the reload begins", program)
            kill(program, Victim.TREE)
        # The module first: it would put the files back when the command ends.
        reload.machine.run("/bin/sh", "-c", "pkill -KILL -x python3; pkill -KILL -x sudo; pkill -KILL -x sleep")
    assert reload.times() == before, "it was reloaded after all"
    return before
