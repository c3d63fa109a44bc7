"""A standby whose replication would not survive the refresh is found when its turn comes, and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from lab.environment import ENVIRONMENT
from lab.host import Host
from lab.postgresql import SUPERUSER
from lab.watch import summarise
from tests.inventories import set_command
from tests.plugins.desk import Desk
from tests.standbys import is_streaming, read_a_copy, wait_until_streaming


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_each_standby_is_seen_to_stream_before_the_next_host_is_touched(new_desk: Callable[..., Desk]) -> None:
    """Its walreceiver reads a copy of the files, whose key is then open, so that libpq refuses it.

    No other host has its new files by then, however often it is tried. The way back is open all the same. Mended, the
    phase is reached, but for another standby that replays late and is left alone; and nobody failed to log in all the
    time.
    """
    desk = new_desk()
    lab = desk.lab
    unfit, other = lab.standbys
    copy = read_a_copy(lab, unfit)
    renew = f"cp -pL {unfit.client_directory(SUPERUSER)}/* {copy}/ && chmod 644 {copy}/postgresql.key"
    desk.to_phase("overlap")
    desk.trust()
    watcher = lab.run_watcher()
    assert desk.refresh("--until", "servers")["resting_phase"] == "servers"
    set_command(lab, (unfit.name, "rechain_clients"), renew)

    held = {host: _certificate(host) for host in lab.hosts}
    said = _fails(desk, "clients")
    assert said.startswith(
        f"standby {unfit.name} at 127.0.0.1 of {lab.primary.endpoint}: no stream without lag in time"
    )
    assert "it has not come back" in said
    _has_its_own_alone(held, unfit)
    assert is_streaming(other)

    said = _fails(desk, "clients")
    assert said.startswith(f"standby {unfit.endpoint}: it has not streamed from any server for 60 s")
    _has_its_own_alone(held, unfit)

    desk.run("rollback", ENVIRONMENT, "--yes", expect=4)  # its log says all the time that it can't use its key
    assert (desk.status()["phase"], desk.status()["target"]) == ("servers", None)
    assert {host: _certificate(host) for host in lab.hosts} == held
    desk.run("approve", ENVIRONMENT, "server-log", "--reason", "it is that standby")
    desk.run("rollback", ENVIRONMENT, "--yes", expect=4)
    assert desk.status()["phase"] == "overlap"

    (copy / "postgresql.key").chmod(0o600)
    wait_until_streaming(unfit)
    desk.run("approve", ENVIRONMENT, "server-log", "--reason", "that standby is mended")
    set_command(lab, (unfit.name, "rechain_clients"), f"cp -pL {unfit.client_directory(SUPERUSER)}/* {copy}/")
    desk.trust()
    with other.server.connect() as session:
        session.execute("SELECT pg_wal_replay_pause()")
    done = desk.refresh("--until", "clients")
    assert done["resting_phase"] == "clients"
    assert done["canary"]["failed"] == 0
    assert all(map(is_streaming, lab.standbys))
    lab.finish(watcher)
    assert summarise(lab.journal("watch")).failures == ()


def _fails(desk: Desk, until: str) -> str:
    """The one line that it ends with."""
    return desk.run("refresh", ENVIRONMENT, "--yes", "--until", until, expect=1).stderr.splitlines()[-1]


def _certificate(host: Host) -> bytes:
    return (host.client_directory(SUPERUSER) / "postgresql.crt").read_bytes()


def _has_its_own_alone(held: Mapping[Host, bytes], unfit: Host) -> None:
    """The host of the standby has its next certificate, all others what they had."""
    assert [host for host, certificate in held.items() if _certificate(host) != certificate] == [unfit]
