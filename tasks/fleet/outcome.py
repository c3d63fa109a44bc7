"""What a roll-out made of each host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from rechain.errors import RollOutFailed


class Outcome(StrEnum):
    """What became of one host.

    `refused_claim`: the host has seen a newer run, nothing was touched. `unknown`: work on it had begun when the run
    was cut short, and may go on for as long as one module runs. `not_reached`: a host before it failed, or Ansible
    did not start.
    """

    INSTALLED = "installed"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    REFUSED_CLAIM = "refused_claim"
    UNKNOWN = "unknown"
    NOT_REACHED = "not_reached"


DONE = frozenset({Outcome.INSTALLED, Outcome.UNCHANGED})


@dataclass(frozen=True, slots=True)
class HostResult:
    """What a roll-out made of one host.

    Attributes:
        host: Inventory name.
        outcome: What became of it.
        changed_files: Paths on the host whose content is now different; empty with the users' own playbook.
        message: What the host said: why it failed, or what has to be seen to all the same; else empty.
        served: Endpoint (`address:port`) to the fingerprint it serves, None when it does not speak TLS; empty with
            the users' own playbook.
    """

    host: str
    outcome: Outcome
    changed_files: tuple[str, ...] = ()
    message: str = ""
    served: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether the host has what it should have."""
        return self.outcome in DONE


@dataclass(frozen=True, slots=True)
class HostEvent:
    """Progress of a roll-out.

    Attributes:
        host: Inventory name.
        kind: Whether work on the host started or finished.
        result: What became of it, when it finished.
    """

    host: str
    kind: Literal["started", "finished"]
    result: HostResult | None = None

    def __str__(self) -> str:
        if self.result is None:
            return f"{self.host}: {self.kind}"
        said = f": {self.result.message}" if self.result.message else ""
        return f"{self.host}: {self.result.outcome}{said}"


@dataclass(frozen=True, slots=True)
class RollOutResult:
    """What a roll-out made of all its hosts, in the order they were to be taken.

    Attributes:
        hosts: One result for each host.
        error: Why Ansible ended early, when that is about no host; else empty.
    """

    hosts: tuple[HostResult, ...]
    error: str = ""

    @property
    def is_done(self) -> bool:
        """Whether every host has what it should have."""
        return not self.error and all(result.is_done for result in self.hosts)

    def ledger(self) -> str:
        """Which hosts are done, which not, and of which nobody knows, in a line."""
        told = (
            (word, [each.host for each in self.hosts if _WORDS.get(each.outcome, "failed") == word])
            for word in ("done", "failed", "unknown", "not started")
        )
        return "; ".join(f"{word}: {', '.join(hosts)}" for word, hosts in told if hosts)

    def with_outcome(self, *outcomes: Outcome) -> tuple[HostResult, ...]:
        """The hosts with one of these outcomes."""
        return tuple(result for result in self.hosts if result.outcome in outcomes)


_WORDS = {
    **dict.fromkeys(DONE, "done"),
    Outcome.UNKNOWN: "unknown",
    Outcome.UNREACHABLE: "unknown",  # its link may have died while it was worked on
    Outcome.NOT_REACHED: "not started",
    Outcome.REFUSED_CLAIM: "not started",
}
_FIXES = {
    Outcome.FAILED: "correct the cause on the host and run the same command again",
    Outcome.UNREACHABLE: "make the host reachable for Ansible and run the same command again",
    Outcome.UNKNOWN: "run the same command again: it looks at the host before it acts",
    Outcome.REFUSED_CLAIM: "somebody else moves this environment: look at `rechain status`",
}


def raise_for(result: RollOutResult) -> None:
    """Raise for a roll-out in which a host does not have what it should have.

    Raises:
        RollOutFailed: Names every host that failed with what it said, and the hosts that were not reached.
    """
    if result.is_done:
        return
    bad = result.with_outcome(*_FIXES)
    where = ", ".join(each.host for each in bad) or "ansible-playbook"
    said = [f"{each.host}: {each.message}" if len(bad) > 1 else each.message for each in bad]
    missed = ", ".join(each.host for each in result.with_outcome(Outcome.NOT_REACHED))
    what = [*said, *filter(None, [result.error]), *([f"not reached: {missed}"] if missed else [])]
    fixes = dict.fromkeys(_FIXES[each.outcome] for each in bad) or ("correct that and run the same command again",)
    raise RollOutFailed(where, "; ".join(what), "; ".join(fixes))
