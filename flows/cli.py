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

from flows import configuring, connecting, delivering, draining, outside, revoking, rotating, terminal
from flows.options import HERE, Formatted, Repo
from flows.terminal import Format, ScanFormat
from rechain.errors import InputError, RechainError
from rechain.phase import Phase
from rechain.report import Strategy
from rechain.scan.seen import Source

app = App(
    name="rechain",
    version=lambda: metadata.version("rechain"),
    help="Refresh the mTLS certificate chain of a PostgreSQL fleet, and prove every step.",
    suppress_keyboard_interrupt=False,  # what to do next is said below
)
app.command(rotating.refresh)
app.command(rotating.rollback)
app.command(rotating.approve)
app.command(configuring.config)
app.command(delivering.deliver)
app.command(revoking.revoke)
app.command(draining.drain)
app.command(revoking.refresh_crls)
app.command(outside.csr)
app.command(outside.import_certificates, name="import")
app.command(connecting.setup_prefect)

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
    hosts: Annotated[bool, Parameter(negative="", help="Each host a machine of its own, over SSH; as root.")] = False,
    keep: Annotated[bool, Parameter(negative="", help="Leave fleet and repository.")] = False,
    stop: Annotated[bool, Parameter(negative="", help="End a fleet that was kept.")] = False,
    state: Annotated[Path, Parameter(help="Directory of the demo.")] = Path(".demo"),
) -> int:
    """Build a real fleet here and refresh its chain while applications log in."""
    _refuse_mixed(strategy, until, control=control)
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
        return run_demo(state, strategy=strategy, control=control, until=until, keep=keep, on_machines=hosts)


def _refuse_mixed(strategy: Strategy, until: Phase, *, control: bool) -> None:
    """Options of the demo that say nothing together."""
    if until is not Phase.RETIRED and (control or strategy is not Strategy.MINIMAL_IMPACT):
        raise InputError("--until", "names a phase, and only minimal-impact goes through phases", "leave it out")
    if control and strategy is Strategy.ADD_CLIENTS:
        raise InputError("--control", "shows what one step costs, and add-clients replaces nothing", "leave it out")


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
    except OSError as error:
        where = error.filename or "rechain"
        terminal.complain(f"{where}: {error.strerror or error} (see that it can be read and written, then run again)")
        sys.exit(UNKNOWN if _is_scan() else 1)
    except KeyboardInterrupt:
        terminal.complain("rechain: interrupted; run the same command again to go on")
        sys.exit(1)
