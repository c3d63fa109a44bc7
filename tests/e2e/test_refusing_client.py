"""A client that nobody knew to be without the new bundle: one server hears of it, and no other follows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.environment import ENVIRONMENT, EXTERNAL
from lab.login import read_journal
from tests.plugins.desk import WAITING, Desk


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_first_server_that_is_refused_gets_its_certificate_back(new_desk: Callable[..., Desk]) -> None:
    """Approved by mistake: the server's log names the address, everything rests at overlap, and then it goes on."""
    desk = new_desk()
    lab = desk.lab
    desk.to_phase("overlap")
    application = lab.run_application()
    desk.approve("external-trust")  # its owner said so, and had forgotten
    first = lab.standbys[0]

    failed = desk.run("refresh", ENVIRONMENT, "--yes", "--until", "servers", expect=1)
    said = failed.stderr.splitlines()[-1]
    assert said.startswith(f"{first.name}: logged after it got its next certificate: ")
    assert "unknown ca" in said
    assert "(from 127.0.0.1)" in said
    assert desk.status()["phase"] == "overlap"
    assert desk.status()["target"] is None
    hurt = {entry.endpoint for entry in read_journal(lab.journal(EXTERNAL)) if not entry.ok}
    assert hurt == {str(first.endpoint)}, "it logged in everywhere else all the time"

    again = desk.refresh("--until", "servers", expect=WAITING)
    assert [one["gate"] for one in again["waiting_for"]] == ["external-trust"], "what was approved has proven wrong"
    desk.trust()
    assert desk.refresh("--until", "servers")["resting_phase"] == "servers"
    lab.finish(application)
