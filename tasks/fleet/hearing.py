"""Make host results of what ansible-runner tells while a playbook runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.fleet.outcome import HostEvent, HostResult, Outcome

_REFUSED = Outcome.REFUSED_CLAIM.value
_TIMED_OUT = "Timed out after"


class Hearing:
    """Hears the events of one run and knows what became of each host.

    Our playbook's one task says so itself. The users' own playbook is judged by Ansible's count at the end: a task
    that fails may be rescued.

    Args:
        hosts: The hosts of the run, in order.
        tell: Hears the progress.
        is_ours: Whether our own playbook runs.
    """

    def __init__(self, hosts: Sequence[str], tell: Callable[[HostEvent], None], *, is_ours: bool) -> None:
        self._hosts, self._tell, self._is_ours = hosts, tell, is_ours
        self._started: set[str] = set()
        self._said: dict[str, str] = {}
        self._results: dict[str, HostResult] = {}

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        kind = event["event"]
        if kind == "playbook_on_stats":
            self._count(event["counts"])
        elif event["host"] not in self._hosts:
            return  # such as a task that the users' playbook delegates
        elif kind == "runner_on_start":
            self._start(event["host"])
        elif kind == "runner_on_unreachable":
            self._finish(HostResult(event["host"], Outcome.UNREACHABLE, message=_message(event)))
        elif self._is_ours:
            self._finish(_ours(event))
        elif kind == "runner_on_failed" and not event["ignored"]:
            self._said[event["host"]] = _message(event)

    def results(self, why_unfinished: str) -> tuple[HostResult, ...]:
        """What became of each host; of one that was started and never finished nobody knows, for the reason given."""
        for host in self._hosts:
            if host in self._started and host not in self._results:
                said = self._said.get(host)
                outcome = Outcome.FAILED if said else Outcome.UNKNOWN
                self._finish(HostResult(host, outcome, message=said or why_unfinished))
        return tuple(self._results.get(host) or HostResult(host, Outcome.NOT_REACHED) for host in self._hosts)

    def _start(self, host: str) -> None:
        if host not in self._started:
            self._started.add(host)
            self._tell(HostEvent(host, "started"))

    def _finish(self, result: HostResult) -> None:
        self._start(result.host)
        if result.host not in self._results:
            self._results[result.host] = result
            self._tell(HostEvent(result.host, "finished", result))

    def _count(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Judge the hosts of the users' own playbook by Ansible's count at its end."""
        if self._is_ours:
            return
        for host in self._hosts:
            if any(count.get(host) for count in counts.values()):
                outcome = _counted(host, counts)
                said = self._said.get(host, "") if outcome is Outcome.FAILED else ""
                self._finish(HostResult(host, outcome, message=said))


def _counted(host: str, counts: Mapping[str, Mapping[str, int]]) -> Outcome:
    if counts["dark"].get(host):
        return Outcome.UNREACHABLE
    if counts["failures"].get(host):
        return Outcome.FAILED
    return Outcome.INSTALLED if counts["changed"].get(host) else Outcome.UNCHANGED


def _ours(event: Mapping[str, Any]) -> HostResult:
    result = event["result"]
    files = tuple(str(path) for path in result.get("changed_files", ()))
    if event["event"] == "runner_on_failed":
        return HostResult(event["host"], _unsuccessful(result), files, _message(event))
    to_be_seen_to = str(result.get("msg", ""))
    return HostResult(event["host"], Outcome(result["outcome"]), files, to_be_seen_to, dict(result["served"]))


def _unsuccessful(result: Mapping[str, Any]) -> Outcome:
    if result.get("outcome") == _REFUSED:
        return Outcome.REFUSED_CLAIM
    # The module tells an outcome of its own, unless it was never heard: then Ansible's time for one host was up.
    is_unheard = "outcome" not in result and _TIMED_OUT in str(result.get("msg", ""))
    return Outcome.UNKNOWN if is_unheard else Outcome.FAILED


def _message(event: Mapping[str, Any]) -> str:
    return " ".join(str(event["result"].get("msg", "no reason was given")).split())
