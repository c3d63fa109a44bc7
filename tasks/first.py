"""An environment's first generation: in certs.yml from the moment it is issued, on the fleet once it was seen there."""

from __future__ import annotations

from rechain.errors import TransitionRefused, VerificationFailed
from rechain.phase import Phase
from rechain.rotation import Direction
from tasks.claim import claimed, publish
from tasks.deploy import record_phase
from tasks.repository.rotation_yaml import read_rotation
from tasks.state import EnvironmentRef
from tasks.verify import verify_phase


def confirm_first_generation(ref: EnvironmentRef, *, take_over: bool) -> None:
    """Record that the first generation is on the fleet, where a playbook other than ours brought it there.

    Side effect: rotation.yml, once everybody has logged in. Idempotent: elsewhere there is nothing to confirm.

    Raises:
        TransitionRefused: It is not on the fleet.
        ClaimRefused: Somebody else moves this environment.
    """
    rotation = read_rotation(ref.root, ref.environment)
    if not rotation.is_first:
        return
    with claimed(ref, Direction.REFRESH, Phase.RETIRED, take_over=take_over) as claim:
        try:
            verify_phase(ref, Phase.RETIRED)
        except VerificationFailed as problem:
            raise refused_first(ref, rotation.current, problem.what) from None
        record_phase(ref, claim)
        publish(ref, claim, f"{ref.environment}: the first generation is on the fleet")


def refused_first(ref: EnvironmentRef, number: int | None, why: str = "") -> TransitionRefused:
    """The refusal of what needs a fleet with certificates."""
    return TransitionRefused(
        ref.environment,
        f"its first generation, {number}, is not rolled out yet{': ' if why else ''}{why}",
        f"roll it out with `rechain refresh {ref.environment} --strategy downtime`",
    )
