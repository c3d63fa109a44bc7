"""What `status` says a rotation waits for, from what was recorded; it watches nothing itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from rechain.canary import Attempt, attempt_line, event_line
from rechain.fleet import Fleet
from rechain.login import Verdict
from rechain.phase import Phase
from rechain.rotation import Approval, Gate
from tasks import gates
from tasks.gates import closed_gates, waiting_now
from tasks.logs import mark_logs, save_marks
from tasks.record import run_directory, run_path
from tasks.repository.certs_yaml import render_certs
from tasks.repository.rotation_yaml import update_rotation, write_rotation
from tasks.state import EnvironmentRef, observe
from tests.chains import make_chain
from tests.environments import CLIENTS, ISSUED, SERVERS, Environment, certs_of

_REACHED = datetime(2031, 5, 6, 12, tzinfo=UTC)
_ALERT = "2031-05-06 12:00:03 UTC [7] LOG:  could not accept SSL connection: tlsv1 alert unknown ca\n"


@pytest.fixture
def rotating(closed_environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EnvironmentRef:
    """At `servers`, with a server on this machine whose log is read."""
    monkeypatch.setenv("RECHAIN_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "pg1.log").touch()
    service = f"{{address: 192.0.2.1, log: {tmp_path / 'pg1.log'}}}"
    variables = f"ansible_connection: local\nrechain_services: [{service}]\n"
    (closed_environment.folder / "host_vars").mkdir()
    (closed_environment.folder / "host_vars" / "pg1.yml").write_text(variables)
    kept = closed_environment.state / "generation-2" / "certs.yml"
    kept.parent.mkdir(parents=True)
    kept.write_text(render_certs("", certs_of(make_chain(2, SERVERS, CLIENTS))))
    stands = replace(ISSUED, phase=Phase.SERVERS, reached_at=_REACHED)
    write_rotation(closed_environment.root, closed_environment.name, stands)
    return EnvironmentRef(closed_environment.root, closed_environment.name)


def _waits(ref: EnvironmentRef) -> list[tuple[Gate, str]]:
    return [(one.gate, one.reason) for one in waiting_now(observe(ref))]


def _fleet(ref: EnvironmentRef) -> Fleet:
    return observe(ref).fleet


def _record_failure(record: Path, at: datetime) -> None:
    failed = Attempt(at, "postgres", "pg1", "pg1:5432", Verdict.REFUSED, "SSL error: unknown ca", 9)
    lines = (event_line("watching", at - timedelta(seconds=1)), attempt_line(failed), event_line("stopped", at))
    (record / f"canary-{at.timestamp():.0f}-1.jsonl").write_text("\n".join(lines) + "\n")


def test_nothing_recorded_is_nothing_to_wait_for(rotating: EnvironmentRef) -> None:
    """The next run watches; looking leaves nothing behind."""
    assert _waits(rotating) == []
    assert not run_path(rotating, 2).exists()


def test_logins_that_failed_since_the_phase_keep_the_canary_s_gate_shut(rotating: EnvironmentRef) -> None:
    """Those from before are the phase before's; an approval opens the gate."""
    record = run_directory(rotating, 2)
    save_marks(record, mark_logs(observe(rotating)))
    _record_failure(record, _REACHED - timedelta(seconds=30))
    assert _waits(rotating) == []
    _record_failure(record, _REACHED + timedelta(seconds=30))
    ((gate, reason),) = _waits(rotating)
    assert gate is Gate.CANARY
    assert "unknown ca" in reason
    approval = Approval(Gate.CANARY, None, 2, "a failover", "dba", _REACHED + timedelta(minutes=5))
    update_rotation(rotating.root, rotating.environment, lambda one: replace(one, approvals=(approval,)))
    assert _waits(rotating) == []


def test_what_a_server_logged_since_the_phase_keeps_its_gate_shut(rotating: EnvironmentRef, tmp_path: Path) -> None:
    """And names the host."""
    log = tmp_path / "pg1.log"
    log.write_text(_ALERT)
    save_marks(run_directory(rotating, 2), mark_logs(observe(rotating)))
    assert _waits(rotating) == []
    with log.open("a") as file:
        file.write(_ALERT)
    ((gate, reason),) = _waits(rotating)
    assert gate is Gate.SERVER_LOG
    assert "pg1" in reason
    assert "unknown ca" in reason


def test_a_log_whose_end_nobody_remembers_is_not_taken_for_a_clean_one(rotating: EnvironmentRef) -> None:
    """A worker that did not take the fleet to its phase, or a host that got a log since."""
    save_marks(run_directory(rotating, 2), {})
    ((gate, reason),) = _waits(rotating)
    assert gate is Gate.SERVER_LOG
    assert "the log of pg1 can't be read: nobody remembers where it ended" in reason


@pytest.mark.parametrize(
    ("has_watched", "goes_to", "waits"),
    [
        (True, Phase.CLIENTS, []),
        (False, Phase.CLIENTS, ["are not all recorded here", "nobody remembers where it ended"]),
        (False, Phase.OVERLAP, []),
    ],
)
def test_a_run_on_another_worker_does_not_take_its_own_logins_for_all(
    rotating: EnvironmentRef, monkeypatch: pytest.MonkeyPatch, has_watched: bool, goes_to: Phase, waits: list[str]
) -> None:
    """What failed while the phase was reached may be recorded there alone: a person opens those gates, or nobody.

    A roll-back, which may be urgent, waits for no record of somebody else's.
    """
    for name in ("show_progress", "show_so_far"):
        monkeypatch.setattr(gates, name, lambda *_what, **_more: None)
    if has_watched:
        save_marks(run_directory(rotating, 2), mark_logs(observe(rotating)))
    canary = SimpleNamespace(
        started=_REACHED,
        failures=lambda _since: (),
        has_tried_since=lambda _moment: True,
        has_watched=lambda _moment: has_watched,
    )
    closed = closed_gates(rotating, goes_to, canary)  # type: ignore[arg-type]  # of a canary no more is asked
    assert [word in one.reason for one, word in zip(closed, waits, strict=True)] == [True] * len(waits)
