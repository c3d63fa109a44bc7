"""Walking back from every phase of a rotation under way, watched."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.environment import ENVIRONMENT, EXTERNAL
from lab.watch import summarise
from tests.plugins.desk import WAITING, Desk


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_every_phase_can_be_walked_back_without_a_failed_login(new_desk: Callable[..., Desk]) -> None:
    """From clients, servers and overlap back to issued: certs.yml and vault as before, byte for byte, nobody fails.

    At issued, one more rollback discards the next generation, and its number is not used again.
    """
    desk = new_desk(style="python")
    lab = desk.lab
    before = lab.repository.certs.read_bytes(), lab.repository.vault.read_bytes()
    watcher = lab.run_watcher()
    for phase in ("overlap", "servers", "clients"):
        desk.to_phase(phase)
        assert desk.status()["phase"] == phase
        if phase == "clients":
            waits = desk.json("rollback", ENVIRONMENT, "--yes", expect=WAITING)
            assert waits["resting_phase"] == "overlap"
            assert {one["client"] for one in waits["waiting_for"]} == {EXTERNAL}
            desk.approve("clients")
        walked = desk.json("rollback", ENVIRONMENT, "--yes")
        assert walked["resting_phase"] == "issued"
        assert (lab.repository.certs.read_bytes(), lab.repository.vault.read_bytes()) == before
    desk.run("rollback", ENVIRONMENT, "--yes")
    status = desk.status()
    assert (status["phase"], status["current"], status["next"]) == ("retired", 1, None)
    assert desk.json("generate", ENVIRONMENT)["next"] == 3
    lab.finish(watcher)
    seen = summarise(lab.journal("watch"))
    assert seen.failures == ()
    assert seen.attempted > 200
