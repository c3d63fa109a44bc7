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
    """Its walreceiver reads a copy of the files: first one that nobody renews, then one with an open key.

    A bundle without the next chain is found in phase `servers`, where the primary gets its certificate back. A key
    that libpq refuses is found in phase `clients`, and no other host has its new files by then, however often it is
    tried. Mended, the same command goes through, and nobody failed to log in all the time.
    """
    desk = new_desk()
    lab = desk.lab
    unfit, other = lab.standbys
    copy = read_a_copy(lab, unfit)
    desk.to_phase("overlap")
    desk.trust()
    watcher = lab.run_watcher()

    said = _fails(desk, "servers")
    assert said.startswith(
        f"standby {unfit.name} at 127.0.0.1 of {lab.primary.endpoint}: no stream without lag in time"
    )
    assert "every server presents its current one again, phase overlap" in said
    assert (desk.status()["phase"], desk.status()["target"]) == ("overlap", None)
    wait_until_streaming(unfit)
    desk.run("verify", ENVIRONMENT)

    (copy / "root.crt").write_bytes((unfit.client_directory(SUPERUSER) / "root.crt").read_bytes())
    renew = f"cp -pL {unfit.client_directory(SUPERUSER)}/* {copy}/ && chmod 644 {copy}/postgresql.key"
    set_command(lab, (unfit.name, "rechain_clients"), renew)
    desk.trust()
    before = _senders(lab.primary)
    assert desk.refresh("--until", "servers")["resting_phase"] == "servers"
    assert not set(before.values()) & set(_senders(lab.primary).values()), "each has connected anew"

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

    (copy / "postgresql.key").chmod(0o600)
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


def _senders(primary: Host) -> dict[str, int]:
    with primary.server.connect() as session:
        rows = session.execute("SELECT application_name, pid FROM pg_stat_replication").fetchall()
    return {str(name): int(str(pid)) for name, pid in rows}
