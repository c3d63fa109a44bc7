"""Hold an environment's claim for as long as a run acts on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rechain.errors import ClaimRefused, RechainError
from rechain.phase import Phase
from rechain.rotation import Claim, Direction, resting_place
from tasks.repository.claim import commit_phase, refresh_claim, release_claim, take_claim
from tasks.repository.rotation_yaml import read_rotation
from tasks.state import EnvironmentRef, now
from tasks.step import progress


@contextmanager
def claimed(ref: EnvironmentRef, direction: Direction, target: Phase, *, take_over: bool) -> Iterator[Claim]:
    """Take the claim, and give it back when the run ends in whatever way it can still end.

    A run that fails tells where it leaves the fleet.

    Raises:
        ClaimRefused: Somebody else moves this environment.
    """
    claim = take_claim(ref.root, ref.environment, direction=direction, target=target, take_over=take_over, now=now())
    try:
        yield claim
    except (RechainError, KeyboardInterrupt) as error:
        if not isinstance(error, ClaimRefused):  # then somebody else knows
            _tell_where_it_rests(ref)
        raise
    finally:
        untold = release_claim(ref.root, ref.environment, claim)
        if untold:
            progress.warning("others still see this claim: %s", untold)


def _tell_where_it_rests(ref: EnvironmentRef) -> None:
    with suppress(RechainError, OSError):  # why the run ended matters more than that its state can't be read
        progress.warning("%s %s", ref.environment, resting_place(read_rotation(ref.root, ref.environment)))


def publish(ref: EnvironmentRef, claim: Claim, message: str) -> None:
    """Keep the claim, and let others see what a step changed: one commit, pushed where there is a remote.

    Raises:
        ClaimRefused: Somebody else has taken the claim; nothing may act any more.
    """
    refresh_claim(ref.root, ref.environment, claim, now=now())
    committed = commit_phase(ref.root, ref.environment, message)
    if committed and committed.address:
        progress.info("merge request: %s", committed.address)
