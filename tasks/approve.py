"""Record a person's approval of a gate: rotation.yml is the truth, whoever writes it."""

from __future__ import annotations

import getpass
import os
from dataclasses import replace

from rechain.errors import InputError
from rechain.rotation import Approval, Gate, Rotation
from tasks.repository.rotation_yaml import update_rotation
from tasks.state import EnvironmentRef, now


def record_approval(
    ref: EnvironmentRef, gate: Gate, client: str | None, reason: str, who: str | None = None
) -> Approval:
    """Write an approval for the rotation under way.

    Args:
        ref: Which environment.
        gate: The gate to open.
        client: The client it is about; None for all that wait.
        reason: Why, in the person's words.
        who: Who decides; the user of this session when None.

    Raises:
        InputError: No rotation is under way, or the reason is empty.
    """
    if not reason.strip():
        raise InputError(ref.environment, "an approval needs a reason", "say why with --reason")

    def add(rotation: Rotation) -> Rotation:
        if rotation.next is None:
            raise InputError(ref.environment, "no rotation is under way, so no gate waits", "see `rechain status`")
        approval = Approval(gate, client, rotation.next, reason.strip(), who or _user(), now())
        return replace(rotation, approvals=(*rotation.approvals, approval))

    return update_rotation(ref.root, ref.environment, add).approvals[-1]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
