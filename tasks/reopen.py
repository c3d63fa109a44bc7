"""Prepare a walk back: bring a finished rotation's previous CAs back into view, and refuse what is about to expire."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rechain.certificate import Certificate
from rechain.certs import compose
from rechain.errors import TransitionRefused
from rechain.phase import Phase
from rechain.rotation import Rotation, ended
from rechain.validity import MARGIN
from tasks.repository.generations import known_generations
from tasks.repository.rotation_yaml import read_rotation, update_rotation
from tasks.state import EnvironmentRef, now, observe
from tasks.step import step


@step("reopen-rotation")
def reopen_rotation(ref: EnvironmentRef) -> Rotation:
    """Take up a rotation that ended, so that its previous CA certificates can be trusted again.

    Side effect: rotation.yml. A rotation that is under way is returned as it is. Idempotent.

    Raises:
        TransitionRefused: There is no previous generation.
    """
    rotation = read_rotation(ref.root, ref.environment)
    if rotation.is_first:
        raise TransitionRefused(
            ref.environment,
            f"generation {rotation.current} is its first, so there is nothing to go back to",
            f"roll it out with `rechain refresh {ref.environment} --strategy downtime`",
        )
    if not rotation.is_at_rest:
        return rotation
    previous = [
        number
        for number in known_generations(ref.root, ref.environment)
        if rotation.current and number < rotation.current
    ]
    if not previous:
        raise TransitionRefused(
            ref.environment, "is at rest and has no previous generation", "there is nothing to roll back"
        )
    return update_rotation(
        ref.root, ref.environment, lambda stored: replace(stored, current=max(previous), next=stored.current)
    )


def close_reopened(ref: EnvironmentRef) -> None:
    """Undo `reopen_rotation` where nothing was moved since: the rotation stays ended."""
    rotation = read_rotation(ref.root, ref.environment)
    if rotation.phase is Phase.RETIRED and rotation.next is not None and rotation.target is None:
        update_rotation(ref.root, ref.environment, ended)


@step("refuse-expiring")
def refuse_expiring(ref: EnvironmentRef, target: Phase) -> None:
    """Refuse to walk back onto leaves or CAs that have expired or will within 7 days.

    Raises:
        TransitionRefused: Names the first such certificate and its date.
    """
    certs = compose(observe(ref).rotating, target)
    limit = now() + MARGIN
    leaves = [chain.leaf for chain in (*certs.servers.values(), *certs.clients.values())]
    for certificate in (*certs.server_chain.certificates, *certs.client_chain.certificates, *leaves):
        _refuse(ref, certificate, limit)


def _refuse(ref: EnvironmentRef, certificate: Certificate, limit: datetime) -> None:
    if certificate.not_after > limit:
        return
    raise TransitionRefused(
        ref.environment,
        f"{certificate.subject} ends on {certificate.not_after:%Y-%m-%d %H:%M} UTC, too soon to walk back onto",
        "go forward with `rechain refresh`",
    )
