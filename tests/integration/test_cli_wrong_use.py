"""Every command refuses wrong use: exit 2 (a scan 3), one line on stderr, none on stdout, nothing changed on disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cyclopts import App

from flows.cli import app, main
from rechain.certificate import merge
from rechain.certs import ForeignCAs, foreign_issuers
from rechain.phase import Phase
from tasks.repository.certs_yaml import render_certs
from tasks.repository.generations import write_generation
from tasks.repository.rotation_yaml import write_rotation
from tests.chains import make_chain
from tests.environments import CLIENTS, ISSUED, SERVERS, Environment, certs_of, issued, tree

_REASON = ("--reason", "because")
CALLS: Mapping[str, tuple[str, ...]] = {
    "approve": ("ENV", "clients", *_REASON),
    "config add-client": ("ENV", "etl"),
    "config add-server": ("ENV", "pg3"),
    "csr": ("ENV",),
    "deliver": ("ENV", "applicatie"),
    "demo": (),
    "drain": ("ENV", "--yes"),
    "generate": ("ENV",),
    "import": ("ENV", "FILE"),
    "lint": ("FILE",),
    "plan": ("ENV",),
    "refresh": ("ENV", "--yes"),
    "refresh-crls": ("ENV",),
    "revoke": ("ENV", "applicatie", "--yes", *_REASON),
    "rollback": ("ENV", "--yes"),
    "scan": ("ENV",),
    "setup-prefect": (),
    "status": ("ENV",),
    "verify": ("ENV",),
}
"""Each command as it is meant to be called; ENV is an environment."""
_RUNS_WITHOUT = {"demo", "refresh-crls", "scan", "setup-prefect"}
_FLOWS = {
    "drain",
    "refresh",
    "revoke",
    "rollback",
}  # they refuse an environment in their flow, as `generate` does without one
WRONG: Mapping[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "approve": (
        (("ENV", "nonsense", *_REASON), "nonsense"),
        (("ENV", "clients"), "--reason"),
        (("ENV", "clients", "--reason", " "), "needs a reason"),
        (("ENV", "clients", *_REASON), "no rotation is under way"),
    ),
    "config add-client": (
        (("ENV",), "got no name"),
        (("ENV", "a/b"), "slash"),
        (("ENV", "a" * 65), "shorten"),
        (("ENV", "chain"), "chain"),
        (("ENV", ".."), "would be taken for"),
        (("ENV", "{{ 7*7 }}"), "would be taken for"),
        (("ENV", "postgres"), "already"),
        (("ENV", "etl", *_REASON), "--merge-request"),
    ),
    "config add-server": (
        (("ENV",), "--name"),
        (("ENV", "999.1.1.1"), "looks like an IPv4 address"),
        (("ENV", "pg3", "300.0.0.1"), "looks like an IPv4 address"),
        (("ENV", "pg3", "fe80::1%eth0"), "has a scope"),
        (("ENV", "pg 3"), "neither a DNS name nor an IP address"),
    ),
    "csr": (
        (("ENV", "--side", "middle"), "middle"),
        (("ENV", "--name", "pg9"), "has no server or client 'pg9'"),
    ),
    "deliver": (
        (("ENV",), "--client"),
        (("ENV", "nobody"), "nobody"),
        (("ENV", "a" * 300), "has no client"),
        (("ENV", "applicatie", "--output", "no/such/folder/x"), "can't be written"),
        (("ENV", "applicatie", "--output", "."), "exists already"),
    ),
    "demo": (
        (("--until", "nonsense"), "nonsense"),
        (("--strategy", "nonsense"), "nonsense"),
        (("--state", "/proc/demo"), "can't be made"),
        (("--strategy", "downtime", "--until", "overlap"), "only minimal-impact goes through phases"),
        (("--control", "--strategy", "add-clients"), "add-clients replaces nothing"),
    ),
    "drain": (
        (("ENV",), "no terminal"),
        (("ENV", "--batch", "0"), "batch"),
        (("ENV", "--pause", "-1"), "pause"),
    ),
    "generate": (
        (("ENV", "more"), "more"),
        (("ENV", "--format", "xml"), "xml"),
        (("../acc",), "../acc"),
        (("",), "''"),
    ),
    "import": ((("ENV",), "got no file"), (("ENV", "FILE"), "no requests wait")),
    "lint": ((("--format", "nonsense"), "nonsense"), ((), "got no file")),
    "plan": ((("ENV", "--strategy", "nonsense"), "nonsense"),),
    "refresh": (
        (("ENV",), "no terminal"),
        (("ENV", "--yes", "--client", "etl"), "add-clients"),
        (("ENV", "--yes", "--strategy", "downtime", "--until", "servers"), "no phases"),
        (("ENV", "--until", "nonsense"), "nonsense"),
    ),
    "refresh-crls": ((("ENV", "--crl", "no/such/file"), "no/such/file"),),
    "revoke": ((("ENV", "applicatie", *_REASON), "no terminal"), (("ENV", "applicatie"), "--reason")),
    "rollback": ((("ENV",), "no terminal"),),
    "scan": (
        (("ENV", "--source", "nonsense"), "nonsense"),
        (("ENV", "--output", "x"), "--format"),
        (("ENV", "--source", "repository", "--format", "json", "--output", "no/such/x"), "can't be written"),
    ),
    "setup-prefect": (((), "PREFECT_API_URL"), (("more",), "more")),
    "status": ((("ENV", "--format", "nagios"), "nagios"),),
    "verify": ((("ENV", "more"), "more"),),
}
"""What is wrong in a way of each command's own, and what the line tells."""


def _commands(of: App, above: str = "") -> Iterator[str]:
    for name in of:
        if not name.startswith("-"):
            inner = of[name]
            below = [each for each in inner if not each.startswith("-")]
            yield from _commands(inner, f"{above}{name} ") if below else [f"{above}{name}"]


def _wrong(command: str) -> Iterator[tuple[tuple[str, ...], str]]:
    call = CALLS[command]
    yield (*call, "--colour"), "--colour"
    if command not in _RUNS_WITHOUT:
        yield (), " "
    if "ENV" in call and command not in _FLOWS:
        yield tuple("prod" if word == "ENV" else word for word in call), "acc"
        yield (*call, "--repo", os.devnull), os.devnull
    yield from WRONG[command]


def test_every_command_has_its_rows() -> None:
    """A new command is refused wrong use of, too."""
    commands = set(_commands(app))
    assert commands == set(CALLS) == set(WRONG)
    assert [name for name, rows in WRONG.items() if not rows] == []


@pytest.mark.parametrize("command", CALLS)
def test_wrong_use_is_one_line(
    environment: Environment, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing and unknown arguments and options, unknown environments, no repository, and what is the command's own."""
    _prepare(environment, monkeypatch)
    before = tree(environment.root.parent)
    for words, told in _wrong(command):
        line = _refused((*command.split(), *_named(words)), monkeypatch, capsys)
        assert told in line, words
        assert tree(environment.root.parent) == before, words


@pytest.mark.parametrize("command", ["deliver", "generate", "plan", "verify"])
def test_a_vault_that_can_not_be_opened_is_one_line(
    environment: Environment, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No password, none where it should be, the wrong one, and a vault that is none; flows ask the same."""
    _prepare(environment, monkeypatch)
    words = (*command.split(), *_named(CALLS[command]))
    password, vault = "ANSIBLE_VAULT_PASSWORD_FILE", environment.vault.read_text()
    right = os.environ[password]
    wrong = environment.root.parent / "wrong"
    wrong.write_text("not the password\n")
    for value, text, told in (
        (None, vault, f"{password}: is not set"),
        (str(wrong.with_name("missing")), vault, "password"),
        (str(wrong), vault, "password"),
        (right, "private_keys: {}\n", "is not encrypted"),
    ):
        monkeypatch.setenv(password, value) if value else monkeypatch.delenv(password)
        environment.vault.write_text(text)
        before = tree(environment.root)
        assert told in _refused(words, monkeypatch, capsys), value
        assert tree(environment.root) == before


def test_an_approval_is_for_a_client_that_there_is(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or a foreign CA, for those who log in under it; a misspelt name would open nothing, and nobody would know."""
    write_generation(environment.root, "acc", issued(make_chain(2, SERVERS, CLIENTS)), "digest", keep_ca_keys=False)
    write_rotation(environment.root, "acc", replace(ISSUED, phase=Phase.OVERLAP))
    foreign = make_chain(7, (), ("app",)).generation.client_bundle
    certs = certs_of(environment.chain)
    trusting = replace(certs, client_chain=merge(certs.client_chain, foreign))
    environment.certs.write_text(render_certs(environment.certs.read_text(), trusting))
    monkeypatch.setenv("RECHAIN_REPO", str(environment.root))
    before = tree(environment.root)
    words = ("approve", "acc", "external-trust", *_REASON, "--client")
    assert "has no client 'nobody'" in _refused((*words, "nobody"), monkeypatch, capsys)
    assert tree(environment.root) == before
    (issuer,) = foreign_issuers(ForeignCAs(client=foreign))
    for name in ("applicatie", str(issuer.common_name)):
        assert _run((*words, name), monkeypatch) == 0


def _prepare(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spec, a passphrase, and the variables that name them."""
    (environment.root / "config").mkdir()
    (environment.root / "config" / "chainsmith_acc.yml").write_text(_SPEC)
    secret = environment.root.parent / "passphrase"
    secret.write_text("correct horse\n")
    monkeypatch.setenv("RECHAIN_DELIVERY_PASSPHRASE_FILE", str(secret))
    monkeypatch.setenv("RECHAIN_REPO", str(environment.root))
    monkeypatch.setenv("PREFECT_HOME", str(environment.root.parent / "prefect"))
    monkeypatch.chdir(environment.root.parent)


def _named(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple({"ENV": "acc", "FILE": "acc.pem"}.get(word, word) for word in words)


def _run(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["rechain", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def _refused(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:  # fmt: skip
    code = _run(words, monkeypatch)
    said = capsys.readouterr()
    assert code == (3 if words[0] == "scan" else 2), (words, said)
    assert said.out == "", words
    assert said.err.count("\n") == 1, (words, said.err)
    return said.err


@pytest.mark.parametrize("path", ["missing.pem", "."], ids=["missing", "folder"])
def test_a_file_that_can_not_be_linted_is_a_finding(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bad file does not hide what is wrong with the others: it stands among the findings, and says what it is."""
    monkeypatch.chdir(tmp_path)
    assert _run(("lint", path), monkeypatch) == 2
    assert ("Is a directory" if path == "." else "no such file") in capsys.readouterr().out


_SPEC = """\
subject: {CN: postgres, O: Acme}
intermediates:
  - name: server
    servers: {pg1: [192.0.2.1], pg2: [192.0.2.2]}
  - name: client
    clients: [postgres, applicatie]
"""
