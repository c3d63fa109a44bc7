"""Client certificates in use, as the scan reads them on real servers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab.environment import ENVIRONMENT
from lab.fleet import Lab
from lab.login import connect
from rechain.scan.seen import Blind, Source
from tasks.session_look import look_at_sessions
from tasks.state import EnvironmentRef, FleetState, observe


@pytest.fixture
def state(lab_fleet: Lab, monkeypatch: pytest.MonkeyPatch) -> FleetState:
    """The fleet, and the password of its vault."""
    for name, value in lab_fleet.repository.variables.items():
        monkeypatch.setenv(name, value)
    return observe(EnvironmentRef(lab_fleet.repository.root, ENVIRONMENT))


def test_a_certificate_in_use_is_seen_once(lab_fleet: Lab, state: FleetState) -> None:
    """Two sessions of one client from one address are one use of its certificate."""
    identity = next(each for each in lab_fleet.identities if each.client == "pgfga")
    endpoint = lab_fleet.endpoints[0]
    with connect(identity, endpoint), connect(identity, endpoint):
        in_use, blind = look_at_sessions(state)
    (found,) = [one for one in in_use if one.user == "pgfga"]
    assert found.endpoint == endpoint
    assert found.serial == state.certs.clients["pgfga"].leaf.serial
    assert blind == ()


def test_a_server_that_does_not_answer_is_a_blind_spot(state: FleetState) -> None:
    """The sessions of the others are seen all the same."""
    first, *others = state.fleet.hosts
    away = replace(first, services=(replace(first.services[0], port=1),))
    in_use, blind = look_at_sessions(replace(state, fleet=replace(state.fleet, hosts=(away, *others))))
    assert [(one.source, one.location) for one in blind] == [(Source.SESSIONS, f"{first.server_name}:1")]
    assert blind[0].problem
    assert in_use == ()  # the standbys' own walreceivers are on the primary


def test_without_a_vault_password_nothing_is_seen_and_that_is_told(
    state: FleetState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception: what can't be asked is part of the answer."""
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE")
    in_use, (spot,) = look_at_sessions(state)
    assert in_use == ()
    assert isinstance(spot, Blind)
    assert "ANSIBLE_VAULT_PASSWORD_FILE" in f"{spot.location} {spot.problem}"


def test_a_password_file_that_is_gone_is_told(
    state: FleetState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for one that was configured and is not there."""
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(tmp_path / "gone"))
    in_use, (spot,) = look_at_sessions(state)
    assert in_use == ()
    assert "gone" in f"{spot.location} {spot.problem}"
