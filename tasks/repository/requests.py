"""The folder `rechain/ENV/requests`: signing requests that wait for an outside CA. It is there while they wait.

| file | content |
|---|---|
| SIDE-NAME.csr, intermediate-SIDE.csr | the requests, public |
| request.yml | what was asked for and when, with the digest of each public key |
| certs.vault.yml | the leaves' private keys, an ordinary vault of the shape of the environment's own |
| ca.vault.yml | the intermediates' private keys, under vault id `rechain-ca` |
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Literal

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from rechain.errors import RepositoryError
from rechain.generation import PrivateKeys, Side
from rechain.signing_request import Made, Requests, Wanted
from tasks.repository.certs_yaml import read_keys, render_keys
from tasks.repository.files import (
    explain,
    parse_yaml,
    read_text,
    remove_empty,
    rename_durably,
    sync_folder,
    write_durably,
)
from tasks.repository.generations import CA_VAULT_FILE, VAULT_FILE, ca_keys_text, parse_ca_keys
from tasks.repository.layout import requests_folder, staged_folder
from tasks.repository.lock import locked
from tasks.repository.vault import CA_VAULT_ID, encrypt, read_vault

_META_FILE = "request.yml"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Asked(_Model):
    side: Side
    name: str | None
    public_key: str


class _Requests(_Model):
    schema_version: Literal[1] = Field(alias="schema")
    spec_digest: str
    made_at: AwareDatetime
    carries: bool
    asked: tuple[_Asked, ...]

    def value(self) -> Requests:
        keys = {Wanted(one.side, one.name): one.public_key for one in self.asked}
        return Requests(self.spec_digest, self.made_at.astimezone(UTC), keys, self.carries)


def read_requests(root: Path, environment: str) -> Requests | None:
    """The requests that wait; None when there are none.

    Raises:
        RepositoryError: request.yml is missing from the folder, unreadable, or of another shape.
    """
    folder = requests_folder(root, environment)
    if not folder.exists():
        return None
    path = folder / _META_FILE
    document = parse_yaml(read_text(path), str(path))
    try:
        return _Requests.model_validate(document).value()
    except ValidationError as error:
        raise RepositoryError(str(path), explain(error), "restore it from Git") from None


def write_requests(root: Path, environment: str, made: Made) -> None:
    """Put requests and their keys in place, whole or not at all.

    Side effect: `rechain/ENV/requests`, by one rename. Those that wait already are never replaced.

    Raises:
        RepositoryError: Some wait already, or the vault password is missing.
    """
    public = {wanted.file: text for wanted, text in made.texts.items()} | {_META_FILE: _meta_text(made.requests)}
    secret = {}
    if made.keys.servers or made.keys.clients:
        secret[VAULT_FILE] = encrypt(render_keys("", made.keys))
    if made.ca_keys:
        secret[CA_VAULT_FILE] = encrypt(ca_keys_text(made.ca_keys), vault_id=CA_VAULT_ID)
    with locked(root, environment):
        _put(root, environment, public, secret)


def read_request_texts(root: Path, environment: str, requests: Requests) -> dict[str, str]:
    """File name to PEM of the requests that wait. Raises RepositoryError when one is missing."""
    folder = requests_folder(root, environment)
    return {wanted.file: read_text(folder / wanted.file) for wanted in requests.public_keys}


def read_request_keys(root: Path, environment: str) -> tuple[PrivateKeys, Mapping[str, str]]:
    """Decrypt the keys of the requests that wait: the leaves', and the intermediates' by side.

    The caller lets go of them in the same task.

    Raises:
        RepositoryError: A vault can't be opened.
    """
    folder = requests_folder(root, environment)
    leaves, authorities = folder / VAULT_FILE, folder / CA_VAULT_FILE
    keys = read_keys(read_vault(leaves), str(leaves)) if leaves.exists() else PrivateKeys()
    return keys, parse_ca_keys(authorities) if authorities.exists() else {}


def remove_requests(root: Path, environment: str) -> None:
    """Remove the requests and their keys, as one step. Idempotent, safe to retry."""
    folder, staged = requests_folder(root, environment), staged_folder(root, environment)
    with locked(root, environment):
        shutil.rmtree(staged / "requests", ignore_errors=True)
        if folder.exists():
            staged.mkdir(parents=True, exist_ok=True)
            rename_durably(folder, staged / "requests")
            shutil.rmtree(staged / "requests")
        remove_empty(staged)


def _put(root: Path, environment: str, public: Mapping[str, str], secret: Mapping[str, str]) -> None:
    folder, fresh = requests_folder(root, environment), staged_folder(root, environment) / "requests"
    if folder.exists():
        raise RepositoryError(str(folder), "holds requests that wait", f"see `rechain status {environment}`")
    shutil.rmtree(fresh, ignore_errors=True)
    for name, text in public.items():
        write_durably(fresh / name, text)
    for name, text in secret.items():
        write_durably(fresh / name, text, 0o600)
    sync_folder(fresh)
    rename_durably(fresh, folder)
    remove_empty(fresh.parent)


def _meta_text(requests: Requests) -> str:
    asked = [{"side": one.side.value, "name": one.name, "public_key": key} for one, key in requests.public_keys.items()]
    document = {
        "schema": 1,
        "spec_digest": requests.spec_digest,
        "made_at": requests.made_at.isoformat(timespec="seconds"),
        "carries": requests.carries,
        "asked": asked,
    }
    return yaml.safe_dump(document, sort_keys=False)
