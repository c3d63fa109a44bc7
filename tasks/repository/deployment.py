"""certs.yml and the vault of an environment: where they are, whether they fit, and the first ones."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rechain.certificate import Certificate, unique
from rechain.certs import Certs, adopt
from rechain.errors import PemError, RepositoryError
from rechain.generation import Generation, PrivateKeys, Side
from rechain.rotation import Rotation, beginning
from rechain.x509_parts import public_key_digest
from tasks.repository.certs_yaml import read_certs, read_keys
from tasks.repository.generations import restore_texts
from tasks.repository.intent import deploy_files
from tasks.repository.layout import certs_paths, generation_folder
from tasks.repository.rotation_yaml import read_rotation
from tasks.repository.settings import read_settings
from tasks.repository.vault import read_vault

__all__ = ["certs_paths", "check_repository", "write_first_certs"]


@dataclass(frozen=True, slots=True)
class _Files:
    """A certs.yml and the vault that holds its keys."""

    certs: Path
    vault: Path


def check_repository(root: Path, environment: str, now: datetime | None = None, *, even_expired: bool = False) -> None:
    """Refuse a repository whose files can't be rotated from; nothing is written.

    Checks the environment's own files and, during a rotation, those of the next generation.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        now: Aware UTC instant that validity is judged at; this instant when left out.
        even_expired: Whether CAs may have expired, because everything is replaced anyway.

    Raises:
        InputError: Names the file and the entry, what is wrong with it, and the fix.
    """
    certs, vault = certs_paths(root, environment)
    read_settings(root)
    rotation = read_rotation(root, environment)
    if not certs.exists() and not vault.exists():
        return
    found = [_Files(certs, vault)]
    if rotation.next is not None:
        folder = generation_folder(root, environment, rotation.next)
        found.append(_Files(folder / "certs.yml", folder / "certs.vault.yml"))
    moment = None if even_expired else now or datetime.now(UTC)
    with ThreadPoolExecutor() as pool:  # most of the time is ansible-vault's start
        for done in [pool.submit(_check, files, moment) for files in found]:
            done.result()


def write_first_certs(root: Path, environment: str, number: int) -> Rotation:
    """Make a generation the first one of an environment without certificates: its certs.yml, vault and rotation.yml.

    Side effect: the three files, through an intent; the folder of the generation is there already. Safe to retry.

    Returns:
        The rotation as written: the fleet is still to be given the generation.

    Raises:
        RepositoryError: There is a vault already, which would be overwritten.
    """
    certs, vault = certs_paths(root, environment)
    if vault.exists() and not certs.exists():
        raise RepositoryError(str(vault), f"exists, and {certs.name} does not", "restore or remove the one of the two")
    rotation = beginning(read_rotation(root, environment), number)
    return deploy_files(root, environment, rotation, *restore_texts(root, environment, number))


def _check(files: _Files, now: datetime | None) -> None:
    certs = read_certs(files.certs)
    if now is not None:
        _refuse_expired(certs, str(files.certs), now)
    keys = read_keys(read_vault(files.vault), str(files.vault))
    for side in Side:
        _refuse_unfit(certs, keys, side, files)


def _refuse_expired(certs: Certs, where: str, now: datetime) -> None:
    for certificate in _own_cas(certs):
        if certificate.not_after <= now:
            raise RepositoryError(
                where,
                f"the CA certificate {certificate.subject} expired on {certificate.not_after:%Y-%m-%d}",
                "no login can be kept; replace the chain with `rechain refresh --strategy downtime`",
            )


def _own_cas(certs: Certs) -> Iterable[Certificate]:
    """The CAs above the leaves, as trusted and as presented; a foreign CA in a bundle may expire as it likes."""
    own: Generation = adopt(certs, 0)
    presented = (
        certificate for side in Side for chain in certs.leaves(side).values() for certificate in chain.intermediates
    )
    return unique([*own.server_bundle.certificates, *own.client_bundle.certificates, *presented]).certificates


def _refuse_unfit(certs: Certs, keys: PrivateKeys, side: Side, files: _Files) -> None:
    for name, chain in certs.leaves(side).items():
        entry = f"private_keys.{side}.{name}"
        pem = keys.of(side).get(name)
        if pem is None:
            raise RepositoryError(
                str(files.vault),
                f"has no {entry}, and {files.certs.name} has its certificate",
                "add the key, or restore it",
            )
        if public_key_of(pem, f"{files.vault}: {entry}") != chain.leaf.public_key:
            raise RepositoryError(
                str(files.vault), f"{entry} does not fit certs.{side}.{name} in {files.certs.name}", "restore the pair"
            )


def public_key_of(pem: str, where: str) -> str:
    """The digest of the public half of a private key. Raises PemError when it is none, or has a passphrase."""
    try:
        # Only the public half is compared: checking an RSA key's primes would take seconds for a thousand keys.
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise PemError(
            where, "the key is protected by a passphrase", "store it without; the vault protects it"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise PemError(where, "is not a private key in PEM", "restore it from Git") from None
    return public_key_digest(key.public_key())
