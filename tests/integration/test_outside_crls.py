"""Servers that read revocation lists, and a next generation whose client CA is somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from rechain.errors import InputError
from rechain.issue import Authority
from rechain.phase import Phase, path
from rechain.revocation import sign
from rechain.rotation import beginning
from tasks.import_certificates import import_certificates
from tasks.plan import plan_rotation
from tasks.plan_replacement import plan_downtime
from tasks.renew_crls import renew_crls, require_crls, take_crls
from tasks.repository.revocations import keep_other_crls
from tasks.repository.rotation_yaml import update_rotation, write_rotation
from tasks.request_certificates import Asked, request_certificates
from tasks.state import EnvironmentRef, observe
from tests.environments import AT_REST, Environment
from tests.outside_ca import OutsideCa

_SPEC = """\
key: ecdsa-p256
intermediates:
  - {name: server, servers: {pg1: null, pg2: null}}
  - {name: client, clients: [postgres, applicatie]}
"""
_RECHAIN = str(Path(sys.executable).with_name("rechain"))
_PHASES = (Phase.ISSUED, *path(Phase.ISSUED, Phase.RETIRED))


@pytest.fixture
def authority(tmp_path: Path) -> OutsideCa:
    """A root and the CA below it that issues."""
    return OutsideCa.root(tmp_path / "root").below(tmp_path / "issuing")


@pytest.fixture
def ref(environment: Environment, authority: OutsideCa, tmp_path: Path) -> EnvironmentRef:
    """An environment of which our own generation is at rest and the outside CA's is issued; no server reads lists."""
    config = environment.root / "config" / "chainsmith_acc.yml"
    config.parent.mkdir()
    config.write_text(_SPEC)
    ref = EnvironmentRef(environment.root, environment.name)
    folder = request_certificates.fn(ref, Asked()).folder
    returned = authority.sign_all(sorted(folder.glob("*.csr")), tmp_path / "returned.pem")
    import_certificates.fn(ref, (returned, *authority.chain))
    return ref


def _read_lists(environment: Environment) -> None:
    hosts = environment.folder / "hosts"
    inventory = yaml.safe_load(hosts.read_text())
    for variables in inventory["all"]["children"]["pgnodes"]["hosts"].values():
        variables["rechain_services"] = [{"kind": "postgresql", "crl": "root.crl"}]
    hosts.write_text(yaml.safe_dump(inventory))


def _present_lists(environment: Environment) -> None:
    """The lists of the present CAs, from whoever has their keys."""
    now = datetime.now(UTC)
    pairs = (environment.chain.root, environment.chain.client_ca)
    signers = [Authority(one.x509, one.key) for one in pairs]
    until = now + timedelta(days=90)
    lists = [sign(one, (), number=1, now=now, until=until) for one in signers]
    keep_other_crls(environment.root, environment.name, lists)


def test_each_ca_of_an_imported_client_chain_must_give_its_list_before_anything_moves(
    ref: EnvironmentRef, environment: Environment, authority: OutsideCa
) -> None:
    """What is deployed needs none of them yet; the next phase does, the root's own list too."""
    require_crls(observe(ref), _PHASES)  # where no server reads lists, none is missed
    _read_lists(environment)
    _present_lists(environment)
    with pytest.raises(InputError, match="refresh-crls"):
        plan_downtime(ref)  # nor may everything be replaced at once
    with pytest.raises(InputError, match="refresh-crls"):
        plan_rotation(ref)
    require_crls(observe(ref))
    root = authority.above
    assert root is not None
    for one in (authority, root):
        with pytest.raises(InputError, match="there is no revocation list") as told:
            require_crls(observe(ref), _PHASES)
        assert "CN=Overheid" in told.value.what
        assert "--crl FILE" in told.value.fix
        take_crls(ref, [_as_published(one.revocation_list())])
    require_crls(observe(ref), _PHASES)
    assert plan_downtime(ref).proof.judgements > 0
    assert plan_rotation(ref).proof.judgements > 0
    assert renew_crls.fn(ref) == ()


def _as_published(crl: Path) -> Path:
    """In DER, as the distribution points of most CAs serve it."""
    der = crl.with_suffix(".der")
    subprocess.run(["openssl", "crl", "-in", str(crl), "-outform", "DER", "-out", str(der)], check=True, timeout=30)
    return der


@pytest.mark.parametrize("content", [b"", b"\x30\x03\x02\x01\x05", b"-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_list_is_refused(ref: EnvironmentRef, tmp_path: Path, content: bytes) -> None:
    """Nothing, other DER and a certificate, each with what to give instead."""
    file = tmp_path / "no.crl"
    file.write_bytes(content)
    with pytest.raises(InputError, match="revocation list") as told:
        take_crls(ref, [file])
    assert told.value.where == str(file)


def test_lists_are_taken_while_a_move_is_half_way_and_go_out_with_its_end(
    ref: EnvironmentRef, environment: Environment, authority: OutsideCa, prefect_api: dict[str, str]
) -> None:
    """Else nobody could mend a list that ends meanwhile: the move refuses without it, and it without the move."""
    _read_lists(environment)
    _present_lists(environment)
    update_rotation(ref.root, ref.environment, lambda one: replace(one, target=Phase.OVERLAP))
    root = authority.above
    assert root is not None
    for one in (authority, root):
        file = environment.root / "taken.crl"
        file.write_text(one.revocation_list().read_text())
        done = _refresh_crls(ref, file, prefect_api)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "both take the lists along" in done.stderr
    require_crls(observe(ref), _PHASES)


def test_the_lists_of_a_first_generation_go_out_with_its_roll_out(
    ref: EnvironmentRef, environment: Environment, authority: OutsideCa, prefect_api: dict[str, str]
) -> None:
    """Nothing is deployed yet that could be refreshed: they are kept, and `downtime` may begin."""
    folder = environment.state / "generation-2"
    for kept, place in (("certs.yml", environment.certs), ("certs.vault.yml", environment.vault)):
        place.write_text((folder / kept).read_text())
    write_rotation(ref.root, ref.environment, beginning(AT_REST, 2))
    _read_lists(environment)
    root = authority.above
    assert root is not None
    with pytest.raises(InputError, match="refresh-crls"):
        plan_downtime(ref)
    for one in (authority, root):
        done = _refresh_crls(ref, one.revocation_list(), prefect_api)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "go out with its first roll-out" in done.stderr
    assert plan_downtime(ref).proof.judgements > 0


def _refresh_crls(ref: EnvironmentRef, file: Path, prefect_api: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_RECHAIN, "refresh-crls", ref.environment, "--crl", str(file), "--repo", str(ref.root)],
        env={**os.environ, **prefect_api}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
