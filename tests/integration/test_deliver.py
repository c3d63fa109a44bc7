"""Deliveries: one encrypted archive, with which the owner of an external client logs in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest

from lab.environment import ENVIRONMENT, EXTERNAL
from lab.fleet import Lab
from tests.plugins.delivered import unpack

PASSPHRASE = "correct horse battery staple"
_RECHAIN = Path(sys.executable).with_name("rechain")


@pytest.fixture
def variables(lab_fleet: Lab, tmp_path: Path) -> Mapping[str, str]:
    """The environment of a DBA who has chosen a passphrase."""
    chosen = tmp_path / "passphrase"
    chosen.write_text(f"{PASSPHRASE}\n")
    return {**os.environ, **lab_fleet.repository.variables, "RECHAIN_DELIVERY_PASSPHRASE_FILE": str(chosen)}


def _deliver(
    variables: Mapping[str, str], *arguments: str, cwd: Path, expect: int = 0
) -> subprocess.CompletedProcess[str]:
    command = [str(_RECHAIN), "deliver", *arguments]
    done = subprocess.run(command, env=variables, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def test_the_owner_logs_in_with_what_was_delivered(
    lab_fleet: Lab, variables: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the service entry of the README; key and PKCS#12 file are what OpenSSL reads, and the key fits."""
    told = _deliver(variables, ENVIRONMENT, EXTERNAL, cwd=tmp_path)
    archive = tmp_path / f"{ENVIRONMENT}-{EXTERNAL}.tar.gz.gpg"
    assert archive.stat().st_mode & 0o777 == 0o600
    assert PASSPHRASE not in told.stdout + told.stderr
    delivered = unpack(archive, EXTERNAL, PASSPHRASE, tmp_path / "owner")
    files, readme = delivered.directory, delivered.readme
    assert (files / f"{EXTERNAL}.key").stat().st_mode & 0o777 == 0o600
    addresses = ",".join(endpoint.address for endpoint in lab_fleet.endpoints)  # what the owner has DNS for
    (files / "service.conf").write_text(f"{delivered.entry('postgresql')}\nhostaddr={addresses}\n")
    monkeypatch.chdir(files)
    monkeypatch.setenv("PGSERVICEFILE", str(files / "service.conf"))
    with psycopg.connect(f"service={EXTERNAL}-postgresql") as session:
        row = session.execute("select current_user, pg_is_in_recovery()").fetchone()
    assert row == (EXTERNAL, False)
    assert f"jdbc:postgresql://{lab_fleet.hosts[0].name}:" in readme
    assert f"sslkey={EXTERNAL}.pk8" in readme

    pem = _openssl("pkey", "-in", f"{EXTERNAL}.key", "-pubout")
    assert _openssl("pkey", "-inform", "DER", "-in", f"{EXTERNAL}.pk8", "-pubout") == pem
    assert _openssl("x509", "-in", f"{EXTERNAL}.crt", "-noout", "-pubkey") == pem
    sealed = _openssl("pkcs12", "-in", f"{EXTERNAL}.p12", "-passin", f"pass:{PASSPHRASE}", "-nokeys")
    assert sealed.count("BEGIN CERTIFICATE") == 2


def _openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=30, check=True).stdout


@pytest.mark.parametrize(
    ("arguments", "changed", "says"),
    [
        (("nowhere", EXTERNAL), {}, "there is no environment 'nowhere'"),
        ((ENVIRONMENT, "nobody"), {}, "has no client 'nobody'"),
        ((ENVIRONMENT, EXTERNAL), {"RECHAIN_DELIVERY_PASSPHRASE_FILE": ""}, "is not set"),
        ((ENVIRONMENT, EXTERNAL), {"RECHAIN_DELIVERY_PASSPHRASE_FILE": "/dev/null"}, "is not a file"),
        ((ENVIRONMENT, EXTERNAL, "--output", "passphrase"), {}, "exists already"),
        ((ENVIRONMENT, EXTERNAL, "--output", "no/such/folder/x.gpg"), {}, "can't be written"),
    ],
)
def test_what_can_not_be_delivered_is_one_line_and_leaves_nothing(
    variables: Mapping[str, str], tmp_path: Path, arguments: tuple[str, ...], changed: Mapping[str, str], says: str
) -> None:
    """Exit 2, and no archive nor half of one."""
    before = sorted(tmp_path.rglob("*"))
    done = _deliver({**variables, **changed}, *arguments, cwd=tmp_path, expect=2)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"\x7fELFgarbage", 0o700, "can't be run"),
        (b"#!/bin/sh\nprintf '\\377\\376\\n'\n", 0o700, "gives no UTF-8 text"),
        (b"x" * 2000, 0o600, "gives more than 1024 bytes"),
        (b"#!/bin/sh\nexit 1\n", 0o700, "gives no passphrase"),
    ],
)
def test_a_passphrase_that_can_not_be_had_is_one_line(
    variables: Mapping[str, str], tmp_path: Path, content: bytes, mode: int, says: str
) -> None:
    """Exit 2; nothing of it is told."""
    file = tmp_path / "odd"
    file.write_bytes(content)
    file.chmod(mode)
    done = _deliver(
        {**variables, "RECHAIN_DELIVERY_PASSPHRASE_FILE": str(file)}, ENVIRONMENT, EXTERNAL, cwd=tmp_path, expect=2
    )
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
