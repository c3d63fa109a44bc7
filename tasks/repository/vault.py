"""Ansible vaults, through the `ansible-vault` program's pipes: no plaintext on disk, no GPL code imported."""

from __future__ import annotations

import os
from pathlib import Path

from rechain.errors import RepositoryError
from tasks.repository.files import read_text
from tasks.repository.programs import Finished, ansible_environment, find_program, run

CA_VAULT_ID = "rechain-ca"
PASSWORD_VARIABLE = "ANSIBLE_VAULT_PASSWORD_FILE"  # noqa: S105  # a variable's name
CA_PASSWORD_VARIABLE = "RECHAIN_CA_VAULT_PASSWORD_FILE"  # noqa: S105  # a variable's name
_HEADER = "$ANSIBLE_VAULT;"
_LABEL_FIELD = 3
_TIMEOUT_S = 60.0


def read_vault(path: Path) -> str:
    """Decrypt a vault file; the result stays in memory.

    Raises:
        RepositoryError: The file is unreadable or not a vault, or the password is missing or wrong.
    """
    return decrypt(read_text(path), str(path))


def decrypt(ciphertext: str, where: str) -> str:
    """Decrypt a vault's text. The CA vault is recognised by its vault id.

    Args:
        ciphertext: The whole content of a vault file.
        where: What to call it in an error.

    Raises:
        RepositoryError: It is not a vault, or the password is missing or wrong.
    """
    require_encrypted(ciphertext, where)
    return _vault(["decrypt", *_identities(vault_id(ciphertext))], ciphertext, where)


def encrypt(text: str, *, vault_id: str | None = None) -> str:
    """Encrypt a text; twice the same text gives two different vaults.

    Args:
        text: What to encrypt.
        vault_id: Label of the vault; `rechain-ca` takes the CA password. None for an ordinary vault.

    Returns:
        The content of a vault file.

    Raises:
        RepositoryError: The password is missing.
    """
    label = vault_id or "default"
    identities = ["--vault-id", f"{label}@{_password_file(vault_id)}"]
    return _vault(["encrypt", *identities, "--encrypt-vault-id", label], text, "ansible-vault encrypt")


def require_encrypted(ciphertext: str, where: str) -> None:
    """Refuse a file of keys that is not a vault.

    Raises:
        RepositoryError: It is plain text.
    """
    if not ciphertext.startswith(_HEADER):
        raise RepositoryError(where, "is not encrypted", f"encrypt it: ansible-vault encrypt {where}")


def vault_id(ciphertext: str) -> str | None:
    """The label in a vault's header; None for an ordinary vault."""
    fields = ciphertext.splitlines()[0].strip().split(";")
    return fields[_LABEL_FIELD] if len(fields) > _LABEL_FIELD else None


def has_own_ca_password() -> bool:
    """Whether CA keys have a password of their own; `plan` says so when they have not."""
    return bool(os.environ.get(CA_PASSWORD_VARIABLE))


def password_file() -> Path | None:
    """The vault password file or script, absolute; None when the variable is not set."""
    value = os.environ.get(PASSWORD_VARIABLE)
    return Path(value).expanduser().absolute() if value else None


def _identities(label: str | None) -> list[str]:
    """The passwords to try: for a CA vault also the ordinary one, which it had before it got its own."""
    files = {_password_file(label)}
    if label == CA_VAULT_ID and has_own_ca_password() and password_file() is not None:
        files.add(_password_file(None))
    return [argument for file in sorted(files) for argument in ("--vault-id", f"{label or 'default'}@{file}")]


def _password_file(label: str | None) -> Path:
    name = CA_PASSWORD_VARIABLE if label == CA_VAULT_ID and has_own_ca_password() else PASSWORD_VARIABLE
    value = os.environ.get(name)
    if not value:
        raise RepositoryError(
            name, "is not set, and there is a vault to open", f"export {name}=FILE, a file or a script"
        )
    path = Path(value).expanduser().absolute()
    if not path.is_file() or not os.access(path, os.R_OK):
        raise RepositoryError(name, f"{path} is not a file that can be read", "name the password file by its full path")
    return path


def _vault(arguments: list[str], given: str, where: str) -> str:
    finished = run(
        [find_program("ansible-vault"), *arguments],
        environment=ansible_environment(keep_settings=False),
        cwd=Path("/"),  # so that no ansible.cfg of a working directory is read
        timeout_s=_TIMEOUT_S,
        given=given,
    )
    if finished.returncode != 0:
        raise _refusal(finished, where)
    return finished.stdout


def _refusal(finished: Finished, where: str) -> RepositoryError:
    """Say what went wrong in our words: the program's own may quote a password script's output."""
    for sign, what, fix in _SIGNS:
        if sign in finished.stderr:
            return RepositoryError(where, what, fix)
    return RepositoryError(
        where, f"ansible-vault ended with code {finished.returncode}", "run ansible-vault view by hand"
    )


_SIGNS = (
    ("password script", "the vault password script failed", f"run the script that {PASSWORD_VARIABLE} names by hand"),
    ("Problem running", "the vault password script can't be run", f"run what {PASSWORD_VARIABLE} names by hand"),
    ("Invalid vault password", "the vault password is empty", f"put the password into what {PASSWORD_VARIABLE} names"),
    ("Decryption failed", "the vault password is wrong", f"point {PASSWORD_VARIABLE} at the right password"),
    ("ault format", "the vault is damaged", "restore it from Git"),
    ("not vault encrypted", "is not encrypted", "encrypt it with ansible-vault encrypt"),
)
