"""The command line: it starts flows, calls read-only tasks, and prints what they return.

Exit codes: 0 done; 1 failed, the fleet is at a safe resting point; 2 wrong use or refused input, nothing changed;
4 waiting at a gate. `scan` alone answers as monitoring plugins do: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
Prefect takes a second to import, so only the commands that run flows import it.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from flows import configuring, delivering, outside, revoking, terminal
from flows.terminal import Format, ScanFormat
from rechain.errors import InputError, RechainError
from rechain.phase import Phase
from rechain.report import Outcome, RotationReport, Strategy
from rechain.rotation import Gate
from rechain.scan.seen import Source

app = App(
    name="rechain",
    version=lambda: metadata.version("rechain"),
    help="Refresh the mTLS certificate chain of a PostgreSQL fleet, and prove every step.",
)
app.command(configuring.config)
app.command(delivering.deliver)
app.command(revoking.revoke)
app.command(revoking.refresh_crls)
app.command(outside.csr)
app.command(outside.import_certificates, name="import")

Repo = Annotated[Path, Parameter(name="--repo", env_var="RECHAIN_REPO", help="Environment repository.")]
Formatted = Annotated[Format, Parameter(name="--format", help="table, json or yaml.")]
Yes = Annotated[bool, Parameter(name="--yes", negative="", help="Answer the confirmation; never a gate.")]
TakeOver = Annotated[bool, Parameter(name="--take-over", negative="", help="Take the claim of a run that is gone.")]
NonAtomic = Annotated[
    bool, Parameter(name="--accept-non-atomic", negative="", help="Accept that your own playbook restores nothing.")
]
HERE = Path()
WAITING = 4
UNKNOWN = 3


@app.command
def generate(
    env: str,
    *,
    own_ca: Annotated[bool, Parameter(negative="", help="Let our own CA take over from an outside one.")] = False,
    repo: Repo = HERE,
    format: Formatted = Format.TABLE,
) -> int:
    """Issue the next generation into the repository; deploys nothing."""
    from tasks.generate import issue_next_generation
    from tasks.state import EnvironmentRef

    number = issue_next_generation.fn(EnvironmentRef(repo.resolve(), env), own_ca=own_ca)
    terminal.show({"schema": 1, "environment": env, "next": number}, format)
    return 0


@app.command
def plan(
    env: str, *, strategy: Strategy = Strategy.MINIMAL_IMPACT, repo: Repo = HERE, format: Formatted = Format.TABLE
) -> int:
    """Show what would change, per host and file, with reasons, the proof, and whom to tell; changes nothing."""
    from flows.printing import plan_json, print_plan
    from tasks.plan import plan_rotation
    from tasks.plan_addition import plan_new_clients
    from tasks.plan_replacement import plan_downtime
    from tasks.state import EnvironmentRef

    ref = EnvironmentRef(repo.resolve(), env)
    match strategy:
        case Strategy.MINIMAL_IMPACT:
            planned = plan_rotation(ref)
        case Strategy.DOWNTIME:
            planned = plan_downtime(ref)
        case Strategy.ADD_CLIENTS:
            planned = plan_new_clients(ref)
    terminal.show(plan_json(planned), format, lambda: print_plan(planned))
    return 0


@app.command
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

    root = str(repo.resolve())
    with terminal.progress():
        match strategy:
            case Strategy.MINIMAL_IMPACT:
                report = refresh_with_minimal_impact(env, root, until, take_over, accept_non_atomic)
            case Strategy.DOWNTIME:
                report = replace_with_downtime(env, root, take_over, accept_non_atomic)
            case Strategy.ADD_CLIENTS:
                report = add_client_certificates(env, root, client, take_over, accept_non_atomic)
    return _end(report, format)


@app.command
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
        report = roll_back(env, str(repo.resolve()), take_over, accept_non_atomic)
    return _end(report, format)


@app.command
def approve(env: str, gate: Gate, *, reason: str, client: str | None = None, repo: Repo = HERE) -> int:
    """Open a gate that waits, with a reason; without --client for all that wait."""
    from tasks.approve import record_approval
    from tasks.state import EnvironmentRef

    given = record_approval(EnvironmentRef(repo.resolve(), env), gate, client, reason)
    about = f" for {client}" if client else ""
    terminal.say(f"gate {gate}{about} of generation {given.generation} is approved by {given.who}: {given.reason}")
    return 0


@app.command
def status(env: str, *, repo: Repo = HERE, format: Formatted = Format.TABLE) -> int:
    """Show phase, generations, what is observed, and what is missing."""
    from flows.printing import print_status, status_json
    from tasks.state import EnvironmentRef
    from tasks.status import status as look

    found = look(EnvironmentRef(repo.resolve(), env))
    terminal.show(status_json(found), format, lambda: print_status(found))
    return 0


@app.command
def verify(env: str, *, repo: Repo = HERE, format: Formatted = Format.TABLE) -> int:
    """Log in as every client on every endpoint."""
    from flows.printing import print_verification, verification_json
    from tasks.access import deployed_phase
    from tasks.state import EnvironmentRef, observe
    from tasks.verify import look

    state = observe(EnvironmentRef(repo.resolve(), env))
    found = look(state, deployed_phase(state), tries_revoked=state.next is None)
    terminal.show(verification_json(env, found), format, lambda: print_verification(found))
    return 1 if found.problems else 0  # a revoked certificate that is refused is none


@app.command
def scan(
    *envs: str,
    source: Annotated[
        list[Source] | None, Parameter(help="Ask this source; repeatable. Default: all reachable.")
    ] = None,
    format: Annotated[ScanFormat, Parameter(help="How to print.")] = ScanFormat.TABLE,
    output: Annotated[Path | None, Parameter(help="Write there, by rename, instead of printing.")] = None,
    repo: Repo = HERE,
) -> int:
    """Look at every certificate in files, on the wire and in bundles; exits 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""
    from flows.scanning import run_scan

    with terminal.progress() if sys.stderr.isatty() else nullcontext():
        return run_scan(repo.resolve(), envs, source or [], format, output)


@app.command
def lint(
    *files: Path,
    list_policies: Annotated[bool, Parameter(name="--list", negative="", help="List the policies.")] = False,
    format: Formatted = Format.TABLE,
) -> int:
    """Judge chain specs and PEM files; --list lists the policies."""
    from flows.printing import findings_json, policies_json, print_findings, print_policies
    from rechain.finding import Severity
    from tasks.lint import lint_files

    if list_policies:
        terminal.show(policies_json(), format, print_policies)
        return 0
    if not files:
        raise InputError("rechain lint", "got no file", "name chain specs or PEM files, or ask for --list")
    findings = lint_files(files)
    terminal.show(findings_json(findings), format, lambda: print_findings(findings))
    return 2 if any(finding.severity is Severity.ERROR for finding in findings) else 0


@app.command
def demo(
    *,
    strategy: Strategy = Strategy.MINIMAL_IMPACT,
    control: Annotated[bool, Parameter(negative="", help="Show what one step costs: as --strategy downtime.")] = False,
    until: Phase = Phase.RETIRED,
    keep: Annotated[bool, Parameter(negative="", help="Leave fleet and repository.")] = False,
    stop: Annotated[bool, Parameter(negative="", help="End a fleet that was kept.")] = False,
    state: Annotated[Path, Parameter(help="Directory of the demo.")] = Path(".demo"),
) -> int:
    """Build a real fleet here and refresh its chain while applications log in."""
    home = state.resolve() / "prefect"
    if not stop:
        terminal.make_folder(home)
    os.environ.setdefault("PREFECT_HOME", str(home))
    terminal.prepare_prefect()
    from flows.demo import run_demo, stop_demo

    if stop:
        stop_demo(state)
        return 0
    with terminal.progress():
        return run_demo(state, strategy=strategy, control=control, until=until, keep=keep)


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


def _end(report: RotationReport, format: Format) -> int:
    from flows.printing import print_report
    from rechain.report import as_json

    terminal.show(as_json(report), format, lambda: print_report(report))
    return WAITING if report.outcome is Outcome.WAITING else 0


def _is_scan() -> bool:
    """Whether a monitoring system asks: for a plugin, 2 would mean that certificates are in a critical state."""
    return sys.argv[1:2] == ["scan"]


def main() -> None:
    """Run a command; an error is one line on stderr and the exit code of its kind."""
    try:
        sys.exit(app(sys.argv[1:], exit_on_error=False, print_error=False, result_action="return_value"))
    except CycloptsError as error:
        terminal.complain(f"rechain: {str(error).splitlines()[0]} (see `rechain --help`)")
        sys.exit(UNKNOWN if _is_scan() else 2)
    except RechainError as error:
        terminal.complain(str(error))
        sys.exit(UNKNOWN if _is_scan() else error.exit_code)
    except KeyboardInterrupt:
        terminal.complain("rechain: interrupted; run the same command again to go on")
        sys.exit(1)
