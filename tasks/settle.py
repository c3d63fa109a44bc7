"""Bring an environment to a known state before anything moves: unfinished writes, unfinished hosts."""

from __future__ import annotations

from rechain.errors import InputError, VerificationFailed
from tasks.deploy import forget_retired_keys
from tasks.distribute import distribute
from tasks.order import hosts_in_order
from tasks.reopen import close_reopened
from tasks.repository.catch_up import bring_up_to_date
from tasks.repository.claim import refuse_rivals
from tasks.repository.deployment import check_repository
from tasks.repository.intent import settle
from tasks.repository.settings import read_settings
from tasks.state import EnvironmentRef, now, observe
from tasks.step import progress, step
from tasks.verify import verify_phase


@step("settle-environment")
def settle_environment(
    ref: EnvironmentRef, *, accept_non_atomic: bool, take_over: bool = False, even_expired: bool = False
) -> None:
    """Complete or revert a file change that was cut short, and refuse a repository that is not fit.

    Raises:
        InputError: The repository is not fit; nothing was changed.
        ClaimRefused: Somebody else moves this environment; nothing was changed.
    """
    newer = bring_up_to_date(ref.root, ref.environment)
    refuse_rivals(ref.root, ref.environment, take_over=take_over, now=now())
    for done in filter(None, (newer, settle(ref.root, ref.environment))):
        progress.warning("%s", done)
    check_repository(ref.root, ref.environment, even_expired=even_expired)
    close_reopened(ref)
    forget_retired_keys(ref)
    if read_settings(ref.root).playbook and not accept_non_atomic:
        raise InputError(
            "rechain.yml",
            "names a playbook of your own: it does not swap pairs atomically and restores nothing on failure",
            "accept that with --accept-non-atomic, or remove the setting `playbook`",
        )


def settle_fleet(ref: EnvironmentRef, claim: int) -> None:
    """Make sure that the fleet is at its resting point; hosts that are not are given what the point deploys.

    A move that was left half way is not settled here: it is taken again by the run itself.

    Raises:
        VerificationFailed: The fleet contradicts the resting point even after that.
    """
    rotation = observe(ref).rotation
    if rotation.phase is None or rotation.target is not None:
        return
    try:
        verify_phase(ref, rotation.phase)
    except VerificationFailed as problem:
        progress.warning("not at phase %s, rolling it out again: %s", rotation.phase, problem)
        order = hosts_in_order(ref)
        distribute(ref, rotation.phase, order.hosts, claim, alone=order.primaries)
        verify_phase(ref, rotation.phase)
