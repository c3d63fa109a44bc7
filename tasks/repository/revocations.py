"""What is revoked, and the revocation lists that are known: public files of the environment repository.

| file | content |
|---|---|
| rechain/ENV/revoked.yml | every certificate that was revoked, by whom and why; absent when none was |
| rechain/ENV/generation-N/crl.pem | the newest lists of the generation's own CAs above clients |
| rechain/ENV/other.crl.pem | lists of CAs whose keys are not ours, as their owners gave them |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, ValidationError

from rechain.crl import Crl, read_crls
from rechain.errors import RepositoryError
from rechain.revocation import Revoked
from tasks.repository.files import explain, parse_yaml, read_text, remove_empty, rename_durably, write_durably
from tasks.repository.generations import CRL_FILE, known_generations, replace_files
from tasks.repository.layout import generation_folder, staged_folder, state_folder
from tasks.repository.lock import locked

_SCHEMA = 1
_OTHERS = "other.crl.pem"
_RECORD = "revoked.yml"
_HEADER = "# Written by rechain: client certificates that may no longer log in. Nothing in it is secret.\n"


class _Revoked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)

    client: str
    generation: int
    serial: int
    issuer: str
    reason: str
    who: str
    when: Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    revoked: tuple[_Revoked, ...]


def read_revoked(root: Path, environment: str) -> tuple[Revoked, ...]:
    """Every certificate that was revoked, the oldest first.

    Raises:
        RepositoryError: revoked.yml is unreadable or has another shape.
    """
    path = state_folder(root, environment) / _RECORD
    if not path.exists():
        return ()
    document = parse_yaml(read_text(path), str(path))
    if isinstance(document, dict) and document.pop("schema", None) != _SCHEMA:
        raise RepositoryError(str(path), f"schema: is not {_SCHEMA}", "use the rechain that wrote it, or a newer one")
    try:
        return tuple(Revoked(**dict(one)) for one in _Record.model_validate(document).revoked)
    except ValidationError as error:
        raise RepositoryError(str(path), explain(error), "restore it from Git") from None


def add_revoked(root: Path, environment: str, added: Sequence[Revoked]) -> tuple[Revoked, ...]:
    """Add to what is revoked; what is revoked already keeps its reason. Idempotent, safe to retry.

    Side effect: `rechain/ENV/revoked.yml`, by rename.

    Returns:
        All of it.
    """
    with locked(root, environment):
        known = read_revoked(root, environment)
        serials = {one.serial for one in known}
        new = tuple(one for one in added if one.serial not in serials)
        if new:
            _replace(root, environment, _RECORD, _HEADER + _text((*known, *new)))
    return (*known, *new)


def read_known_crls(root: Path, environment: str) -> tuple[Crl, ...]:
    """Every revocation list that the repository keeps, older ones of a CA maybe among them.

    Raises:
        PemError: A file of lists is damaged.
    """
    folders = [generation_folder(root, environment, number) for number in known_generations(root, environment)]
    paths = [*(folder / CRL_FILE for folder in folders), state_folder(root, environment) / _OTHERS]
    return tuple(crl for path in paths if path.exists() for crl in read_crls(read_text(path), str(path)))


def keep_generation_crls(root: Path, environment: str, number: int, crls: Iterable[Crl]) -> None:
    """Keep the lists of a generation's own CAs. Side effect: its folder's crl.pem, by rename. Safe to retry."""
    replace_files(root, environment, number, {CRL_FILE: pem_of(crls)})


def keep_other_crls(root: Path, environment: str, crls: Iterable[Crl]) -> None:
    """Keep the lists that others signed. Side effect: `rechain/ENV/other.crl.pem`, by rename. Safe to retry."""
    with locked(root, environment):
        _replace(root, environment, _OTHERS, pem_of(crls))


def pem_of(crls: Iterable[Crl]) -> str:
    """Lists as the text of a file."""
    return "".join(crl.pem for crl in crls)


def _text(revoked: Sequence[Revoked]) -> str:
    content = [_Revoked.model_validate(one).model_dump(mode="json") for one in revoked]
    return yaml.safe_dump({"schema": _SCHEMA, "revoked": content}, sort_keys=False, width=120, allow_unicode=True)


def _replace(root: Path, environment: str, name: str, text: str) -> None:
    staged = staged_folder(root, environment) / name
    write_durably(staged, text)
    rename_durably(staged, state_folder(root, environment) / name)
    remove_empty(staged.parent)
