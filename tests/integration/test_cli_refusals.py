"""Must-show row 11 at the command line: exit 2, one line that says where, what and the fix, nothing changed on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rechain.generation import PrivateKeys
from tasks.repository.certs_yaml import read_keys, render_certs, render_keys
from tasks.repository.vault import encrypt, read_vault
from tests.chains import Shape, make_chain
from tests.environments import CLIENTS, SERVERS, Environment, certs_of, tree

_RECHAIN = Path(sys.executable).with_name("rechain")
_SPEC = """\
subject: {CN: postgres, O: Acme}
intermediates:
  - name: server
    servers: {pg1: [192.0.2.1], pg2: [192.0.2.2]}
  - name: client
    clients: [postgres]
    extendedKeyUsages: [serverAuth]
"""


def _run(environment: Environment, *arguments: str) -> str:
    """Run a command that must be refused; its one line."""
    before = tree(environment.root)
    done = subprocess.run(
        [str(_RECHAIN), *arguments, "--repo", str(environment.root)],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "CRITICAL"},
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "PRIVATE KEY" not in done.stderr
    assert done.stderr.rstrip().endswith(")"), "the fix stands in brackets at the end"
    assert tree(environment.root) == before
    return done.stderr


def _unreadable(environment: Environment) -> None:
    environment.certs.unlink()
    environment.certs.mkdir()


def _empty(environment: Environment) -> None:
    environment.certs.write_text("")


def _not_yaml(environment: Environment) -> None:
    environment.certs.write_text("certs: [unclosed\n  - : {")


def _key_missing(environment: Environment) -> None:
    keys = read_keys(read_vault(environment.vault), "vault")
    kept = dict(list(keys.servers.items())[1:])
    text = render_keys("", PrivateKeys(servers=kept, clients=keys.clients))
    environment.vault.write_text(encrypt(text))


def _key_of_another(environment: Environment) -> None:
    keys = read_keys(read_vault(environment.vault), "vault")
    names = list(keys.servers)
    swapped = {names[0]: keys.servers[names[1]], names[1]: keys.servers[names[0]]}
    environment.vault.write_text(encrypt(render_keys("", PrivateKeys(servers=swapped, clients=keys.clients))))


def _wrong_password(environment: Environment) -> None:
    Path(os.environ["ANSIBLE_VAULT_PASSWORD_FILE"]).write_text("not the password\n")


def _no_password(environment: Environment) -> None:
    Path(os.environ["ANSIBLE_VAULT_PASSWORD_FILE"]).unlink()


def _plain_vault(environment: Environment) -> None:
    environment.vault.write_text("private_keys: {}\n")


def _spec_with(environment: Environment, old: str, new: str) -> None:
    _good_spec(environment)
    path = environment.root / "config" / f"chainsmith_{environment.name}.yml"
    path.write_text(path.read_text().replace(old, new))


def _malformed_spec(environment: Environment) -> None:
    _spec_with(environment, "subject: {", "subject: [")


def _unreadable_spec(environment: Environment) -> None:
    (environment.root / "config" / f"chainsmith_{environment.name}.yml").mkdir(parents=True)


def _no_address_spec(environment: Environment) -> None:
    _spec_with(environment, "192.0.2.2", "999.1.1.1")


def _server_is_no_address_spec(environment: Environment) -> None:
    _spec_with(environment, "pg2:", "999.1.1.1:")


def _long_name_spec(environment: Environment) -> None:
    _spec_with(environment, "[postgres]", f"[postgres, {'a' * 65}]")


def _expired_ca(environment: Environment) -> None:
    chain = make_chain(1, SERVERS, CLIENTS, Shape(expired=frozenset({"root", "server_ca", "client_ca"})))
    environment.certs.write_text(render_certs("", certs_of(chain)))


def _unclear_spec(environment: Environment) -> None:
    (environment.root / "config").mkdir(exist_ok=True)
    (environment.root / "config" / f"chainsmith_{environment.name}.yml").write_text(_SPEC)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_unreadable, "certs.yml"),
        (_empty, "certs.yml"),
        (_not_yaml, "certs.yml"),
        (_key_missing, "certs.vault.yml"),
        (_key_of_another, "key"),
        (_wrong_password, "password"),
        (_no_password, "password"),
        (_plain_vault, "is not encrypted"),
        (_expired_ca, "expired"),
        (_unclear_spec, "clientAuth"),
        (_malformed_spec, "can't be read as YAML"),
        (_unreadable_spec, "directory"),
        (_no_address_spec, "'999.1.1.1' looks like an IPv4 address"),
        (_server_is_no_address_spec, "'999.1.1.1' looks like an IPv4 address"),
        (_long_name_spec, "shorten it"),
    ],
    ids=lambda value: getattr(value, "__name__", value).lstrip("_"),
)
def test_bad_input_is_refused_in_one_line(
    environment: Environment, damage: Callable[[Environment], None], told: str
) -> None:
    """Whatever is wrong with the repository, `generate` and `plan` say where, what and the fix, and change nothing."""
    if not damage.__name__.endswith("_spec"):
        _good_spec(environment)
    damage(environment)
    for command in ("generate", "plan"):
        assert told in _run(environment, command, environment.name)


def test_an_inventory_that_can_not_be_read_is_found_before_a_chain_is_issued(environment: Environment) -> None:
    """The chain would be there, and no host to bring it to."""
    _good_spec(environment)
    inventory = environment.root / "environments" / environment.name / "hosts"
    inventory.write_text("[postgres\n", "ascii")
    assert "hosts" in _run(environment, "generate", environment.name)


@pytest.mark.parametrize("lost", ["certs.yml", "certs.vault.yml"])
def test_a_next_generation_that_is_not_whole_is_not_planned_with(environment: Environment, lost: str) -> None:
    """A proof about a chain made up for the plan would say nothing about the one that was issued."""
    _good_spec(environment)
    command = [str(_RECHAIN), "generate", environment.name, "--repo", str(environment.root)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    (environment.root / "rechain" / environment.name / "generation-2" / lost).unlink()
    assert "generation-2" in _run(environment, "plan", environment.name)


def test_an_unknown_environment_is_answered_with_the_known_ones(environment: Environment) -> None:
    """The line names the environments that there are."""
    assert environment.name in _run(environment, "status", "prod")


def test_refresh_refuses_as_generate_does(
    environment: Environment, prefect_api: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flow's refusal is the same one line, without Prefect's traceback."""
    for name, value in prefect_api.items():
        monkeypatch.setenv(name, value)
    _good_spec(environment)
    _key_of_another(environment)
    assert "key" in _run(environment, "refresh", environment.name, "--yes")


@pytest.mark.parametrize("command", [("refresh",), ("rollback",), ("revoke", "postgres", "--reason", "x")])
def test_flows_answer_an_unknown_environment_with_the_known_ones(
    environment: Environment,
    prefect_api: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    """As every other command does."""
    for name, value in prefect_api.items():
        monkeypatch.setenv(name, value)
    name, *more = command
    assert f"environments there are: {environment.name}" in _run(environment, name, "prod", *more, "--yes")


def test_a_repository_that_can_not_be_written_to_is_refused(environment: Environment) -> None:
    """Rights are no obstacle to root, so something else is in the place of the folder."""
    _good_spec(environment)
    (environment.root / "rechain").write_text("")
    assert "can't be written" in _run(environment, "generate", environment.name)


def _good_spec(environment: Environment) -> None:
    (environment.root / "config").mkdir(exist_ok=True)
    spec = _SPEC.replace("    extendedKeyUsages: [serverAuth]\n", "")
    (environment.root / "config" / f"chainsmith_{environment.name}.yml").write_text(spec)
