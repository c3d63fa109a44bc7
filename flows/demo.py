"""The demo: a real fleet on this machine, its chain refreshed while applications log in all the time."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flows.add_clients import add_client_certificates
from flows.printing import print_report
from flows.refresh import refresh_with_minimal_impact
from flows.replace import replace_with_downtime
from lab import leftover
from lab.environment import ENVIRONMENT, EXTERNAL
from lab.fleet import Lab
from lab.pool import POOLER
from lab.processes import Process
from lab.watch import Summary, summarise
from rechain.errors import GateClosed
from rechain.gate import Waiting
from rechain.phase import Phase
from rechain.report import CanaryReport, Outcome, PhaseReport, RotationReport, Strategy, as_json
from rechain.rotation import Gate
from tasks.step import progress

NEW_CLIENT = "rapportage"
_RUNS = "runs"
_MOST_TURNS = 6
_WATCH = "watch"
_APPLICATION_INTERVAL_MS = 100


def run_demo(
    state: Path, *, strategy: Strategy, control: bool, until: Phase, keep: bool, on_machines: bool = False
) -> int:
    """Build a fleet, take one strategy through it, and say how many logins were tried and how many failed.

    Side effect: `state` holds the environment repository and report.json; nothing keeps running unless `keep`.

    Returns:
        0 when no login failed (for downtime and the control: when some did), else 1.
    """
    lab = Lab.prepare(state, on_machines=on_machines)
    shutil.rmtree(lab.state / _RUNS, ignore_errors=True)  # an earlier demo's, of a repository that is gone
    os.environ.update(lab.repository.variables)
    os.environ["RECHAIN_STATE_DIR"] = str(lab.state / _RUNS)
    what = "machines with PgBouncer, HAProxy and etcd, " if on_machines else ""
    progress.info("starting %sa primary and two standbys: PostgreSQL %s", what, lab.installation.version)
    lab.start()
    try:
        application = lab.run_application(interval_ms=_APPLICATION_INTERVAL_MS, is_kept=keep)
        if on_machines:
            lab.run_watcher(_WATCH, interval_ms=_APPLICATION_INTERVAL_MS)
        chosen = Strategy.DOWNTIME if control else strategy
        report = _run(lab, application, chosen, until)
        report = _with_others(report, lab)
    finally:
        if not keep:
            lab.stop()
    (state / "report.json").write_text(json.dumps(as_json(report), indent=2) + "\n", encoding="utf-8")
    print_report(report)
    if keep:
        _tell_kept(lab)
    saw_failures = report.canary.failed > 0
    is_as_told = saw_failures is (chosen is Strategy.DOWNTIME)
    return 0 if is_as_told and report.outcome is Outcome.DONE else 1


def stop_demo(state: Path) -> None:
    """End a fleet that was kept."""
    leftover.end(state)


def _run(lab: Lab, application: Process, strategy: Strategy, until: Phase) -> RotationReport:
    match strategy:
        case Strategy.MINIMAL_IMPACT:
            return _rotate(lab, application, until)
        case Strategy.DOWNTIME:
            return replace_with_downtime(ENVIRONMENT, repository=str(lab.repository.root))
        case Strategy.ADD_CLIENTS:
            return _add_client(lab)


def _add_client(lab: Lab) -> RotationReport:
    """A team asks for a login: the role, the spec, and the strategy."""
    with lab.primary.server.connect() as session:
        session.execute(f'create role "{NEW_CLIENT}" login'.encode())
    _command("config", "add-client", ENVIRONMENT, NEW_CLIENT)
    return add_client_certificates(ENVIRONMENT, repository=str(lab.repository.root))


def _rotate(lab: Lab, application: Process, until: Phase) -> RotationReport:
    """Refresh; at each gate play the owner of the external application, then go on, as the gate says."""
    for _ in range(_MOST_TURNS):
        report = refresh_with_minimal_impact(ENVIRONMENT, until=until, repository=str(lab.repository.root))
        if report.outcome is not Outcome.WAITING:
            return report
        _play_owner(lab, application, report.waiting)
    raise GateClosed(ENVIRONMENT, "the demo's gates do not open", f"look at {lab.state}")


def _play_owner(lab: Lab, application: Process, waiting: Sequence[Waiting]) -> None:
    """Do what the owner of an external application does when a DBA calls."""
    for one in waiting:
        progress.info("waiting at gate %s: %s", one.gate, one.reason)
    gates = {one.gate for one in waiting}
    if any(one.client not in (EXTERNAL, POOLER) for one in waiting):  # its sessions hold PgBouncer's own ones open
        raise GateClosed(ENVIRONMENT, waiting[0].reason, "the demo expects that only applicatie is waited for")
    if Gate.EXTERNAL_TRUST in gates:
        progress.info("the owner of %s installs the bundle that holds both chains", EXTERNAL)
        lab.owner.install_bundle()
        _approve(Gate.EXTERNAL_TRUST, "its owner installed the new bundle")
    if Gate.CLIENTS in gates:
        progress.info("the owner of %s installs its new certificate and recycles its pool", EXTERNAL)
        lab.owner.take_delivery()
        lab.owner.recycle_pool(application, lab.journal(EXTERNAL))


def _approve(gate: Gate, reason: str) -> None:
    """Run the command that the gate prints."""
    _command("approve", ENVIRONMENT, gate.value, "--client", EXTERNAL, "--reason", reason)


def _command(*arguments: str) -> None:
    """Run rechain as a person would, and show it."""
    progress.info("$ rechain %s", shlex.join(arguments))
    program = str(Path(sys.executable).with_name("rechain"))
    subprocess.run([program, *arguments], check=True, timeout=60, stdout=subprocess.DEVNULL)


def _with_others(report: RotationReport, lab: Lab) -> RotationReport:
    """Add to what the canary saw what the application saw itself, and on machines the watcher of every path."""
    if not report.phases:
        return report
    starts = [_milliseconds(phase) for phase in report.phases]
    ends = [*starts[1:], round(time.time() * 1000)]
    for name in (EXTERNAL, _WATCH):
        parts = [summarise(lab.journal(name), start, end) for start, end in zip(starts, ends, strict=True)]
        phases = tuple(_joined(phase, part) for phase, part in zip(report.phases, parts, strict=True))
        whole = summarise(lab.journal(name), 0, ends[-1])
        report = replace(report, phases=phases, canary=_sum(report.canary, whole, name))
    return report


def _joined(phase: PhaseReport, part: Summary) -> PhaseReport:
    return replace(phase, attempted=phase.attempted + part.attempted, failed=phase.failed + part.failed)


def _sum(canary: CanaryReport, whole: Summary, name: str) -> CanaryReport:
    """The watcher comes by too seldom for its gaps to tell anything."""
    gap = whole.longest_gap_ms if name == EXTERNAL else 0
    return replace(
        canary,
        attempted=canary.attempted + whole.attempted,
        failed=canary.failed + whole.failed,
        longest_gap_ms=max(canary.longest_gap_ms, gap),
        failures=(*canary.failures, *(f"{name}: {entry}" for entry in whole.failures[:5])),
    )


def _milliseconds(phase: PhaseReport) -> int:
    return round(phase.started.timestamp() * 1000)


def _tell_kept(lab: Lab) -> None:
    progress.info(
        "the fleet is left running; its environment repository is %s, environment %s", lab.repository.root, ENVIRONMENT
    )
    progress.info(
        "export ANSIBLE_VAULT_PASSWORD_FILE=%s RECHAIN_REPO=%s", lab.repository.password_file, lab.repository.root
    )
    progress.info("end it with `rechain demo --stop`")
