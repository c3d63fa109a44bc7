"""A replacement in one step is killed after the first host: it can be undone, and it can be gone on with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.environment import ENVIRONMENT
from lab.fleet import Lab
from lab.login import log_in
from rechain.phase import Phase
from tasks.repository.rotation_yaml import read_rotation
from tests.faults.seen import Moment, Victim, generations, hosts_with, kill, start_and_wait
from tests.plugins.desk import Desk

_DOWNTIME = ("--strategy", "downtime")


@pytest.mark.timeout(900)
def test_a_replacement_that_was_killed_is_undone_or_finished(new_desk: Callable[..., Desk]) -> None:
    """No generation logs in everywhere then, which must keep nobody from either way out; one chain is issued."""
    desk = new_desk()
    lab = desk.lab
    before = lab.repository.certs.read_bytes()
    _kill_half_way(desk)
    desk.json("rollback", ENVIRONMENT, "--yes")
    rotation = read_rotation(lab.repository.root, ENVIRONMENT)
    assert (rotation.phase, rotation.target) == (Phase.ISSUED, None)
    assert lab.repository.certs.read_bytes() == before
    _require_logins(lab)

    _kill_half_way(desk)
    assert desk.refresh(*_DOWNTIME)["resting_phase"] == "retired"
    lab.owner.install_bundle()
    lab.owner.take_delivery()
    _require_logins(lab)
    assert set(generations(lab.repository.root)) == {"generation-1", "generation-2"}


def _kill_half_way(desk: Desk) -> None:
    kill(start_and_wait(desk, Phase.RETIRED, Moment.FIRST_HOST, *_DOWNTIME), Victim.TREE)
    done = len(hosts_with(desk.lab, desk.lab.repository.deployed()))
    assert 0 < done < len(desk.lab.hosts)
    assert read_rotation(desk.lab.repository.root, ENVIRONMENT).target is Phase.RETIRED


def _require_logins(lab: Lab) -> None:
    tried = [(one, log_in(one, endpoint)) for one in lab.identities for endpoint in lab.endpoints if one.has_role]
    assert [f"{one.client}: {entry.error}" for one, entry in tried if not entry.ok] == []
