"""The folders `rechain/ENV/generation-N`: each generation's leaves, bundles and vaulted keys.

| file | content |
|---|---|
| certs.yml | the generation's own leaves and bundles, in the shape of the environment's certs.yml |
| certs.vault.yml | the leaves' private keys, an ordinary vault; gone once the generation is retired |
| ca.vault.yml | the CA keys, under vault id `rechain-ca`; absent when they are discarded or unknown |
| crl.pem | the newest revocation lists of its CAs above clients; absent when their keys are unknown |
| generation.yml | digest of its chain spec, clients left out; sides that an outside CA signed; not when adopted |
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import yaml

from rechain.certs import Certs, adopt
from rechain.crl import Crl
from rechain.errors import RepositoryError
from rechain.generation import Generation, PrivateKeys, Side
from rechain.issue import Issued
from rechain.spec import ChainSpec, digest_without_clients
from tasks.repository.certs_yaml import read_certs, read_keys, render_certs, render_keys
from tasks.repository.files import parse_yaml, read_text, remove_empty, rename_durably, sync_folder, write_durably
from tasks.repository.generation_yaml import GENERATION_FILE, generation_text, spec_digest
from tasks.repository.layout import certs_paths, generation_folder, staged_folder, state_folder
from tasks.repository.lock import locked
from tasks.repository.rotation_yaml import read_rotation
from tasks.repository.vault import CA_VAULT_ID, encrypt, read_vault, require_encrypted

CERTS_FILE = "certs.yml"
VAULT_FILE = "certs.vault.yml"
CA_VAULT_FILE = "ca.vault.yml"
CRL_FILE = "crl.pem"
_PREFIX = "generation-"


def write_generation(
    root: Path,
    environment: str,
    issued: Issued,
    spec: str,
    *,
    keep_ca_keys: bool,
    crls: Sequence[Crl] = (),
    outside: Collection[Side] = (),
) -> None:
    """Write a generation's folder, whole or not at all.

    Side effect: `rechain/ENV/generation-N`, by one rename. A folder of that number that rotation.yml does not know
    (a run died before it was recorded) is replaced: none of it was ever deployed.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        issued: The generation and its keys.
        spec: Digest of the chain spec without clients, to find out later whether it changed.
        keep_ca_keys: Whether the CA keys are kept, in a vault of their own.
        crls: The first revocation lists of its CAs above clients.
        outside: The sides that an outside CA signed.

    Raises:
        RepositoryError: rotation.yml names that generation already, or the vault password is missing.
    """
    texts = _texts(issued, generation_text(spec, outside), crls, keep_ca_keys=keep_ca_keys)
    with locked(root, environment):
        _refuse_known(root, environment, issued.generation.number)
        _put(root, environment, issued.generation.number, texts)


def adopt_environment(root: Path, environment: str) -> None:
    """Keep an environment that chainsmith made as generation 1: byte copies of both its files. Idempotent.

    Raises:
        RepositoryError: A file is missing or unreadable, or the vault is not encrypted.
    """
    if read_rotation(root, environment).current == 1 and not has_private_keys(root, environment, 1):
        snapshot(root, environment, 1)


def snapshot(root: Path, environment: str, number: int) -> None:
    """Keep the environment's two files byte for byte in the current generation's folder.

    Called before a rotation begins, while they hold the current generation alone: a rollback restores them from here.

    Side effect: `rechain/ENV/generation-N/{certs.yml,certs.vault.yml}`. Idempotent, safe to retry.

    Raises:
        RepositoryError: A file is missing or unreadable, or the vault is not encrypted.
    """
    certs, vault = certs_paths(root, environment)
    texts = {CERTS_FILE: read_text(certs), VAULT_FILE: read_text(vault)}
    require_encrypted(texts[VAULT_FILE], str(vault))
    with locked(root, environment):
        _refresh(root, environment, number, texts)


def replace_files(root: Path, environment: str, number: int, texts: Mapping[str, str]) -> None:
    """Replace single files of a generation's folder, in the order given, each by rename. Safe to retry."""
    with locked(root, environment):
        _refresh(root, environment, number, texts)


def restore_texts(root: Path, environment: str, number: int) -> tuple[str, str]:
    """What `snapshot` kept: the text of certs.yml and the vault as it was, still encrypted.

    Raises:
        RepositoryError: The generation is not kept, or its private keys were deleted.
    """
    folder = generation_folder(root, environment, number)
    return read_text(folder / CERTS_FILE), read_text(folder / VAULT_FILE)


def known_generations(root: Path, environment: str) -> tuple[int, ...]:
    """Numbers of the generations that have a folder, ascending."""
    folders = state_folder(root, environment).glob(f"{_PREFIX}*")
    numbers = (folder.name.removeprefix(_PREFIX) for folder in folders if folder.is_dir())
    return tuple(sorted(int(number) for number in numbers if number.isdigit()))


def read_generation(root: Path, environment: str, number: int) -> Generation:
    """Read the public part of a generation. Generation 1 of an environment not yet adopted is the environment's own.

    Raises:
        RepositoryError: There is no such generation, or its certs.yml is unreadable.
    """
    path = generation_folder(root, environment, number) / CERTS_FILE
    if not path.exists() and number == 1 and not known_generations(root, environment):
        path, _ = certs_paths(root, environment)
    return adopt(read_certs(path), number)


def is_of_spec(root: Path, environment: str, number: int, spec: ChainSpec) -> bool:
    """Whether a generation that rechain issued is what a chain spec asks for, by the spec's digest and its clients.

    Raises:
        RepositoryError: A file of it is unreadable.
    """
    if spec_digest(root, environment, number) != digest_without_clients(spec):
        return False
    return read_generation(root, environment, number).clients.keys() == set(spec.clients)


def has_private_keys(root: Path, environment: str, number: int) -> bool:
    """Whether the leaves' keys of a generation are kept."""
    return (generation_folder(root, environment, number) / VAULT_FILE).exists()


def read_generation_keys(root: Path, environment: str, number: int) -> PrivateKeys:
    """Decrypt the leaves' keys of a generation; the caller lets go of them in the same task.

    Raises:
        RepositoryError: They are not kept, or the vault can't be opened.
    """
    path = generation_folder(root, environment, number) / VAULT_FILE
    return read_keys(read_vault(path), str(path))


def has_ca_keys(root: Path, environment: str, number: int) -> bool:
    """Whether the CA keys of a generation are kept."""
    return (generation_folder(root, environment, number) / CA_VAULT_FILE).exists()


def read_ca_keys(root: Path, environment: str, number: int) -> Mapping[str, str]:
    """Decrypt a generation's CA keys: `root`, `server` and `client` to PEM. Roll-outs never call it.

    Raises:
        RepositoryError: They are not kept, or the vault can't be opened.
    """
    return parse_ca_keys(generation_folder(root, environment, number) / CA_VAULT_FILE)


def parse_ca_keys(path: Path) -> Mapping[str, str]:
    """Decrypt a vault of CA keys; raises as `read_ca_keys` does."""
    document = parse_yaml(read_vault(path), str(path))
    keys = document.get("ca_keys") if isinstance(document, dict) else None
    if not isinstance(keys, dict):
        raise RepositoryError(str(path), "has no mapping `ca_keys`", "restore it from Git")
    return {str(name): str(key) for name, key in keys.items()}


def delete_generation(root: Path, environment: str, number: int) -> None:
    """Remove a generation's folder, keys and all. Idempotent, safe to retry."""
    with locked(root, environment):
        _remove(generation_folder(root, environment, number), staged_folder(root, environment) / "removed")


def delete_private_keys(root: Path, environment: str, number: int) -> None:
    """Remove a retired generation's private keys, its CAs' too; the public part stays. Idempotent, safe to retry."""
    folder = generation_folder(root, environment, number)
    with locked(root, environment):
        for name in (CA_VAULT_FILE, VAULT_FILE):
            (folder / name).unlink(missing_ok=True)
        if folder.exists():
            sync_folder(folder)


def _texts(issued: Issued, meta: str, crls: Sequence[Crl], *, keep_ca_keys: bool) -> dict[str, str]:
    generation = issued.generation
    certs = Certs(generation.server_bundle, generation.client_bundle, generation.servers, generation.clients)
    plain = {VAULT_FILE: partial(encrypt, render_keys("", issued.keys))}
    if keep_ca_keys and issued.ca_keys:
        plain[CA_VAULT_FILE] = partial(encrypt, ca_keys_text(issued.ca_keys), vault_id=CA_VAULT_ID)
    with ThreadPoolExecutor() as pool:  # a second of ansible-vault each
        vaults = dict(zip(plain, pool.map(lambda seal: seal(), plain.values()), strict=True))
    lists = {CRL_FILE: "".join(crl.pem for crl in crls)} if crls else {}
    return {CERTS_FILE: render_certs("", certs), GENERATION_FILE: meta, **lists, **vaults}


def ca_keys_text(keys: Mapping[str, str]) -> str:
    """What the vault of CA keys holds, in plain; never written so."""
    return yaml.safe_dump({"ca_keys": dict(keys)}, default_style="|")


def _refuse_known(root: Path, environment: str, number: int) -> None:
    rotation = read_rotation(root, environment)
    if number in (rotation.current, rotation.next):
        raise RepositoryError(
            str(generation_folder(root, environment, number)), "is in use", "number the new generation higher"
        )


def _refresh(root: Path, environment: str, number: int, texts: Mapping[str, str]) -> None:
    """Replace single files of a folder, so that at no instant any other is missing; a new folder appears whole."""
    folder, staged = generation_folder(root, environment, number), staged_folder(root, environment)
    if not folder.exists():
        _put(root, environment, number, texts)
        return
    for name, text in texts.items():
        write_durably(staged / name, text, _mode(name))
        rename_durably(staged / name, folder / name)
    remove_empty(staged)


def _put(root: Path, environment: str, number: int, texts: Mapping[str, str]) -> None:
    staged = staged_folder(root, environment)
    fresh, folder = staged / "fresh", generation_folder(root, environment, number)
    shutil.rmtree(fresh, ignore_errors=True)
    for name, text in texts.items():
        write_durably(fresh / name, text, _mode(name))
    sync_folder(fresh)
    _remove(folder, staged / "removed")
    rename_durably(fresh, folder)
    remove_empty(staged)


def _remove(folder: Path, aside: Path) -> None:
    """Remove a folder as one step: it is renamed out of sight first."""
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():
        aside.parent.mkdir(parents=True, exist_ok=True)
        rename_durably(folder, aside)
        shutil.rmtree(aside)
    remove_empty(aside.parent)


def _mode(name: str) -> int:
    return 0o600 if name in (VAULT_FILE, CA_VAULT_FILE) else 0o644
