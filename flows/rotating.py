"""`rechain refresh`, `rollback` and `approve`: commands that move a fleet, or let one be moved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from flows import terminal
from flows.options import HERE, Formatted, NonAtomic, Repo, TakeOver, Yes
from flows.terminal import Format
from rechain.errors import InputError
from rechain.phase import Phase
from rechain.report import Outcome, RotationReport, Strategy
from rechain.rotation import Gate

WAITING = 4


def refresh(
    env: str,
    *,
    strategy: Strategy = Strategy.MINIMAL_IMPACT,
    yes: Yes = False,
    until: Phase = Phase.RETIRED,
    client: Annotated[list[str] | None, Parameter(help="With add-clients: only this one; repeatable.")] = None,
    take_over: TakeOver = False,
    accept_non_atomic: NonAtomic = False,
    repo: Repo = HERE,
    format: Formatted = Format.TABLE,
) -> int:
    """Start or resume a rotation, or add client certificates."""
    _refuse_pointless(strategy, until, client)
    _agree(strategy, env, until, yes=yes)
    terminal.prepare_prefect()
    from flows.add_clients import add_client_certificates
    from flows.refresh import refresh_with_minimal_impact
    from flows.replace import replace_with_downtime

    how = _how(repo, take_over, accept_non_atomic)
    with terminal.progress():
        match strategy:
            case Strategy.MINIMAL_IMPACT:
                report = refresh_with_minimal_impact(env, until=until, **how)
            case Strategy.DOWNTIME:
                report = replace_with_downtime(env, **how)
            case Strategy.ADD_CLIENTS:
                report = add_client_certificates(env, clients=client, **how)
    return _end(report, format)


def rollback(
    env: str,
    *,
    yes: Yes = False,
    take_over: TakeOver = False,
    accept_non_atomic: NonAtomic = False,
    repo: Repo = HERE,
    format: Formatted = Format.TABLE,
) -> int:
    """Walk back to `issued`; at `issued` discard the next generation; from `retired` trust the previous CAs again."""
    terminal.confirm(f"Walk the rotation of {env} back?", yes=yes)
    terminal.prepare_prefect()
    from flows.roll_back import roll_back

    with terminal.progress():
        report = roll_back(env, **_how(repo, take_over, accept_non_atomic))
    return _end(report, format)


def approve(env: str, gate: Gate, *, reason: str, client: str | None = None, repo: Repo = HERE) -> int:
    """Open a gate that waits, with a reason; without --client for all that wait."""
    from tasks.approve import record_approval
    from tasks.state import EnvironmentRef

    given = record_approval(EnvironmentRef(repo.resolve(), env), gate, client, reason)
    about = f" for {client}" if client else ""
    terminal.say(f"gate {gate}{about} of generation {given.generation} is approved by {given.who}: {given.reason}")
    if terminal.has_prefect_server():
        _wake(env, given.who, given.reason)
    return 0


def _wake(env: str, who: str, reason: str) -> None:
    terminal.prepare_prefect()
    from tasks.wake import wake_waiting_runs

    for line in wake_waiting_runs(env, who, reason):
        terminal.say(line)


def _refuse_pointless(strategy: Strategy, until: Phase, client: list[str] | None) -> None:
    if client and strategy is not Strategy.ADD_CLIENTS:
        raise InputError("--client", f"means nothing to {strategy}, which renews everybody", "use add-clients")
    if until is not Phase.RETIRED and strategy is not Strategy.MINIMAL_IMPACT:
        raise InputError("--until", f"{strategy} has no phases to stop at", "leave it out")


def _agree(strategy: Strategy, env: str, until: Phase, *, yes: bool) -> None:
    """Ask as much as the strategy can break: for an outage, the environment's name has to be typed."""
    match strategy:
        case Strategy.MINIMAL_IMPACT:
            terminal.confirm(f"Refresh the certificate chain of {env} up to phase {until}?", yes=yes)
        case Strategy.ADD_CLIENTS:
            terminal.confirm(f"Add client certificates to {env}? It moves no date of those that exist.", yes=yes)
        case Strategy.DOWNTIME:
            _confirm_outage(yes, env)


def _confirm_outage(yes: bool, env: str) -> None:
    if yes:
        return
    terminal.require_terminal()
    terminal.say(f"Every certificate of {env} is replaced in one step: logins fail until it has ended everywhere.")
    if terminal.ask("Type the environment's name to go on: ") != env:
        raise InputError("rechain", "the name does not match, so nothing was done", f"type {env}, or add --yes")


def _how(repo: Path, take_over: bool, accept_non_atomic: bool) -> dict[str, Any]:
    """What every flow that moves a fleet takes."""
    return {"repository": str(repo.resolve()), "take_over": take_over, "accept_non_atomic": accept_non_atomic}


def _end(report: RotationReport, format: Format) -> int:
    from flows.printing import print_report
    from rechain.report import as_json

    terminal.show(as_json(report), format, lambda: print_report(report))
    return WAITING if report.outcome is Outcome.WAITING else 0
