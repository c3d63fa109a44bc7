"""Record a person's approval of a gate: rotation.yml is the truth, whoever writes it."""

from __future__ import annotations

from dataclasses import replace

from rechain.certs import foreign_issuers
from rechain.errors import InputError
from rechain.gate import gates_out_of
from rechain.phase import Phase
from rechain.rotation import Approval, Gate, Rotation
from tasks.repository.claim import commit_phase
from tasks.repository.owner import person
from tasks.repository.rotation_yaml import update_rotation
from tasks.state import EnvironmentRef, now, observe

_ABOUT_CLIENTS = (Gate.EXTERNAL_TRUST, Gate.CLIENTS)


def record_approval(
    ref: EnvironmentRef, gate: Gate, client: str | None, reason: str, who: str | None = None
) -> Approval:
    """Write an approval for the rotation under way; where there is a remote, every clone gets it.

    Args:
        ref: Which environment.
        gate: The gate to open.
        client: The client it is about; None for all that wait.
        reason: Why, in the person's words.
        who: Who decides; the user of this session when None.

    Raises:
        InputError: No rotation is under way, the gate does not wait at its phase, there is no such client, or the
            reason is empty.
        ClaimRefused: Another clone has moved on.
    """
    if not reason.strip():
        raise InputError(ref.environment, "an approval needs a reason", "say why with --reason")

    def add(rotation: Rotation) -> Rotation:
        if rotation.next is None:
            raise InputError(ref.environment, "no rotation is under way, so no gate waits", "see `rechain status`")
        if not _waits(gate, rotation):
            raise InputError(
                ref.environment,
                f"gate {gate} does not wait at phase {rotation.phase}, and an approval ends with the next move",
                "see what waits with `rechain status`",
            )
        if client is not None:
            _refuse_pointless(gate)
            _refuse_unknown(ref, client)
        approval = Approval(gate, client, rotation.next, reason.strip(), who or person(), now())
        return replace(rotation, approvals=(*rotation.approvals, approval))

    approval = update_rotation(ref.root, ref.environment, add).approvals[-1]
    commit_phase(
        ref.root, ref.environment, f"Approve gate {gate} of generation {approval.generation}\n\n{reason.strip()}"
    )
    return approval


def _waits(gate: Gate, rotation: Rotation) -> bool:
    """Whether a gate can wait: at a resting point; while `retired` is under way logs are still listened to."""
    if rotation.target is not None:
        return gate is Gate.SERVER_LOG and rotation.target is Phase.RETIRED
    return gate in gates_out_of(rotation.phase)


def _refuse_pointless(gate: Gate) -> None:
    """What waits there is about the fleet, so an approval for one client would open nothing."""
    if gate not in _ABOUT_CLIENTS:
        raise InputError(f"gate {gate}", "is not about single clients", "leave --client out")


def _refuse_unknown(ref: EnvironmentRef, client: str) -> None:
    """An approval for a misspelt name would open nothing, and nobody would know."""
    state = observe(ref)
    foreign = (authority.common_name or authority.subject for authority in foreign_issuers(state.foreign))
    known = {*state.current.clients, *state.rotating.next.clients, *foreign}
    if client not in known:
        raise InputError(
            ref.environment, f"has no client {client!r} that a gate could wait for", "see what waits: `rechain status`"
        )
