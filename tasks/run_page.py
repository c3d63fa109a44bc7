"""What the page of a run shows while a fleet moves: how far it is, each host, each login, the canary, the end."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prefect.runtime import deployment

from rechain.canary_picture import canary_picture
from rechain.errors import RechainError
from rechain.gate import Waiting
from rechain.login import FAILED, Login
from rechain.phase import Phase
from rechain.progress import Progress, finished, progress
from rechain.report import Outcome, RotationReport
from rechain.report_page import report_summary, revocation_markdown, revocation_summary, rotation_markdown
from rechain.revocation_report import RevocationReport
from rechain.rotation import Rotation
from tasks.fleet.canary import read_segments
from tasks.fleet.outcome import HostResult, RollOutResult
from tasks.fleet.outcome import Outcome as HostOutcome
from tasks.page import Kind, Page, Sheet, key_of, show
from tasks.record import phase_spans
from tasks.repository.rotation_yaml import read_rotation
from tasks.state import EnvironmentRef

MOST_ROWS = 2000
_SERIAL, _FINGERPRINT = 8, 8


def show_progress(ref: EnvironmentRef, waiting: Sequence[Waiting] = ()) -> None:
    """Show how far the run is, from what rotation.yml says. Side effect: an artifact, and tags. Never raises."""

    def make(page: Page) -> Iterator[Sheet]:
        rotation = read_rotation(ref.root, ref.environment)
        if deployment.id:
            _tag(page, ref.environment, rotation)
        far = progress(ref.environment, rotation, waiting)
        if far:
            yield _progress(ref, far)

    show(f"the progress of {ref.environment}", make)


def _tag(page: Page, environment: str, rotation: Rotation) -> None:
    """A server that finds a run lost knows nothing of the environment repository: it tells these."""
    page.tag("environment: ", environment)
    page.tag("rests at: ", rotation.phase)
    page.tag("moves to: ", rotation.target)


def show_canary(ref: EnvironmentRef, record: Path) -> None:
    """Show what the canary has seen so far as a picture. Side effect: an artifact. Never raises."""

    def make(_page: Page) -> Iterator[Sheet]:
        segments = read_segments(record)
        picture = canary_picture(ref.environment, segments, phase_spans(record))
        address = f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"
        about = f"{ref.environment}: logins that the canary tried, by time"
        yield Sheet(Kind.IMAGE, key_of(ref.environment, "canary"), about, address)

    show(f"the canary of {ref.environment}", make)


def show_hosts(ref: EnvironmentRef, phase: Phase, result: RollOutResult) -> None:
    """Add what a roll-out made of its hosts to those before it. Side effect: an artifact. Never raises.

    A host that is rolled out to again in the same phase has its last result.
    """

    def make(page: Page) -> Iterator[Sheet]:
        key = key_of(ref.environment, "hosts")
        new = [_host(phase, one) for one in result.hosts]
        taken = {(row["phase"], row["host"]) for row in new}
        rows = [*(row for row in page.rows(key) if (row["phase"], row["host"]) not in taken), *new]
        bad = sum(not one.is_done for one in result.hosts)
        about = f"{bad} of them not done" if bad else "all done"
        problem = f"; {result.error}" if result.error else ""
        yield Sheet(
            Kind.TABLE, key, f"{ref.environment}: {phase}, {len(new)} hosts, {about}{problem}", rows[-MOST_ROWS:]
        )

    show(f"the hosts of {ref.environment}", make)


def show_logins(ref: EnvironmentRef, phase: Phase, logins: Sequence[Login], problems: Sequence[str]) -> None:
    """Show every login of the last verification, those that failed first. Side effect: an artifact. Never raises."""

    def make(_page: Page) -> Iterator[Sheet]:
        ordered = sorted(logins, key=lambda login: login.verdict not in FAILED)
        more = len(ordered) - MOST_ROWS
        about = f"{ref.environment} at {phase}: {len(ordered)} logins, {len(problems) or 'no'} problems"
        left_out = f"; {more} that passed are left out" if more > 0 else ""
        rows = [_login(login) for login in ordered[:MOST_ROWS]]
        yield Sheet(Kind.TABLE, key_of(ref.environment, "logins"), f"{about}{left_out}", rows)

    show(f"the logins of {ref.environment}", make)


def show_report(ref: EnvironmentRef, made: Callable[[], RotationReport], error: RechainError | None = None) -> None:
    """Show how a run stands at its end, or at a gate. Side effect: two artifacts. Never raises."""

    def make(_page: Page) -> Iterator[Sheet]:
        report = made()
        about = report_summary(report)
        yield Sheet(Kind.MARKDOWN, key_of(ref.environment, "report"), about, rotation_markdown(report, error))
        if report.outcome is Outcome.DONE:
            yield _progress(ref, finished(ref.environment, report.resting_phase))

    show(f"the report of {ref.environment}", make)


def show_revocation(ref: EnvironmentRef, report: RevocationReport) -> None:
    """Show what a revocation came to. Side effect: an artifact. Never raises."""
    sheet = Sheet(
        Kind.MARKDOWN,
        key_of(ref.environment, "revocation"),
        revocation_summary(report),
        revocation_markdown(report),
    )
    show(f"the report of {ref.environment}", lambda _page: [sheet])


def _progress(ref: EnvironmentRef, far: Progress) -> Sheet:
    return Sheet(Kind.PROGRESS, key_of(ref.environment, "progress"), far.told, far.percent)


_TOLD = {
    HostOutcome.UNCHANGED: "nothing to do",
    HostOutcome.NOT_REACHED: "not reached",
    HostOutcome.UNKNOWN: "unknown: work had begun when the run was cut short",
    HostOutcome.REFUSED_CLAIM: "refused: it has seen a newer run",
}


def _told(result: HostResult) -> str:
    """What became of a host; the users' own playbook proves nothing, and hosts of clients serve nothing."""
    if result.outcome is HostOutcome.INSTALLED and result.served:
        return "installed, reloaded, proven"
    return _TOLD.get(result.outcome, result.outcome.value)


def _host(phase: Phase, result: HostResult) -> dict[str, object]:
    served = ", ".join(f"{where}: {_short(leaf)}" for where, leaf in result.served.items())
    return {
        "phase": phase.value,
        "host": result.host,
        "outcome": _told(result),
        "changed files": ", ".join(result.changed_files),
        "serves now": served,
        "problem": result.message,
    }


def _short(fingerprint: str | None) -> str:
    return fingerprint[:_FINGERPRINT] if fingerprint else "no TLS"


def _login(login: Login) -> dict[str, object]:
    return {
        "endpoint": str(login.endpoint),
        "client": login.client,
        "generation": login.generation,
        "verdict": login.verdict.value,
        "error": login.error or "",
        "serial": (login.client_serial or "")[:_SERIAL],
        "server": _short(login.server_fingerprint),
    }
