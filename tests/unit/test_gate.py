"""What each gate says, and what opens it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rechain.gate import CertificateUse, SessionEvidence, base_branch, clients, gates_out_of, still_closed
from rechain.phase import Phase
from rechain.rotation import Approval, Gate, Rotation
from tests.chains import make_chain
from tests.fleets import make_fleet

_NOW = datetime(2030, 1, 1, tzinfo=UTC)
_HALF_WAY = Rotation(current=1, phase=Phase.OVERLAP, next=2, last_generation=2)


def test_a_phase_that_is_on_the_base_branch_waits_for_nothing() -> None:
    """Then an ordinary roll-out deploys the same."""
    assert base_branch("dev", is_merged=True) == ()


@pytest.mark.parametrize(("is_merged", "why"), [(False, "merge the rotation's branch"), (None, "no route to host")])
def test_a_phase_that_is_not_or_may_not_be_there_waits(is_merged: bool | None, why: str) -> None:
    """The reason names the branch and what is missing; what can't be told is never passed."""
    waiting = base_branch("dev", is_merged, "no route to host")
    assert [(one.gate, one.client) for one in waiting] == [(Gate.BASE_BRANCH, None)]
    assert "dev" in waiting[0].reason
    assert why in waiting[0].reason


def test_a_person_who_says_that_the_branch_is_frozen_opens_it() -> None:
    """By that gate's name, and for this rotation's generation."""
    waiting = base_branch("dev", is_merged=False)
    frozen = Approval(gate=Gate.BASE_BRANCH, client=None, generation=2, reason="dev is frozen", who="dba", when=_NOW)
    assert still_closed(waiting, replace(_HALF_WAY, approvals=(frozen,))) == ()
    assert still_closed(waiting, replace(_HALF_WAY, approvals=(replace(frozen, gate=Gate.CLIENTS),))) == waiting
    assert still_closed(waiting, replace(_HALF_WAY, approvals=(replace(frozen, generation=1),))) == waiting


def test_only_gates_that_can_wait_lead_out_of_a_phase() -> None:
    """An approval of another one would be gone before it is needed."""
    assert gates_out_of(None) == gates_out_of(Phase.ISSUED) == gates_out_of(Phase.RETIRED) == frozenset()
    assert Gate.CLIENTS not in gates_out_of(Phase.SERVERS)
    assert Gate.EXTERNAL_TRUST not in gates_out_of(Phase.CLIENTS)
    assert gates_out_of(Phase.OVERLAP) == frozenset(Gate)


def test_a_client_that_keeps_its_certificate_has_nothing_to_move_to() -> None:
    """An outside CA was asked for some clients only: the sessions of the others, and their silence, shut no gate."""
    fleet = make_fleet({"pg1": ["managed", "moving"]}, external=["batch"])
    leaving = make_chain(1, ["pg1"], ["managed", "moving", "batch"]).generation
    fresh = make_chain(2, ["pg1"], ["moving"]).generation.clients
    arriving = replace(leaving, number=2, clients={**leaving.clients, **fresh})
    uses = tuple(
        CertificateUse("pg1:5432", name, "192.0.2.9", leaving.clients[name].leaf.serial)
        for name in ("managed", "moving")
    )
    waiting = clients(fleet, leaving, arriving, SessionEvidence(uses))
    assert [one.client for one in waiting] == ["moving"]
