"""Must-show row 11: bad input in the repository is refused in one line, and nothing is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from rechain.certificate import merge
from rechain.certs import Certs
from rechain.errors import InputError
from rechain.generation import PrivateKeys
from tasks.repository.certs_yaml import read_keys, render_certs, render_keys
from tasks.repository.deployment import check_repository
from tasks.repository.generations import write_generation
from tasks.repository.rotation_yaml import write_rotation
from tasks.repository.vault import encrypt, read_vault
from tests.chains import NOW, Shape, make_chain
from tests.environments import CLIENTS, ISSUED, SERVERS, Environment, certs_of, issued, tree


def _refusal(environment: Environment, name: str = "acc") -> str:
    before = tree(environment.root)
    with pytest.raises(InputError) as caught:
        check_repository(environment.root, name, NOW)
    assert tree(environment.root) == before
    text = str(caught.value)
    assert "\n" not in text
    assert "PRIVATE" not in text
    assert caught.value.exit_code == 2
    assert caught.value.fix
    return text


def _replace_keys(environment: Environment, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    keys = read_keys(read_vault(environment.vault), "vault")
    changed = PrivateKeys(servers=change(dict(keys.servers)), clients=keys.clients)
    environment.vault.write_text(encrypt(render_keys("", changed)))


def test_a_sound_repository_passes_and_nothing_is_written(environment: Environment) -> None:
    """Neither checking nor adopting by reading leaves a trace."""
    before = tree(environment.root)
    check_repository(environment.root, "acc")
    assert tree(environment.root) == before


def test_an_environment_without_certificates_passes(environment: Environment) -> None:
    """Its first ones are still to be made."""
    environment.certs.unlink()
    environment.vault.unlink()
    check_repository(environment.root, "acc")


def test_an_unknown_environment_is_answered_with_the_known_ones(environment: Environment) -> None:
    """The names there are, sorted."""
    (environment.root / "environments" / "prod").mkdir()
    assert "there is no environment 'test' (environments there are: acc, prod)" in _refusal(environment, "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("certs: [", "is not valid YAML at line"), ("nothing", "has no mapping `certs`")],
)
def test_a_certs_yml_that_is_none_is_refused(environment: Environment, text: str, message: str) -> None:
    """Empty, not YAML, another shape."""
    environment.certs.write_text(text)
    assert f"{environment.certs}: {message}" in _refusal(environment)


def test_unreadable_files_are_named(environment: Environment) -> None:
    """A folder in a file's place, bytes that are no text, and, for an ordinary user, a file that is not theirs."""
    content = environment.certs.read_bytes()
    environment.certs.write_bytes(b"\xff\xfe\x00")
    assert f"{environment.certs}: is not UTF-8 text" in _refusal(environment)
    environment.certs.unlink()
    environment.certs.mkdir()
    assert f"{environment.certs}: can't be read: Is a directory" in _refusal(environment)
    environment.certs.rmdir()
    assert f"{environment.certs}: there is no such file" in _refusal(environment)
    environment.certs.write_bytes(content)
    if os.geteuid() != 0:
        environment.vault.chmod(0)
        with pytest.raises(InputError, match="can't be read: Permission denied"):
            check_repository(environment.root, "acc")


def test_a_certificate_without_its_key_is_refused(environment: Environment) -> None:
    """The vault, the entry that it lacks, and why it should be there."""
    _replace_keys(environment, lambda keys: {name: key for name, key in keys.items() if name != "pg2"})
    assert f"{environment.vault}: has no private_keys.server.pg2, and certs.yml has its certificate" in _refusal(
        environment
    )


def test_a_key_that_does_not_fit_its_certificate_is_refused(environment: Environment) -> None:
    """Both places of the pair are named."""
    _replace_keys(environment, lambda keys: {"pg1": keys["pg2"], "pg2": keys["pg2"]})
    assert "private_keys.server.pg1 does not fit certs.server.pg1 in certs.yml" in _refusal(environment)


def test_a_key_that_is_none_is_refused(environment: Environment) -> None:
    """Damaged, or protected by a passphrase that no server could enter."""
    _replace_keys(environment, lambda keys: keys | {"pg1": keys["pg1"].replace("\nM", "\nX", 1)})
    assert "private_keys.server.pg1: is not a private key in PEM" in _refusal(environment)


def test_a_wrong_vault_password_is_refused(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a missing one."""
    wrong = environment.root.parent / "wrong"
    wrong.write_text("wrong\n")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(wrong))
    assert f"{environment.vault}: the vault password is wrong" in _refusal(environment)
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE")
    assert "ANSIBLE_VAULT_PASSWORD_FILE: is not set" in _refusal(environment)


@pytest.mark.parametrize("part", ["root", "server_ca", "client_ca"])
def test_an_expired_ca_is_refused(environment: Environment, part: str) -> None:
    """Root or intermediate, whichever side; named with its date."""
    chain = make_chain(1, SERVERS, CLIENTS, Shape(expired=frozenset({part})))
    environment.certs.write_text(render_certs("", certs_of(chain)))
    environment.vault.write_text(encrypt(render_keys("", chain.keys)))
    assert f"expired on {NOW - timedelta(days=1):%Y-%m-%d}" in _refusal(environment)


def test_the_moment_decides_what_has_expired(environment: Environment) -> None:
    """Today the chain is fine; in a year it is not."""
    check_repository(environment.root, "acc", NOW)
    with pytest.raises(InputError, match="expired on"):
        check_repository(environment.root, "acc", NOW + timedelta(days=365))


def test_an_expired_foreign_ca_is_nobody_s_obstacle(environment: Environment) -> None:
    """It belongs to somebody else, and no login of ours rests on it."""
    foreign = make_chain(9, (), (), Shape(expired=frozenset({"root", "client_ca"}))).generation.client_bundle
    certs: Certs = certs_of(environment.chain)
    certs = replace(certs, client_chain=merge(certs.client_chain, foreign))
    environment.certs.write_text(render_certs("", certs))
    check_repository(environment.root, "acc", NOW)


def test_during_a_rotation_the_next_generation_is_checked_too(environment: Environment) -> None:
    """It will be deployed: a key that it lacks must be found now."""
    write_generation(environment.root, "acc", issued(make_chain(2, SERVERS, CLIENTS)), "digest", keep_ca_keys=False)
    write_rotation(environment.root, "acc", ISSUED)
    check_repository(environment.root, "acc", NOW)
    vault = environment.state / "generation-2" / "certs.vault.yml"
    vault.write_text(encrypt(render_keys("", make_chain(3, SERVERS, CLIENTS).keys)))
    assert f"{vault}: private_keys.server.pg1 does not fit" in _refusal(environment)
    vault.unlink()
    assert f"{vault}: there is no such file" in _refusal(environment)


def test_settings_and_rotation_are_checked(environment: Environment) -> None:
    """A damaged rotation.yml or rechain.yml is refused before any work."""
    (environment.root / "rechain.yml").write_text("bach: 3\n")
    assert "bach: Extra inputs" in _refusal(environment)
    (environment.root / "rechain.yml").unlink()
    write_rotation(environment.root, "acc", ISSUED)
    (environment.state / "rotation.yml").write_text("phase: [\n")
    assert "rotation.yml: is not valid YAML" in _refusal(environment)
