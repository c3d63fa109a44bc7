"""Server logs: remember where they end before a phase acts, and read what they say about certificates after it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rechain.fleet import Fleet
from tasks.fleet.connection import Unreadable
from tasks.fleet.server_log import LogPosition, alerts_since, mark

_FILE = "log-marks.json"
_REVOKED = re.compile(r"certificate revoked.*serial number (\d+)", re.IGNORECASE)
LogMarks = Mapping[str, LogPosition | Unreadable]


def mark_logs(fleet: Fleet) -> LogMarks:
    """Remember the end of every log that the inventory names, by host."""
    return dict(_marks(fleet))


def save_marks(directory: Path, marks: LogMarks) -> None:
    """Keep marks for the run that resumes this one."""
    content = {host: asdict(position) for host, position in marks.items()}
    (directory / f"{_FILE}.new").write_text(json.dumps(content), encoding="utf-8")
    (directory / f"{_FILE}.new").replace(directory / _FILE)


def load_marks(directory: Path) -> LogMarks:
    """The marks of the latest phase's beginning; none when it began on another worker."""
    path = directory / _FILE
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return {host: Unreadable(**at) if "reason" in at else LogPosition(**at) for host, at in content.items()}


def certificate_alerts(
    marks: LogMarks, hosts: Iterable[str], revoked: Collection[int] = ()
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """What the logs of some hosts say about certificates since the marks.

    Args:
        marks: Where the logs were.
        hosts: Whose logs.
        revoked: Serial numbers whose refusal is what is wanted; known from PostgreSQL 16 on, which logs them.

    Returns:
        Alerts by host, and by host the reason why its log can't be read.
    """
    alerts: dict[str, tuple[str, ...]] = {}
    unreadable: dict[str, str] = {}
    for host in hosts:
        position = marks.get(host)
        if position is None:
            continue
        found = position if isinstance(position, Unreadable) else alerts_since(position)
        if isinstance(found, Unreadable):
            unreadable[host] = found.reason
        else:
            alerts[host] = tuple(line for line in found if not _is_wanted(line, revoked))
    return alerts, unreadable


@contextmanager
def own_refusals(directory: Path, fleet: Fleet) -> Iterator[None]:
    """Keep what servers log within the block from closing a gate: there we present certificates that are revoked.

    A log that held an alert before keeps its mark, so that nothing is forgiven that was there already.

    Side effect: the marks in `directory`, where there are any.
    """
    marks = load_marks(directory)
    before, _ = certificate_alerts(marks, marks)
    yield
    if marks:
        fresh = mark_logs(fleet)
        save_marks(
            directory, {host: marks[host] if before.get(host) else fresh.get(host, marks[host]) for host in marks}
        )


def _is_wanted(line: str, revoked: Collection[int]) -> bool:
    serial = _REVOKED.search(line)
    return serial is not None and int(serial[1]) in revoked


def _marks(fleet: Fleet) -> Iterator[tuple[str, LogPosition | Unreadable]]:
    for host in fleet.hosts:
        for service in host.services:
            if service.log:
                local = mark(service.log) if host.is_local else Unreadable(service.log, "is on another machine")
                yield host.name, local
