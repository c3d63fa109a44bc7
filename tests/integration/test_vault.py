"""Vaults through the real ansible-vault."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rechain.errors import RepositoryError
from tasks.repository import vault
from tasks.repository.vault import CA_VAULT_ID, decrypt, encrypt, read_vault, vault_id

SECRET = "-----BEGIN PRIVATE KEY-----\nneedle-in-a-vault\n-----END PRIVATE KEY-----\n"


def _script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def _refusal(ciphertext: str, where: str = "certs.vault.yml") -> str:
    with pytest.raises(RepositoryError) as caught:
        decrypt(ciphertext, where)
    text = str(caught.value)
    assert "\n" not in text
    assert "needle" not in text
    return text


@pytest.mark.usefixtures("vault_password")
def test_what_is_encrypted_is_decrypted_to_the_same_text() -> None:
    """A vault gives back exactly what was put in, and shows nothing of it."""
    ciphertext = encrypt(SECRET + "  ünïcode, no newline at the end")
    assert ciphertext.startswith("$ANSIBLE_VAULT;1.1;AES256")
    assert "needle" not in ciphertext
    assert decrypt(ciphertext, "x") == SECRET + "  ünïcode, no newline at the end"


def test_a_password_script_works_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ANSIBLE_VAULT_PASSWORD_FILE may name an executable, as with Ansible."""
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(_script(tmp_path / "password", "echo from a script")))
    ciphertext = encrypt(SECRET)
    (tmp_path / "plain").write_text("from a script")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(tmp_path / "plain"))
    assert decrypt(ciphertext, "x") == SECRET


def test_a_working_directory_s_ansible_cfg_does_not_interfere(
    vault_password: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither does a relative password file stop working, nor do other vault identities come in."""
    (tmp_path / "ansible.cfg").write_text("[defaults]\nvault_identity_list = other@nowhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", vault_password.name)
    assert decrypt(encrypt(SECRET), "x") == SECRET


def test_a_wrong_password_is_said_in_one_line(vault_password: Path) -> None:
    """The message names the vault and the variable."""
    ciphertext = encrypt(SECRET)
    vault_password.write_text("something else\n")
    text = _refusal(ciphertext, "/repo/certs.vault.yml")
    assert "/repo/certs.vault.yml: the vault password is wrong" in text
    assert "ANSIBLE_VAULT_PASSWORD_FILE" in text


def test_a_missing_password_is_said_before_ansible_would_ask(
    vault_password: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unset variable and a missing file are told apart."""
    ciphertext = encrypt(SECRET)
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(tmp_path / "gone"))
    assert f"{tmp_path / 'gone'} is not a file" in _refusal(ciphertext)
    vault_password.write_text("")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(vault_password))
    assert "the vault password is empty" in _refusal(ciphertext)
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE")
    assert "ANSIBLE_VAULT_PASSWORD_FILE: is not set" in _refusal(ciphertext)


@pytest.mark.usefixtures("vault_password")
def test_a_plain_text_vault_is_refused_with_the_command_that_encrypts_it(tmp_path: Path) -> None:
    """Keys in plain text in a repository are a defect to mend, not to work around."""
    path = tmp_path / "certs.vault.yml"
    path.write_text("private_keys: {server: {pg1: needle}}\n")
    with pytest.raises(RepositoryError, match=f"is not encrypted .encrypt it: ansible-vault encrypt {path}") as caught:
        read_vault(path)
    assert "needle" not in str(caught.value)


@pytest.mark.usefixtures("vault_password")
def test_a_damaged_vault_is_told_from_a_wrong_password() -> None:
    """A vault cut short is named as damaged."""
    assert "the vault is damaged" in _refusal(encrypt(SECRET)[:150])


def test_a_failing_password_script_s_output_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a script prints before it fails may be the password."""
    path = _script(tmp_path / "password", "echo needle; echo needle >&2; exit 3")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(path))
    assert "the vault password script failed" in _refusal("$ANSIBLE_VAULT;1.1;AES256\n6162\n")


def test_a_password_script_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit ends the script too, so that nothing is left waiting."""
    path = _script(tmp_path / "password", f"echo $$ > {tmp_path}/pid; sleep 300; :")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(path))
    monkeypatch.setattr(vault, "_TIMEOUT_S", 3.0)
    assert "ansible-vault: did not end within 3 s" in _refusal("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_ca_keys_have_a_vault_id_and_may_have_a_password_of_their_own(
    vault_password: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ordinary password opens a CA vault only when CA keys have none of their own."""
    shared = encrypt(SECRET, vault_id=CA_VAULT_ID)
    assert vault_id(shared) == "rechain-ca"
    assert vault_id(encrypt(SECRET)) is None
    assert decrypt(shared, "ca.vault.yml") == SECRET
    (tmp_path / "ca-password").write_text("for the CA alone\n")
    monkeypatch.setenv("RECHAIN_CA_VAULT_PASSWORD_FILE", str(tmp_path / "ca-password"))
    own = encrypt(SECRET, vault_id=CA_VAULT_ID)
    assert decrypt(own, "ca.vault.yml") == SECRET
    assert decrypt(shared, "ca.vault.yml") == SECRET
    monkeypatch.delenv("RECHAIN_CA_VAULT_PASSWORD_FILE")
    assert "the vault password is wrong" in _refusal(own)


@pytest.mark.usefixtures("vault_password")
def test_no_plaintext_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that ansible-vault may write to, home and temporary folders, holds nothing of the text."""
    places = tmp_path / "places"
    for name in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR"):
        (places / name).mkdir(parents=True)
        monkeypatch.setenv(name, str(places / name))
    decrypt(encrypt(SECRET), "x")
    found = [path for path in places.rglob("*") if path.is_file() and b"needle" in path.read_bytes()]
    assert found == []


@pytest.mark.usefixtures("vault_password")
def test_any_locale_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ansible refuses to start without UTF-8, as under cron; rechain gives it that."""
    for name in [name for name in os.environ if name.startswith(("LC_", "LANG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LC_ALL", "C")
    assert decrypt(encrypt(SECRET), "x") == SECRET
