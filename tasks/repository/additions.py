"""New clients in the folder of a generation that exists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rechain.addition import Added
from rechain.certificate import merge
from rechain.certs import Certs
from rechain.crl import Crl
from tasks.repository.certs_yaml import read_certs, render_certs, render_keys
from tasks.repository.files import read_text
from tasks.repository.generations import (
    CA_VAULT_FILE,
    CERTS_FILE,
    CRL_FILE,
    VAULT_FILE,
    ca_keys_text,
    has_ca_keys,
    read_ca_keys,
    replace_files,
)
from tasks.repository.layout import generation_folder
from tasks.repository.revocations import pem_of
from tasks.repository.vault import CA_VAULT_ID, encrypt, read_vault


def extend_generation(root: Path, environment: str, added: Added, crls: Sequence[Crl] = ()) -> None:
    """Put new clients into a generation's folder; what is in it stays as it is.

    Side effect: keys and lists first, then certs.yml, each by rename: a run that dies in between leaves what nothing
    names, and the next one replaces it. Safe to retry.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        added: The generation with the new clients, their keys, and the CA keys that are to be kept.
        crls: The generation's revocation lists, where it has gained CAs; empty keeps those that are there.

    Raises:
        RepositoryError: The folder is missing, or a vault can't be opened.
    """
    number = added.generation.number
    folder = generation_folder(root, environment, number)
    texts = {VAULT_FILE: encrypt(render_keys(read_vault(folder / VAULT_FILE), added.keys))}
    if added.ca_keys:
        known = read_ca_keys(root, environment, number) if has_ca_keys(root, environment, number) else {}
        texts[CA_VAULT_FILE] = encrypt(ca_keys_text({**known, **added.ca_keys}), vault_id=CA_VAULT_ID)
    if crls:
        texts[CRL_FILE] = pem_of(crls)
    texts[CERTS_FILE] = _certs_text(folder / CERTS_FILE, added)
    replace_files(root, environment, number, texts)


def _certs_text(path: Path, added: Added) -> str:
    """The folder's certs.yml with the new clients; CAs of others that are kept in it stay where they are."""
    held, generation = read_certs(path), added.generation
    bundle = merge(held.client_chain, generation.client_bundle)
    certs = Certs(held.server_chain, bundle, held.servers, generation.clients)
    return render_certs(read_text(path), certs, str(path))
