"""Chain specs read from a repository, with inventories read by Ansible's own program, and linted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from rechain.errors import InputError, RepositoryError, SpecError
from rechain.policy import Severity
from tasks.lint import lint_files
from tasks.repository.spec_file import read_spec
from tests.specs import PGVILLAGE, small

INVENTORY = """
all:
  children:
    hacluster:
      hosts:
        db1.example.com: {ansible_host: 10.0.0.1}
        db2.example.com: {ansible_host: "{{ lookup('env', 'NOWHERE') }}"}
    stolon:
      children:
        primaries:
          hosts: {db1.example.com: null, short: {rechain_server_name: db3.example.com, ansible_host: 10.0.0.3}}
"""
SERVERS = {"db1.example.com": ("10.0.0.1",), "db3.example.com": ("10.0.0.3",), "db2.example.com": ()}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with an environment whose vault nobody can open, and pgvillage's shared spec."""
    variables = tmp_path / "environments/poc/group_vars/all"
    variables.mkdir(parents=True)
    (variables / "certs.vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n3333\n")
    (tmp_path / "environments/poc/hosts").write_text(INVENTORY)
    write(tmp_path, "chainsmith.yml", small({"servers": {}}))
    return tmp_path


def write(repository: Path, name: str, document: object) -> Path:
    """Write a spec."""
    path = repository / "config" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return path


def test_the_shared_spec_is_about_the_environments_inventory(repository: Path) -> None:
    """Hosts of all groups once, by their server names, with known addresses; no vault password is asked for."""
    assert read_spec(repository, "poc").servers == SERVERS


def test_an_environments_own_spec_goes_first(repository: Path) -> None:
    """config/chainsmith_ENV.yml, else config/chainsmith.yml."""
    write(repository, "chainsmith_poc.yml", PGVILLAGE)
    assert list(read_spec(repository, "poc").servers) == ["db-1.local", "db-2.local"]


def test_hosts_is_relative_to_the_repository(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any working directory; the inventory may be in INI, or a folder of both."""
    folder = repository / "inventories"
    folder.mkdir()
    (folder / "more.ini").write_text("[db]\ndb4.example.com ansible_host=10.0.0.4\n")
    (folder / "hosts.yml").write_text(INVENTORY)
    write(repository, "chainsmith_poc.yml", small({"servers": {"db1.example.com": None}, "hosts": "inventories"}))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    expected = SERVERS | {"db1.example.com": (), "db4.example.com": ("10.0.0.4",)}
    assert read_spec(repository, "poc").servers == expected


def test_norway_is_a_country(repository: Path) -> None:
    """YAML 1.2, as the Go version reads it: `C: NO` is no boolean."""
    write(repository, "chainsmith_poc.yml", "subject: {C: NO}\n" + yaml.safe_dump(small()))
    assert read_spec(repository, "poc").subject.named("x").rfc4514_string() == "CN=x,C=NO"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("subject: [", "can't be read as YAML: line "),
        ("a: 1\na: 2\n", 'line 2: found duplicate key "a"'),
        ("\x00", "can't be read as YAML"),
        ("a: !!python/name:os.system x", "could not determine a constructor"),
        ("just text", "expected a mapping, found text"),
        (yaml.safe_dump(small(hosts="environments/nowhere")), "there is no inventory"),
        (yaml.safe_dump(small(hosts="broken.yml")), "Ansible can't read"),
        (yaml.safe_dump(small(hosts="empty.ini")), "holds no hosts"),
        (yaml.safe_dump(small(client={"extendedKeyUsages": ["serverAuth"]})), "clientAuth is missing"),
    ],
)
def test_a_spec_that_cannot_be_read_is_one_line(repository: Path, text: str, message: str) -> None:
    """It names the file; exit code 2; nothing is written."""
    (repository / "broken.yml").write_text("all: [\n")
    (repository / "empty.ini").write_text("[db]\n")
    path = write(repository, "chainsmith_poc.yml", text)
    before = sorted(repository.rglob("*"))
    with pytest.raises(InputError) as refusal:
        read_spec(repository, "poc")
    assert message in str(refusal.value)
    assert str(refusal.value).startswith(f"{path}: ")
    assert len(str(refusal.value).splitlines()) == 1
    assert refusal.value.exit_code == 2
    assert sorted(repository.rglob("*")) == before


def test_an_unknown_environment_or_a_missing_spec_is_one_line(repository: Path) -> None:
    """The line names the environments there are, or the file that is missing."""
    with pytest.raises(RepositoryError, match=r"no environment 'prod' \(environments there are: poc\)"):
        read_spec(repository, "prod")
    (repository / "config/chainsmith.yml").unlink()
    with pytest.raises(SpecError, match=r"config/chainsmith_poc\.yml: there is no chain spec"):
        read_spec(repository, "poc")


def test_lint_judges_specs_certificates_and_certs_yml(repository: Path) -> None:
    """Each file by what it holds; a bad one does not hide the others."""
    bad = write(repository, "chainsmith_poc.yml", small(client={"extendedKeyUsages": ["serverAuth"], "keyUsages": []}))
    runbook = write(repository, "runbook.yml", small(client={"extendedKeyUsages": ["serverAuth"]}))
    pem = repository / "broken.pem"
    pem.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    certs = write(repository, "certs.yml", {"certs": {"client": {"postgres": "no PEM", "count": 3}, "other": 1}})
    shared = repository / "config/chainsmith.yml"
    missing = repository / "missing"
    found = lint_files([bad, runbook, pem, certs, shared, missing])
    assert [(finding.where, finding.policy) for finding in found] == [
        (str(bad), "readable"),
        (str(runbook), "spec-tls-usages"),
        (str(pem), "readable"),
        (f"{certs}: certs.client.postgres", "readable"),
        (str(missing), "readable"),
    ]
    assert {finding.severity for finding in found} == {Severity.ERROR}


def test_lint_reads_a_spec_of_an_environments_inventory(repository: Path) -> None:
    """The same inventory as `generate` reads, with no need to say where the repository is."""
    path = write(repository, "chainsmith_poc.yml", small({"servers": None}, {"clients": None}))
    assert lint_files([path], now=datetime(2030, 1, 1, tzinfo=UTC)) == ()
    (repository / "environments/poc/hosts").unlink()
    [finding] = lint_files([path])
    assert "names no server and no client" in finding.what
