"""generation.yml: what a generation was issued from, and by whom; it is public."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from rechain.errors import RepositoryError
from rechain.generation import Side
from tasks.repository.files import explain, parse_yaml, read_text
from tasks.repository.layout import generation_folder

GENERATION_FILE = "generation.yml"
_SCHEMA = 1


class _Generation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    spec_digest: str
    outside: tuple[Side, ...] = ()


def generation_text(spec_digest: str, outside: Collection[Side] = ()) -> str:
    """What generation.yml holds."""
    recorded = {"outside": [side.value for side in Side if side in outside]} if outside else {}
    return yaml.safe_dump({"schema": _SCHEMA, "spec_digest": spec_digest, **recorded})


def spec_digest(root: Path, environment: str, number: int) -> str | None:
    """Digest of the chain spec that a generation was issued from, but for its clients: it may gain some later.

    None when it was adopted or does not exist.

    Raises:
        RepositoryError: generation.yml is missing, unreadable or has another shape.
    """
    recorded = _read(root, environment, number)
    return recorded.spec_digest if recorded else None


def outside_sides(root: Path, environment: str, number: int) -> tuple[Side, ...]:
    """The sides of a generation that an outside CA signed.

    Raises:
        RepositoryError: generation.yml is missing, unreadable or has another shape: an own CA must not take over from
            an outside one because a line was lost.
    """
    recorded = _read(root, environment, number)
    return tuple(side for side in Side if recorded and side in recorded.outside)


def _read(root: Path, environment: str, number: int) -> _Generation | None:
    folder = generation_folder(root, environment, number)
    path = folder / GENERATION_FILE
    if not path.exists():
        if number == 1 or not folder.exists():  # adopted, or nobody's
            return None
        raise RepositoryError(str(path), "is missing", "restore it from Git")
    document = parse_yaml(read_text(path), str(path))
    if isinstance(document, dict) and document.pop("schema", None) != _SCHEMA:
        raise RepositoryError(
            str(path), f"schema: is not {_SCHEMA}", "restore it from Git, or use the rechain that wrote it"
        )
    try:
        return _Generation.model_validate(document)
    except ValidationError as error:
        raise RepositoryError(str(path), explain(error), "restore it from Git") from None
