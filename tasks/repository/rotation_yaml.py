"""rotation.yml: where a rotation stands, public, written by rename."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, ValidationError

from rechain.errors import RepositoryError
from rechain.phase import Phase
from rechain.rotation import Approval, Claim, Direction, Gate, Intent, Rotation
from tasks.repository.files import explain, parse_yaml, read_text, remove_empty, rename_durably, write_durably
from tasks.repository.layout import certs_paths, rotation_path, staged_folder
from tasks.repository.lock import locked

_SCHEMA = 1
_HEADER = """\
# Written by rechain: where the rotation of {environment}'s certificates stands. Nothing in it is secret.
# Commit it with certs.yml and the vault; change it with `rechain`, not by hand.
"""

Moment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


class _Claim(_Model):
    number: int
    owner: str
    direction: Direction
    target: Phase
    taken_at: Moment
    expires_at: Moment

    def value(self) -> Claim:
        return Claim(**dict(self))


class _Intent(_Model):
    certs_before: str
    vault_before: str
    certs_after: str
    vault_after: str

    def value(self) -> Intent:
        return Intent(**dict(self))


class _Approval(_Model):
    gate: Gate
    client: str | None
    generation: int
    reason: str
    who: str
    when: Moment

    def value(self) -> Approval:
        return Approval(**dict(self))


class _Rotation(_Model):
    phase: Phase | None
    current: int | None
    next: int | None
    last_generation: int
    target: Phase | None = None
    reached_at: Moment | None = None
    last_claim: int = 0
    claim: _Claim | None = None
    intent: _Intent | None = None
    approvals: tuple[_Approval, ...] = ()
    delivered: bool = False

    def value(self) -> Rotation:
        parts = dict(self) | {
            "claim": self.claim.value() if self.claim else None,
            "intent": self.intent.value() if self.intent else None,
            "approvals": tuple(approval.value() for approval in self.approvals),
        }
        return Rotation(**parts)


def read_rotation(root: Path, environment: str) -> Rotation:
    """Read where a rotation stands.

    An environment that chainsmith made is adopted as generation 1, at rest; nothing is written for that.

    Raises:
        RepositoryError: There is no such environment, or rotation.yml is unreadable or has another shape.
    """
    certs, _ = certs_paths(root, environment)
    path = rotation_path(root, environment)
    if path.exists():
        return parse_rotation(read_text(path), str(path))
    if certs.exists():
        return Rotation(Phase.RETIRED, current=1, next=None, last_generation=1)
    return Rotation(phase=None, current=None, next=None, last_generation=0)


def parse_rotation(text: str, where: str) -> Rotation:
    """Parse the text of a rotation.yml; raises as `read_rotation` does."""
    document = parse_yaml(text, where)
    if isinstance(document, dict) and document.pop("schema", None) != _SCHEMA:
        raise RepositoryError(where, f"schema: is not {_SCHEMA}", "use the rechain that wrote it, or a newer one")
    try:
        return _Rotation.model_validate(document).value()
    except ValidationError as error:
        raise RepositoryError(where, explain(error), "restore it from Git") from None


def write_rotation(root: Path, environment: str, rotation: Rotation) -> None:
    """Write where a rotation stands, in one step that survives a power cut. Idempotent, safe to retry.

    Another process may have written since `rotation` was read: use `update_rotation` where that matters.
    """
    with locked(root, environment):
        store_rotation(root, environment, rotation)


def update_rotation(root: Path, environment: str, change: Callable[[Rotation], Rotation]) -> Rotation:
    """Read, change and write rotation.yml while nobody else can, so that an approval given meanwhile is not lost.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        change: Makes the new rotation of the stored one; it may raise to leave all as it is.

    Returns:
        The rotation as written.
    """
    with locked(root, environment):
        rotation = change(read_rotation(root, environment))
        store_rotation(root, environment, rotation)
    return rotation


def store_rotation(root: Path, environment: str, rotation: Rotation) -> None:
    """Write rotation.yml by rename; for callers that hold the lock."""
    path = rotation_path(root, environment)
    staged = staged_folder(root, environment) / path.name
    write_durably(staged, render_rotation(environment, rotation))
    rename_durably(staged, path)
    remove_empty(staged.parent)


def render_rotation(environment: str, rotation: Rotation) -> str:
    """The text of rotation.yml."""
    content = _Rotation.model_validate(rotation).model_dump(mode="json")
    return _HEADER.format(environment=environment) + yaml.safe_dump(
        {"schema": _SCHEMA, **content}, sort_keys=False, width=120
    )


def iso(moment: datetime) -> str:
    """A moment for a person: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
