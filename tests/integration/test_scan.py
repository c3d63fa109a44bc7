"""`rechain scan` on a real fleet: every certificate once, from every source, and the exit code of a plugin."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from lab.environment import ENVIRONMENT
from lab.fleet import Lab
from rechain.certificate import Certificate, read_leaf_chain
from tasks.repository.certs_yaml import read_certs, render_certs
from tasks.repository.layout import certs_paths
from tests.plugins.authority import Authority

_RECHAIN = Path(sys.executable).with_name("rechain")
Scan = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def root(lab_fleet: Lab, tmp_path: Path) -> Path:
    """A copy of the fleet's repository, for a test to change."""
    return Path(shutil.copytree(lab_fleet.repository.root, tmp_path / "repo", symlinks=True))


@pytest.fixture
def scan(lab_fleet: Lab, root: Path) -> Scan:
    """Runs `rechain scan` on the copy, as a monitoring system would."""

    def run(*arguments: str, expect: int) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **lab_fleet.repository.variables, "RECHAIN_REPO": str(root)}
        done = subprocess.run(
            [str(_RECHAIN), "scan", *arguments],
            env=environment, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    return run


def _json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _deployed(root: Path) -> dict[str, Certificate]:
    certs = read_certs(certs_paths(root, ENVIRONMENT)[0])
    chains = (*certs.servers.values(), *certs.clients.values())
    every = [*certs.server_chain.certificates, *certs.client_chain.certificates]
    every += [one for chain in chains for one in (chain.leaf, *chain.intermediates)]
    return {one.fingerprint: one for one in every}


def test_every_certificate_is_one_row_from_all_sources(scan: Scan, root: Path) -> None:
    """In files, on the wire and in bundles: as many rows as there are certificates, each with all who saw it."""
    document = _json(scan(ENVIRONMENT, "--format", "json", expect=0))
    rows = {row["sha256"]: row for row in document["certificates"]}
    assert len(rows) == len(document["certificates"])
    assert rows.keys() == _deployed(root).keys()
    assert document["unreachable"] == []
    for row in rows.values():
        assert "repository" in row["source"]
        assert ("hosts" in row["source"]) is (row["subject"].split(",")[0] != "CN=applicatie")
    servers = [row for row in rows.values() if row["role"] == "server leaf"]
    assert all("wire" in row["source"] for row in servers)
    assert any("sessions" in row["source"] for row in rows.values() if row["role"] == "client leaf")


@pytest.mark.parametrize("source", ["repository", "wire", "hosts", "sessions"])
def test_a_source_alone(scan: Scan, source: str) -> None:
    """What another source would have seen is not told."""
    document = _json(scan(ENVIRONMENT, "--source", source, "--format", "json", expect=0))
    assert all(row["source"] == source for row in document["certificates"])


def test_thresholds_make_warning_and_critical(scan: Scan, root: Path) -> None:
    """The lab's leaves have a year."""
    settings = root / "rechain.yml"
    before = settings.read_text() if settings.exists() else ""
    settings.write_text(before + "\nthresholds: {warning: 400d, critical: 10d}\n")
    assert scan("--format", "nagios", expect=1).stdout.startswith("RECHAIN WARNING - ")
    settings.write_text(before + "\nthresholds: {warning: 400d, critical: 390d}\n")
    line = scan("--format", "nagios", "--source", "repository", expect=2).stdout
    assert line.startswith("RECHAIN CRITICAL - ")
    assert line.count("\n") == 1


def test_what_is_not_seen_is_unknown(scan: Scan, root: Path) -> None:
    """An endpoint that does not answer is named."""
    inventory = root / "environments" / ENVIRONMENT / "hosts"
    text = inventory.read_text()
    port = "port: 5432"
    assert port in text
    inventory.write_text(text.replace(port, "port: 1", 1))
    document = _json(scan("--source", "wire", "--format", "json", expect=3))
    (spot,) = document["unreachable"]
    assert spot["source"] == "wire"
    assert "refused" in spot["problem"]


def test_a_host_that_the_repository_does_not_know_hides_no_other(scan: Scan, root: Path) -> None:
    """It was added to the inventory, and its certificate was not made yet: it is named, and the others are seen."""
    inventory = root / "environments" / ENVIRONMENT / "hosts"
    document = yaml.safe_load(inventory.read_text())
    hosts = document["all"]["children"]["hacluster"]["hosts"]
    hosts["new.demo"] = {**next(iter(hosts.values())), "rechain_server_name": "new.demo"}
    inventory.write_text(yaml.safe_dump(document))
    found = _json(scan("--source", "wire", "--source", "hosts", "--format", "json", expect=3))
    (spot,) = found["unreachable"]
    assert "new.demo" in spot["location"] + spot["problem"]
    assert {source for row in found["certificates"] for source in row["source"].split(",")} >= {"wire", "hosts"}


@pytest.mark.parametrize(
    "arguments",
    [["nonexistent"], ["--source", "nothing"], ["--format", "table", "--output", "/x"], ["--no-such-option"]],
)
def test_wrong_use_is_unknown_and_one_line(scan: Scan, arguments: list[str]) -> None:
    """For a plugin 2 would mean that certificates are in a critical state."""
    done = scan(*arguments, expect=3)
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_files_are_written_whole(scan: Scan, tmp_path: Path) -> None:
    """For node_exporter and for a web server; nothing else is left beside them."""
    folder = tmp_path / "out"
    folder.mkdir()
    scan("--source", "repository", "--format", "prometheus", "--output", str(folder / "rechain.prom"), expect=0)
    scan("--source", "repository", "--format", "html", "--output", str(folder / "index.html"), expect=0)
    assert {path.name for path in folder.iterdir()} == {"rechain.prom", "index.html"}
    assert list(text_string_to_metric_families((folder / "rechain.prom").read_text()))
    assert "<svg" in (folder / "index.html").read_text()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("certs: [", "is not valid YAML"),
        ("certs: {server: {chain: nothing}, client: {chain: 5}}", "holds no PEM certificate"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_a_broken_certs_file_is_a_finding(scan: Scan, root: Path, content: str | bytes, says: str) -> None:
    """Critical, named, and no crash."""
    certs = certs_paths(root, ENVIRONMENT)[0]
    certs.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = scan("--source", "repository", "--format", "json", expect=2)
    assert says in done.stdout


def test_a_truncated_certificate_hides_no_other(scan: Scan, root: Path) -> None:
    """The rest of the file is seen, and which entry is broken is said."""
    certs = certs_paths(root, ENVIRONMENT)[0]
    text = certs.read_text()
    place = text.index("db2.demo")
    cut = text.index("-----END CERTIFICATE-----", place)
    certs.write_text(text[: cut - 200] + text[cut:])
    document = _json(scan("--source", "repository", "--format", "json", expect=2))
    assert next(finding["where"] for finding in document["findings"] if finding["policy"] == "not-readable").endswith(
        "db2.demo"
    )
    assert len(document["certificates"]) >= 10


def test_a_directory_in_place_of_a_file_is_a_finding(scan: Scan, root: Path) -> None:
    """What can't be read is told with its place, for the file of this moment and for that of a generation."""
    for path in (certs_paths(root, ENVIRONMENT)[0], root / "environments" / ENVIRONMENT / "hosts"):
        path.unlink()
        path.mkdir()
    document = _json(scan("--format", "json", expect=2))
    assert any("certs.yml" in finding["where"] for finding in document["findings"])
    assert any("directory" in finding["what"] for finding in document["findings"])
    assert document["unreachable"] != []


def test_a_leaf_of_ten_thousand_names_is_a_row_like_any_other(scan: Scan, root: Path) -> None:
    """And what clients will say of it is found."""
    certs = certs_paths(root, ENVIRONMENT)[0]
    deployed = read_certs(certs)
    names = tuple(f"db{number}.example" for number in range(10_000))
    large = read_leaf_chain(Authority("large").server("db2.demo", more_names=names).chain_pem, "large")
    assert "db2.demo" in deployed.servers
    changed = replace(deployed, servers={**deployed.servers, "db2.demo": large})
    certs.write_text(render_certs(certs.read_text(), changed))
    document = _json(scan("--source", "repository", "--format", "json", expect=2))
    row = next(row for row in document["certificates"] if row["sha256"] == large.leaf.fingerprint)
    assert "too-large" in json.dumps(row)
