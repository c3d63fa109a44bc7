"""Service logs: remember where they end before a phase acts, and read what they say about certificates after it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.fleet.connection import Unreadable
from tasks.fleet.server_log import LogPosition, Mark, Marks, alerts_of, mark_all
from tasks.state import FleetState

_FILE = "log-marks.json"
_CLIENT_SAYS_NO = re.compile(
    r"alert (unknown ca|bad certificate|certificate unknown|certificate expired|unsupported certificate|decrypt error)"
    r"|remote error: tls: (unknown certificate|bad certificate|expired certificate|unsupported certificate"
    r"|error decrypting)",
    re.IGNORECASE,
)
"""RFC 8446, section 6.2: what the peer sends, in OpenSSL's words and in Go's (crypto/tls, alert.go); a server's own
verdict is `certificate verify failed`."""
_NO_MARK = "nobody remembers where it ended when the phase began, which was perhaps on another worker"


def mark_logs(state: FleetState) -> Marks:
    """Remember the end of every log that the inventory names, by host. Reads only."""
    return mark_all(state.ref.root, state.ref.environment, state.fleet)


def save_marks(directory: Path, marks: Marks) -> None:
    """Keep marks for the run that resumes this one."""
    content = {host: [asdict(position) for position in found] for host, found in marks.items()}
    (directory / f"{_FILE}.new").write_text(json.dumps(content), encoding="utf-8")
    (directory / f"{_FILE}.new").replace(directory / _FILE)


def load_marks(directory: Path) -> Marks:
    """The marks of the latest phase's beginning; none when another worker, or another version of this, made them."""
    path = directory / _FILE
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    try:
        return {host: tuple(_mark(at) for at in found) for host, found in content.items()}
    except TypeError:
        return {}


def certificate_alerts(
    state: FleetState, marks: Marks, hosts: Iterable[str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """What the logs of some hosts say about certificates since the marks, but for refusals of revoked ones.

    PostgreSQL logs whose certificate it refused from version 16 on; before, a revoked one's refusal is an alert as any.

    Args:
        state: The environment.
        marks: Where the logs were.
        hosts: Whose logs; a log of theirs without a mark can't be read.

    Returns:
        Alerts by host, and by host the reason why a log of it can't be read.
    """
    logging = {host.name for host in state.fleet.hosts if any(service.log for service in host.services)}
    wanted = [host for host in hosts if host in logging]
    unreadable = {host: _NO_MARK for host in wanted if host not in marks}
    marked = {host: marks[host] for host in wanted if host in marks}
    alerts: dict[str, tuple[str, ...]] = {}
    revoked = {one.serial for one in state.revoked}
    for host, logs in alerts_of(state.ref.root, state.ref.environment, state.fleet, marked, revoked).items():
        reasons = [found.reason for found in logs if isinstance(found, Unreadable)]
        if reasons:
            unreadable[host] = reasons[0]
        alerts[host] = tuple(line for found in logs if not isinstance(found, Unreadable) for line in found)
    return alerts, unreadable


def refuses_server(alert: str) -> bool:
    """Whether it is a client that says no to a server's certificate, and not a server to a client's."""
    return _CLIENT_SAYS_NO.search(alert) is not None


@contextmanager
def own_refusals(directory: Path, state: FleetState) -> Iterator[None]:
    """Keep what servers log within the block from closing a gate: there we present certificates that are revoked.

    A log that held an alert before keeps its mark, so that nothing is forgiven that was there already.

    Side effect: the marks in `directory`, where there are any.
    """
    marks = load_marks(directory)
    before, _ = certificate_alerts(state, marks, marks)
    yield
    if marks:
        fresh = mark_logs(state)
        save_marks(
            directory, {host: marks[host] if before.get(host) else fresh.get(host, marks[host]) for host in marks}
        )


def _mark(at: Mapping[str, Any]) -> Mark:
    return Unreadable(**at) if "reason" in at else LogPosition(**at)
