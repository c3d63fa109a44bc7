"""A scan on the command line: what is asked, how it is printed, and the exit code of a monitoring plugin."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from rich.table import Table
from rich.text import Text

from flows.terminal import ScanFormat, out, say
from rechain.errors import InputError, RechainError
from rechain.scan.case import Limits, name_of
from rechain.scan.nagios import nagios
from rechain.scan.page import page
from rechain.scan.prometheus import prometheus
from rechain.scan.report import Row, Scanned, Status, as_json, worst
from rechain.scan.seen import Source
from tasks.repository.layout import environments
from tasks.repository.settings import Settings, read_settings
from tasks.scan_look import asked, judge, look
from tasks.state import EnvironmentRef

progress = logging.getLogger("rechain")

_AT_ONCE, _SHOWN = 4, 3
_COLOURS = {Status.OK: "green", Status.WARNING: "yellow", Status.CRITICAL: "bold red", Status.UNKNOWN: "magenta"}


def run_scan(
    root: Path, names: Sequence[str], sources: Sequence[Source], form: ScanFormat, output: Path | None
) -> Status:
    """Scan environments and print or write the result.

    Args:
        root: The environment repository.
        names: Environments; all when none is named.
        sources: Sources; all that are reachable when none is named.
        form: How to print.
        output: File to write to, by rename; None prints.

    Returns:
        The worst status of all.
    """
    try:
        if form is ScanFormat.TABLE and output is not None:
            raise InputError("--output", "a table is for a terminal", "name another --format for the file")
        settings = read_settings(root)
        scanned = _scan_all(root, names or environments(root), sources, settings)
    except RechainError as error:
        if form is not ScanFormat.NAGIOS:
            raise
        say(f"RECHAIN UNKNOWN - {' '.join(str(error).split())}")
        return Status.UNKNOWN
    if form is ScanFormat.TABLE:
        print_scan(scanned)
    else:
        _deliver(_TEXTS[form](scanned, settings), output)
    return worst(one.status for one in scanned)


def _scan_all(root: Path, names: Sequence[str], sources: Sequence[Source], settings: Settings) -> list[Scanned]:
    if not names:
        raise InputError(str(root / "environments"), "there is no environment", "name the repository with --repo")
    ask = asked(sources)

    def scan(name: str) -> Scanned:
        progress.info("%s: looking at %s", name, ", ".join(sorted(ask.sources)))
        found = judge(look(EnvironmentRef(root, name), ask), settings)
        progress.info("%s: %s, %d certificates", name, found.status.name, len(found.rows))
        return found

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(scan, dict.fromkeys(names)))


def print_scan(scanned: Sequence[Scanned]) -> None:
    """A scan for a person: each environment's verdict, a table sorted by urgency, and what fails next."""
    for one in scanned:
        title = f"{one.environment}: {one.status.name}"
        table = Table("status", "ends", "days", "certificate", "seen", "found", title=title, title_justify="left")
        for row in one.rows:
            table.add_row(
                Text(row.status.name, _COLOURS[row.status]),
                f"{row.certificate.not_after:%Y-%m-%d}",
                str(row.days_left),
                Text(f"{name_of(row.certificate)}\n{row.role}"),
                Text("\n".join(_places(row))),
                Text("\n".join(f"{finding.policy}: {finding.what}" for finding in row.findings)),
            )
        out().print(table)
        for finding in one.findings:
            say(f"{finding.severity}: {finding.where}: {finding.what} ({finding.fix})")
        for spot in one.unreachable:
            say(f"not seen: {spot.location} ({spot.source}): {spot.problem}")
        for failure in one.forecast.failures or [one.forecast]:
            say(f"forecast: {failure.sentence}")


def _places(row: Row) -> list[str]:
    """The first places of a certificate, and how many more there are."""
    shown = [f"{place.source}: {place.location}" for place in row.places[:_SHOWN]]
    more = len(row.places) - len(shown)
    return [*shown, f"and {more} more"] if more else shown


def _deliver(text: str, output: Path | None) -> None:
    if output is None:
        say(text.rstrip("\n"))
        return
    try:
        beside = output.with_name(f".{output.name}.new")
        beside.write_text(text, "utf-8")
        beside.replace(output)
    except OSError as error:
        raise InputError(
            str(output), f"can't be written: {error.strerror}", "name a file in a folder that is there"
        ) from None


def _limits(settings: Settings) -> Limits:
    return Limits(settings.thresholds.warning_days, settings.thresholds.critical_days)


_TEXTS: Mapping[ScanFormat, Callable[[Sequence[Scanned], Settings], str]] = {
    ScanFormat.JSON: lambda scanned, _: json.dumps(as_json(scanned), indent=2),
    ScanFormat.YAML: lambda scanned, _: yaml.safe_dump(as_json(scanned), sort_keys=False, allow_unicode=True),
    ScanFormat.NAGIOS: lambda scanned, settings: nagios(scanned, _limits(settings)),
    ScanFormat.PROMETHEUS: lambda scanned, _: prometheus(scanned),
    ScanFormat.HTML: lambda scanned, _: page(scanned),
}
