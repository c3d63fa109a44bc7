"""What services wrote into their logs about certificates since a mark, on whatever machine the logs are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rechain.fleet import Fleet
from tasks.fleet.asking import ask_hosts, why_not
from tasks.fleet.connection import Unreadable
from tasks.playbooks.module_utils import rechain_log

_PLAYBOOK = "log.yml"
_LEAST_S, _A_HOST_S = 180.0, 5.0  # a gigabyte takes a host half a minute


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A place in a log.

    Attributes:
        path: Absolute path of the log.
        inode: Which file it was; None when there was none yet.
        offset: How many bytes of it are older than the mark.
        tail: Digest of the last of those: a log that was emptied and has grown again is another one.
    """

    path: str
    inode: int | None
    offset: int
    tail: str


Mark = LogPosition | Unreadable
Marks = Mapping[str, tuple[Mark, ...]]
"""Inventory host to the marks of its logs."""


def mark(path: str) -> Mark:
    """Remember the end of a log on this machine. A log that is not there yet starts at its beginning."""
    return _as_mark(rechain_log.mark(path))


def alerts_since(position: LogPosition, revoked: Collection[int] = ()) -> tuple[str, ...] | Unreadable:
    """What a log on this machine says about certificates since a mark, as the hosts' module reads it.

    Args:
        position: The mark.
        revoked: Serial numbers of certificates whose refusal is what is wanted; known from PostgreSQL 16 on.
    """
    return _as_alerts(rechain_log.alerts_since(_asked(position, revoked)))


def mark_all(root: Path, environment: str, fleet: Fleet) -> Marks:
    """Remember the end of every log that the inventory names.

    Side effect: none; one Ansible run for the logs on other machines. Idempotent, safe to retry.

    Raises:
        RepositoryError: Ansible is not installed.
    """
    logs = {host.name: [one.log for one in host.services if one.log] for host in fleet.hosts}
    here = {host.name for host in fleet.hosts if host.is_local}
    local = {name: tuple(mark(path) for path in logs[name]) for name in here}
    paths = {name: [{"path": path} for path in found] for name, found in logs.items() if found and name not in here}
    told = _ask(root, environment, paths)
    remote = {name: tuple(_as_mark(one) for one in told[name]) for name in paths}
    return {name: marks for name, marks in {**local, **remote}.items() if marks}


def alerts_of(
    root: Path, environment: str, fleet: Fleet, marks: Marks, revoked: Collection[int]
) -> Mapping[str, tuple[tuple[str, ...] | Unreadable, ...]]:
    """What the logs of some hosts say about certificates since the marks, by host in the order of its marks.

    Side effect: none; one Ansible run for the logs on other machines. Idempotent, safe to retry.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        fleet: Tells which hosts are this machine.
        marks: The marks of the hosts to look at.
        revoked: Serial numbers of certificates whose refusal is what is wanted; known from PostgreSQL 16 on.

    Raises:
        RepositoryError: Ansible is not installed.
    """
    here = {host.name for host in fleet.hosts if host.is_local}
    known = {name: [one for one in found if isinstance(one, LogPosition)] for name, found in marks.items()}
    told = _ask(
        root,
        environment,
        {name: [_asked(one, revoked) for one in found] for name, found in known.items() if found and name not in here},
    )
    local = {name: [alerts_since(one, revoked) for one in known[name]] for name in marks if name in here}
    read = {name: iter(local.get(name) or [_as_alerts(one) for one in told.get(name, ())]) for name in marks}
    return {
        name: tuple(one if isinstance(one, Unreadable) else next(read[name]) for one in found)
        for name, found in marks.items()
    }


def _asked(position: LogPosition, revoked: Collection[int]) -> dict[str, Any]:
    """As text: a serial number is longer than what YAML and JSON promise to keep."""
    return {**asdict(position), "revoked": [str(serial) for serial in revoked]}


def _ask(root: Path, environment: str, asked: Mapping[str, list[dict[str, Any]]]) -> Mapping[str, list[dict[str, Any]]]:
    """What each host tells of its logs, in their order; a host that tells nothing gives its reason for each."""
    if not asked:
        return {}
    told: dict[str, list[dict[str, Any]]] = {}

    def hear(event: Mapping[str, Any]) -> None:
        host = event["host"]
        if "logs" in event["result"]:
            told[host] = event["result"]["logs"]
        else:
            told[host] = [{"path": one["path"], "reason": f"the host {why_not(event)}"} for one in asked[host]]

    limit_s = max(_LEAST_S, _A_HOST_S * len(asked))
    silent = ask_hosts(root, environment, _PLAYBOOK, {"rechain_logs": asked}, on_event=hear, timeout_s=limit_s)
    return {
        host: told.get(host) or [{"path": one["path"], "reason": f"its host can't be asked: {silent}"} for one in logs]
        for host, logs in asked.items()
    }


def _as_mark(told: Mapping[str, Any]) -> Mark:
    return Unreadable(told["path"], told["reason"]) if "reason" in told else LogPosition(**told)


def _as_alerts(told: Mapping[str, Any]) -> tuple[str, ...] | Unreadable:
    return Unreadable(told["path"], told["reason"]) if "reason" in told else tuple(told["alerts"])
