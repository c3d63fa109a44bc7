"""`rechain plan` of downtime and add-clients: what changes, the proof, whom to tell; nothing is written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rechain.phase import Phase
from rechain.rotation import Rotation
from tasks.repository.certs_yaml import render_certs, render_keys
from tasks.repository.rotation_yaml import read_rotation, write_rotation
from tasks.repository.vault import encrypt
from tests.chains import NOW, Shape, make_chain
from tests.environments import CLIENTS, HOSTS, SERVERS, Environment, certs_of, tree

_RECHAIN = Path(sys.executable).with_name("rechain")
_SPEC = """\
subject: {CN: postgres, O: Acme}
key: ecdsa-p256
intermediates:
  - name: server
    servers: {pg1: [192.0.2.1], pg2: [192.0.2.2]}
  - name: client
    clients: [postgres, applicatie]
"""
_MORE = _SPEC.replace("applicatie]", "applicatie, etl, rapportage]")


@pytest.fixture
def ours(environment: Environment) -> Environment:
    """An environment that chainsmith made, with its spec; two clients that the spec may gain, one of them managed."""
    hosts = HOSTS.replace("pgnodes: [postgres]", "pgnodes: [postgres, etl]")
    (environment.folder / "hosts").write_text(hosts)
    (environment.root / "config").mkdir()
    _write(environment, _SPEC)
    return environment


def _write(environment: Environment, spec: str) -> None:
    (environment.root / "config" / "chainsmith_acc.yml").write_text(spec)


def _rechain(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(_RECHAIN), arguments[0], "acc", *arguments[1:], "--repo", str(environment.root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def _plan(environment: Environment, strategy: str) -> dict[str, Any]:
    """The plan as JSON; nothing has changed on disk, and the table can be printed too."""
    before = tree(environment.root)
    done = _rechain(environment, "plan", "--strategy", strategy, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert tree(environment.root) == before
    planned: dict[str, Any] = json.loads(done.stdout)
    assert (planned["schema"], planned["strategy"]) == (1, strategy)
    return planned


def _refused(environment: Environment, strategy: str) -> str:
    before = tree(environment.root)
    done = _rechain(environment, "plan", "--strategy", strategy)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stdout + done.stderr
    assert tree(environment.root) == before
    return done.stderr


def _files(planned: dict[str, Any]) -> set[tuple[str, str]]:
    [step] = planned["steps"]
    return {(change["host"], change["path"]) for change in step["changes"]}


def _everything(*clients: str) -> set[tuple[str, str]]:
    """Every certificate file of both hosts."""
    places = ["/etc/pki/postgres/server.crt", "/etc/pki/postgres/root.crt"]
    places += [f"~{client}/.postgresql/{name}" for client in clients for name in ("postgresql.crt", "root.crt")]
    return {(host, place) for host in SERVERS for place in places}


def test_downtime_replaces_every_file_and_says_who_is_out_meanwhile(ours: Environment) -> None:
    """Proven at its end, where every next leaf meets the next bundle; both kinds of clients are named."""
    planned = _plan(ours, "downtime")
    assert _files(planned) == _everything("postgres")
    [step] = planned["steps"]
    assert all(change["old"] and change["new"] and change["old"] != change["new"] for change in step["changes"])
    assert step["reloads"] == ["pg1: systemctl reload postgresql", "pg2: systemctl reload postgresql"]
    # 2 server leaves before the clients' bundle, 2 client leaves before the servers'
    assert planned["proof"] == {"states": "1", "judgements": 4}
    notes = " ".join(planned["notes"])
    assert "logins fail in between: postgres from the first host until the last one is done" in notes
    assert "logins of applicatie fail from the first host until their owners have installed" in notes
    assert "this is a trial" in notes
    assert [line.split(":")[0] for line in planned["tell"]] == ["applicatie"]
    table = _rechain(ours, "plan", "--strategy", "downtime").stdout
    assert "proof: at phase retired, 1 states, 4 logins: none is refused" in table


def test_downtime_is_planned_with_the_generation_that_is_issued(ours: Environment) -> None:
    """No trial then; and once another strategy has moved it, there is no downtime to plan."""
    assert _rechain(ours, "generate").returncode == 0
    planned = _plan(ours, "downtime")
    assert "this is a trial" not in " ".join(planned["notes"])
    assert planned == _plan(ours, "downtime"), "the same leaves each time"
    issued = read_rotation(ours.root, "acc")
    for path in (ours.certs, ours.vault):
        path.write_bytes((ours.state / "generation-2" / path.name).read_bytes())
    write_rotation(ours.root, "acc", replace(issued, target=Phase.RETIRED))
    assert _plan(ours, "downtime")["steps"] == planned["steps"], "cut short half way: hosts may still hold all of it"
    write_rotation(ours.root, "acc", replace(issued, phase=Phase.OVERLAP))
    assert "can't be replaced in one step" in _refused(ours, "downtime")


def test_downtime_is_planned_from_a_chain_that_has_expired(ours: Environment) -> None:
    """Where minimal impact refuses, and names this way out."""
    expired = Shape(expired=frozenset({"root", "server_ca", "client_ca", "server", "client"}))
    chain = make_chain(1, SERVERS, CLIENTS, expired)
    ours.certs.write_text(render_certs("", certs_of(chain)))
    ours.vault.write_text(encrypt(render_keys("", chain.keys)))
    assert "--strategy downtime" in _refused(ours, "minimal-impact")
    assert _files(_plan(ours, "downtime")) == _everything("postgres")


def test_downtime_is_planned_from_nothing(ours: Environment) -> None:
    """Says what will be made; once it is issued and not rolled out, plans that."""
    ours.certs.unlink()
    ours.vault.unlink()
    for expected in ("this is a trial", None):
        planned = _plan(ours, "downtime")
        assert _files(planned) == _everything("postgres")
        assert {tuple(change["old"]) for change in planned["steps"][0]["changes"]} == {()}
        notes = " ".join(planned["notes"])
        assert "generation 1 is the environment's first" in notes
        assert "2 server and 2 client certificates" in notes
        assert "logins fail in between" not in notes
        assert ("this is a trial" in notes) is (expected is not None)
        assert _rechain(ours, "generate").returncode == 0
    assert "--strategy downtime" in _refused(ours, "minimal-impact")


def test_new_clients_of_an_adopted_environment_bring_a_ca_of_their_own(ours: Environment) -> None:
    """Servers' bundles and the managed client's own files change, and nothing else; no date moves, and which."""
    _write(ours, _MORE)
    planned = _plan(ours, "add-clients")
    bundles = {(host, "/etc/pki/postgres/root.crt") for host in SERVERS}
    own = {(host, f"~etl/.postgresql/{name}") for host in SERVERS for name in ("postgresql.crt", "root.crt")}
    assert _files(planned) == bundles | own
    assert planned["steps"][0]["phase"] == "retired"
    # the 2 clients that are there before both bundles, the 2 new ones before the wider
    assert planned["proof"] == {"states": "4", "judgements": 6}
    assert planned["notes"][0] == "new clients: etl, rapportage"
    notes = " ".join(planned["notes"])
    assert f"it moves no date: {_first_end(ours)}" in notes
    assert "the leaf of rapportage will end on" in notes
    assert [line.split(":")[0] for line in planned["tell"]] == ["rapportage"]


def test_new_clients_under_a_known_intermediate_change_their_own_files_alone(ours: Environment) -> None:
    """During a rotation, too, in which both generations get a leaf and the present one is in use."""
    _roll_out_a_first_generation(ours)
    _write(ours, _MORE)
    planned = _plan(ours, "add-clients")
    assert _files(planned) == {(host, f"~etl/.postgresql/{name}") for host in SERVERS for name in _CLIENT_FILES}
    assert planned["proof"] == {"states": "1", "judgements": 4}
    _write(ours, _SPEC)
    assert _rechain(ours, "generate").returncode == 0
    _write(ours, _MORE)
    assert _files(_plan(ours, "add-clients")) == _files(planned)
    _write(ours, _MORE.replace("pg2: [192.0.2.2]", "pg2: [192.0.2.3]"))
    assert "more than its clients" in _refused(ours, "add-clients")


def test_a_fleet_that_has_all_its_clients_gets_an_empty_plan(ours: Environment) -> None:
    """Nothing to do, nobody to tell; while hosts are between two phases there is no plan at all."""
    planned = _plan(ours, "add-clients")
    assert (planned["steps"], planned["tell"]) == ([], [])
    assert "none, so nothing is to be done" in planned["notes"][0]
    assert _rechain(ours, "generate").returncode == 0
    _rest_at(ours, lambda rotation: replace(rotation, target=Phase.OVERLAP))
    assert "a move to overlap is under way" in _refused(ours, "add-clients")


_CLIENT_FILES = ("postgresql.crt", "root.crt")


def _rest_at(environment: Environment, change: Callable[[Rotation], Rotation]) -> None:
    write_rotation(environment.root, "acc", change(read_rotation(environment.root, "acc")))


def _roll_out_a_first_generation(environment: Environment) -> None:
    """A chain whose CA keys are ours, at rest."""
    environment.certs.unlink()
    environment.vault.unlink()
    assert _rechain(environment, "generate").returncode == 0
    _rest_at(environment, lambda rotation: replace(rotation, phase=Phase.RETIRED, target=None))


def _first_end(environment: Environment) -> str:
    """The certificate that ends first, as the notes have it."""
    generation = environment.chain.generation
    leaves = [chain.leaf for chain in (*generation.servers.values(), *generation.clients.values())]
    authorities = [*generation.server_bundle.certificates, *generation.client_bundle.certificates]
    first = min([*leaves, *authorities], key=lambda one: one.not_after)
    assert first.not_after > NOW
    return f"{first.subject} ends on {first.not_after:%Y-%m-%d}"
