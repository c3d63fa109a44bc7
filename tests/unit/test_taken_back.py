"""A host that refuses somebody gets back what it had, first and whatever happens to the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from flows import move
from rechain.errors import RollOutFailed
from rechain.phase import Phase
from rechain.rotation import Claim, Direction, Gate
from tasks import put_back
from tasks.order import HostOrder

_HOSTS = ("h1", "h2", "h3", "h4")
_ALERT = "LOG:  could not accept SSL connection: certificate verify failed"


class _Fleet:
    """Stands for hosts and their logs."""

    def __init__(
        self, refusing: str, heard_after: str, *, down: str = "", deaf: str = "", approved: bool = False
    ) -> None:
        self.refusing, self.heard_after, self.down, self.deaf = refusing, heard_after, down, deaf
        self.done: list[tuple[str, str]] = []
        self.approvals = [SimpleNamespace(gate=Gate.SERVER_LOG)] if approved else []

    def distribute(
        self, _ref: object, phase: Phase, hosts: Sequence[str], _claim: int, *, alone: Collection[str] = ()
    ) -> None:
        for host in hosts:
            self.done.append((host, phase.value))
            if host == self.down and phase is Phase.CLIENTS:
                raise RollOutFailed(host, "does not answer", "mend it")

    def alerts(self, _state: object, _marks: object, hosts: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
        is_heard = self.heard_after in [host for host, _ in self.done]
        heard = {self.refusing: (_ALERT,)} if is_heard and self.refusing in hosts else {}
        return heard, {self.deaf: "Permission denied"} if self.deaf in hosts else {}

    def observe(self, _ref: object) -> Any:
        rotating = SimpleNamespace(next=SimpleNamespace(number=2))
        return SimpleNamespace(rotation=SimpleNamespace(approvals=self.approvals), rotating=rotating)


def _shrink(fleet: _Fleet, monkeypatch: pytest.MonkeyPatch, phase: Phase = Phase.RETIRED) -> None:
    for name in ("write_phase", "verify_phase", "record_phase", "save_marks", "mark_logs", "run_directory"):
        monkeypatch.setattr(move, name, lambda *_arguments: None)
    monkeypatch.setattr(move, "distribute", fleet.distribute)
    monkeypatch.setattr(put_back, "distribute", fleet.distribute)
    monkeypatch.setattr(move, "certificate_alerts", fleet.alerts)
    monkeypatch.setattr(move, "observe", fleet.observe)
    claim = Claim(1, "me", Direction.REFRESH, phase, datetime.now(UTC), datetime.now(UTC))
    canary: Any = SimpleNamespace(watch_on=lambda: None)
    ref: Any = SimpleNamespace(environment="acc")
    move._shrink(move._Moving(ref, HostOrder(_HOSTS), claim, canary, {}), phase)


def test_the_host_that_refuses_is_widened_before_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that were not reached yet, too: they hold what certs.yml holds."""
    fleet = _Fleet("h3", heard_after="h3")
    with pytest.raises(RollOutFailed, match="h3: logged after its bundle shrank") as failed:
        _shrink(fleet, monkeypatch)
    assert "all bundles are wide again, phase clients" in failed.value.fix
    assert [host for host, phase in fleet.done if phase == "retired"] == ["h1", "h2", "h3"]
    assert [host for host, phase in fleet.done if phase == "clients"] == ["h3", "h1", "h2", "h4"]


def test_a_host_that_is_down_meanwhile_keeps_no_other_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is the refusal; the host that is not back is in the advice."""
    fleet = _Fleet("h4", heard_after="h4", down="h1")
    with pytest.raises(RollOutFailed, match="h4: logged after its bundle shrank") as failed:
        _shrink(fleet, monkeypatch)
    assert "all but h1 are back at phase clients" in failed.value.fix
    assert list(dict.fromkeys(host for host, phase in fleet.done if phase == "clients")) == ["h4", "h1", "h2", "h3"]


def test_who_has_looked_at_the_logs_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A revoked client that keeps trying would keep `retired` from ever being reached."""
    fleet = _Fleet("h3", heard_after="h3", approved=True)
    _shrink(fleet, monkeypatch)
    assert fleet.done == [(host, "retired") for host in _HOSTS]


def test_a_refusal_that_comes_late_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first host's log is read again after each of the others."""
    fleet = _Fleet("h1", heard_after="h2")
    with pytest.raises(RollOutFailed, match="h1: logged after its bundle shrank"):
        _shrink(fleet, monkeypatch)
    assert ("h3", "retired") not in fleet.done


def test_a_log_that_can_not_be_read_stops_the_way_forward_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless somebody has looked at it, and says so."""
    with pytest.raises(RollOutFailed, match="h2: its log can't be read after its bundle shrank: Permission denied"):
        _shrink(_Fleet("", heard_after="never", deaf="h2"), monkeypatch)
    for fleet, phase in (
        (_Fleet("", heard_after="never", deaf="h2", approved=True), Phase.RETIRED),
        (_Fleet("", heard_after="never", deaf="h2"), Phase.ISSUED),
    ):
        _shrink(fleet, monkeypatch, phase)
        assert [host for host, _ in fleet.done] == list(_HOSTS)
