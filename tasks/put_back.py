"""Undo a replacement that a host did not take: certs.yml, vault and hosts get back what was there before."""

from __future__ import annotations

from collections.abc import Sequence

from rechain.errors import RollOutFailed
from rechain.phase import Phase
from rechain.rotation import Claim
from tasks.claim import publish
from tasks.deploy import record_phase, write_phase
from tasks.distribute import distribute
from tasks.state import EnvironmentRef
from tasks.step import progress


def put_back(ref: EnvironmentRef, hosts: Sequence[str], claim: Claim) -> None:
    """Roll the previous generation out again, host by host: one that fails does not keep the others from it.

    Side effect: both files, and every host. Idempotent, safe to retry. The rotation rests at `issued` again when
    every host took it; else the move stays under way: the strategy, run again, goes on with it; a roll-back undoes it.
    """
    progress.warning("the replacement is undone: every host gets back what it had")
    write_phase(ref, Phase.ISSUED, claim)
    failed = take_back(ref, Phase.ISSUED, hosts, claim)
    for error in failed:
        progress.warning("not put back: %s", error)
    if not failed:
        record_phase(ref, claim)
    publish(ref, claim, f"{ref.environment}: the replacement is undone")


def take_back(ref: EnvironmentRef, phase: Phase, hosts: Sequence[str], claim: Claim) -> list[RollOutFailed]:
    """Roll out what the repository holds by now, each host by itself: one that fails keeps no other from it.

    Side effect: every host, in the order given. Idempotent, safe to retry.

    Returns:
        The failures, one a host.
    """
    return [error for host in hosts if (error := _take_back(ref, phase, host, claim))]


def _take_back(ref: EnvironmentRef, phase: Phase, host: str, claim: Claim) -> RollOutFailed | None:
    try:
        distribute(ref, phase, [host], claim.number)
    except RollOutFailed as error:
        return error
    return None
