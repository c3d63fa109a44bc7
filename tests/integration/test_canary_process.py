"""A canary that can't see an outage is a defect, and so is one that outlives its run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.access import clients_on
from lab.chain import make_foreign_client
from lab.fleet import Lab
from rechain.canary import attempted_since, failures_since, summary
from rechain.errors import VerificationFailed
from rechain.fleet import Fleet, Host, ManagedClient, Service, ServiceKind
from rechain.login import ClientFiles, Verdict
from tasks.fleet.canary import Canary, read_attempts, read_segments, start_canary
from tasks.fleet.connection import Access, Unreadable
from tasks.fleet.credentials import Credential, key_directory, present
from tasks.fleet.sessions import sessions
from tasks.fleet.watch import Watch
from tasks.repository.settings import Settings
from tests.plugins.authority import Authority

_DEADLINE_S = 20.0
_SETTINGS = Settings()
_NOBODY = Fleet("demo", (), ())


def _fleet(lab: Lab) -> Fleet:
    """The lab as an inventory would describe it."""
    return Fleet("demo", tuple(_host(lab, position) for position in range(len(lab.hosts))), ("applicatie",))


def _host(lab: Lab, position: int) -> Host:
    host = lab.hosts[position]
    own = lab.account.name
    clients = tuple(
        ManagedClient(name, str(host.client_directory(name)), own, "postgresql.crt", "postgresql.key", "root.crt", None)
        for name in clients_on(host.name)
    )
    server = host.server
    service = Service(
        ServiceKind.POSTGRESQL, server.address, server.port, "/none", own, "c", "k", "r", "true", "true", None
    )
    return Host(host.name, server.address, host.name, True, (service,), clients)


def _watch(client: str, files: ClientFiles, lab: Lab, owner: str | None = None) -> Watch:
    return Watch(client, "", lab.endpoints[0], files, owner)


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def _attempted(directory: Path) -> int:
    return len(list(read_attempts(directory)))


def test_every_managed_client_is_watched_everywhere(lab_fleet: Lab, tmp_path: Path) -> None:
    """Each client with each host's files on each endpoint, evenly, and none fails; who has no role is told."""
    with start_canary(_fleet(lab_fleet), _SETTINGS, tmp_path):
        _eventually(lambda: _attempted(tmp_path) > 48)
    seen = summary(read_segments(tmp_path))
    tried = {(attempt.client, attempt.host, attempt.endpoint) for attempt in read_attempts(tmp_path)}
    assert len(tried) == 4 * 3 * 3
    assert (seen.failed, seen.intervals) == (0, ())
    assert 0 < seen.longest_gap_ms < 3000
    assert {str(each).split(":", 1)[0] for each in seen.unwatched} == {
        f"minio of db3.demo on {endpoint.server_name}" for endpoint in lab_fleet.endpoints
    }
    assert all('role "minio" does not exist' in each.reason for each in seen.unwatched)


def test_a_line_holds_public_data_alone(lab_fleet: Lab, tmp_path: Path) -> None:
    """The recording is JSON lines with the fields that the report is made of."""
    with start_canary(_fleet(lab_fleet), _SETTINGS, tmp_path) as canary:
        _eventually(lambda: _attempted(tmp_path) > 5)
    (recording,) = tmp_path.iterdir()
    assert recording == canary.recording
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    attempt = next(line for line in lines if "event" not in line)
    assert set(attempt) == {"t_ms", "client", "host", "endpoint", "verdict", "error", "ms"}
    assert lines[-1]["event"] == "stopped"


def test_the_pace_is_limited_for_the_fleet_s_sake(lab_fleet: Lab, tmp_path: Path) -> None:
    """However short the interval, there are no more than 25 logins a second; a longer one is kept."""
    fast = Settings.model_validate({"canary": {"interval_ms": 1}})
    with start_canary(_fleet(lab_fleet), fast, tmp_path / "fast"):
        time.sleep(2)
    assert 20 <= _attempted(tmp_path / "fast") <= 60
    slow = Settings.model_validate({"canary": {"interval_ms": 1000}})
    with start_canary(_fleet(lab_fleet), slow, tmp_path / "slow"):
        time.sleep(2)
    assert 4 <= _attempted(tmp_path / "slow") <= 13


def test_an_outage_of_one_client_is_seen(new_lab: Callable[..., Lab], tmp_path: Path) -> None:
    """A bundle that no longer trusts the servers fails this client's logins from that host, and blames TLS."""
    lab = new_lab()
    bundle = lab.hosts[1].client_directory("pgfga") / "root.crt"
    with start_canary(_fleet(lab), _SETTINGS, tmp_path):
        _eventually(lambda: _attempted(tmp_path) > 20)
        broken_at = datetime.now(UTC)
        good = bundle.read_text()
        bundle.write_text(make_foreign_client("Elders BV", "nobody").ca)
        _eventually(lambda: summary(read_segments(tmp_path)).failed >= 2)
        bundle.write_text(good)
        healed_at = datetime.now(UTC)
        _eventually(lambda: attempted_since(read_segments(tmp_path), healed_at) > 20)
    segments = read_segments(tmp_path)
    failures = summary(segments).failures
    assert {(failure.client, failure.host) for failure in failures} == {("pgfga", "db2.demo")}
    assert all("certificate verify failed" in str(failure.error) for failure in failures)
    assert failures_since(segments, broken_at) == failures
    assert failures_since(segments, healed_at) == ()


def test_a_one_step_replacement_is_seen_by_all(new_lab: Callable[..., Lab], tmp_path: Path) -> None:
    """When servers stop trusting the clients' CA, every client fails on every endpoint."""
    lab = new_lab()
    with start_canary(_fleet(lab), _SETTINGS, tmp_path):
        _eventually(lambda: _attempted(tmp_path) > 20)
        for host in lab.hosts:
            host.write_client_bundle(Authority("next").client_bundle)
            host.server.reload()
        replaced_at = datetime.now(UTC)
        _eventually(lambda: len(failures_since(read_segments(tmp_path), replaced_at)) > 40)
    failures = failures_since(read_segments(tmp_path), replaced_at)
    assert {failure.client for failure in failures} == {"postgres", "avchecker", "pgquartz", "pgfga"}
    assert all("does not trust the CA of the client certificate" in str(failure.error) for failure in failures)
    assert summary(read_segments(tmp_path)).longest_gap_ms > 1000


def test_a_restart_is_counted_and_not_blamed_on_certificates(new_lab: Callable[..., Lab], tmp_path: Path) -> None:
    """A server that is away fails logins, which the report shows; the gate judges only what TLS refused."""
    lab = new_lab()
    with start_canary(_fleet(lab), _SETTINGS, tmp_path):
        started = datetime.now(UTC)
        lab.standbys[0].server.stop()
        _eventually(lambda: summary(read_segments(tmp_path)).failed >= 2)
        lab.standbys[0].server.start()
    failures = summary(read_segments(tmp_path)).failures
    assert {(failure.endpoint.split(":")[0], failure.verdict) for failure in failures} == {
        ("db2.demo", Verdict.UNREACHABLE)
    }
    assert failures_since(read_segments(tmp_path), started) == ()


def test_material_of_our_own_moves_while_it_is_watched(lab_fleet: Lab, tmp_path: Path) -> None:
    """An external client whose key is ours is watched from memory, and no login sees half of a change."""
    directory = Path(lab_fleet.owner.identity.directory)
    chain, key, ca = ((directory / name).read_text() for name in ("postgresql.crt", "postgresql.key", "root.crt"))
    with key_directory() as keys:
        files = present(keys, Credential("applicatie", 1, chain, key, ca))
        watch = Watch("applicatie", "", lab_fleet.endpoints[0], files, pinned=True)
        with start_canary(_NOBODY, _SETTINGS, tmp_path, [watch]):
            for number in range(2, 40):
                present(keys, Credential("applicatie", number, chain, key, ca))
                time.sleep(0.03)
            _eventually(lambda: _attempted(tmp_path) > 10)
    seen = summary(read_segments(tmp_path))
    assert seen.failed == 0
    assert {attempt.client for attempt in read_attempts(tmp_path)} == {"applicatie"}


def test_material_of_our_own_is_read_as_one_set(lab_fleet: Lab) -> None:
    """The link is followed once for all three files: a login that began before a change ends with what it began."""
    with key_directory() as keys:
        files = present(keys, Credential("applicatie", 1, "chain 1", "key 1", "bundle 1"))
        started = Watch("applicatie", "", lab_fleet.endpoints[0], files, pinned=True).paths()
        present(keys, Credential("applicatie", 2, "chain 2", "key 2", "bundle 2"))
        texts = [Path(path).read_text() for path in (started.cert, started.key, started.ca)]
    assert texts == ["chain 1", "key 1", "bundle 1"]


def test_its_sessions_are_known_as_rechains(lab_fleet: Lab, tmp_path: Path) -> None:
    """The canary's own logins must never be taken for evidence that a client has moved."""
    directory = lab_fleet.primary.client_directory("postgres")
    files = ClientFiles(*(str(directory / name) for name in ("postgresql.crt", "postgresql.key", "root.crt")))
    with start_canary(_fleet(lab_fleet), _SETTINGS, tmp_path):
        for _ in range(20):
            found = sessions(lab_fleet.endpoints[0], Access("postgres", files))
            assert not isinstance(found, Unreadable)
            assert {each.user for each in found} <= {"postgres"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the owner")
def test_files_are_read_as_their_owner(lab_fleet: Lab, tmp_path: Path) -> None:
    """As root it is the owner's permissions that count: a directory closed to the owner is an outage of the client."""
    source = lab_fleet.primary.client_directory("pgfga")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in ("postgresql.crt", "postgresql.key", "root.crt"):
        (closed / name).write_text((source / name).read_text())
        (closed / name).chmod(0o600)
    files = ClientFiles(*(str(closed / name) for name in ("postgresql.crt", "postgresql.key", "root.crt")))
    as_owner = _watch("pgfga", files, lab_fleet, lab_fleet.account.name)
    as_root = _watch("pgfga", files, lab_fleet, "root")
    with start_canary(_NOBODY, _SETTINGS, tmp_path / "canary", [as_owner, as_root]):
        _eventually(lambda: _attempted(tmp_path / "canary") > 5)
    (segment,) = read_segments(tmp_path / "canary")
    assert [each.reason for each in segment.unwatched] == [f"refused: sslcert {files.cert}: Permission denied"]
    assert summary([segment]).failed == 0


_RUN = """
    import os, sys, time
    from pathlib import Path
    from rechain.fleet import Endpoint, Fleet
    from rechain.login import ClientFiles
    from tasks.fleet.canary import start_canary
    from tasks.fleet.watch import Watch
    from tasks.repository.settings import Settings
    directory, files, host, address, port = Path(sys.argv[1]), sys.argv[2:5], *sys.argv[5:8]
    watch = Watch("pgfga", "", Endpoint(host, host, address, int(port)), ClientFiles(*files))
    canary = start_canary(Fleet("demo", (), ()), Settings(), directory, [watch])
    bystander = os.fork()
    if bystander:
        print(canary._process.pid, bystander, flush=True)
    time.sleep(60)
"""


def _run(lab: Lab, directory: Path, cwd: Path) -> subprocess.Popen[str]:
    """A run of its own that has started a canary; its output tells the pids of the canary and of a bystander."""
    files = [lab.primary.client_directory("pgfga") / name for name in ("postgresql.crt", "postgresql.key", "root.crt")]
    endpoint = lab.endpoints[0]
    places = [str(directory), *map(str, files), endpoint.server_name, endpoint.address, str(endpoint.port)]
    return subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(_RUN), *places], stdout=subprocess.PIPE, text=True, cwd=cwd
    )


def test_it_ends_with_its_run_and_a_new_run_adds_to_it(lab_fleet: Lab, tmp_path: Path) -> None:
    """SIGKILL ends the run and, soon, its canary; the time until the next one is listed as unwatched.

    The run stands in an Ansible repository, whose directory `tasks` is not taken for ours; and a process that the
    run forked lives on, with the run's end of the canary's pipe.
    """
    recordings, repository = tmp_path / "recordings", tmp_path / "repository"
    (repository / "tasks").mkdir(parents=True)
    for _ in range(2):
        with _run(lab_fleet, recordings, repository) as run:
            assert run.stdout
            canary, bystander = map(int, run.stdout.readline().split())
            before = _attempted(recordings)
            _eventually(lambda before=before: _attempted(recordings) > before + 3)  # type: ignore[misc]
            run.send_signal(signal.SIGKILL)
        try:
            _eventually(lambda canary=canary: not _runs(canary))  # type: ignore[misc]
        finally:
            os.kill(bystander, signal.SIGKILL)
    first, second = read_segments(recordings)
    seen = summary([first, second])
    (gap,) = seen.intervals
    assert (gap.started, gap.ended) == (first.ended, second.started)
    assert seen.attempted == len(first.attempts) + len(second.attempts)
    assert seen.failed == 0


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_canary_that_died_is_found_out(lab_fleet: Lab, tmp_path: Path) -> None:
    """Silence is no success: whoever asks learns that nobody watched."""
    with start_canary(_fleet(lab_fleet), _SETTINGS, tmp_path) as canary:
        canary.check()
        (watcher,) = _children(canary._process.pid)
        os.kill(watcher, signal.SIGKILL)
        _eventually(lambda: _is_silent(canary))
    assert not _runs(watcher)


def _is_silent(canary: Canary) -> bool:
    try:
        canary.check()
    except VerificationFailed as error:
        return "nobody watches the logins" in str(error)
    return False


def test_a_canary_that_does_not_start_is_found_out_at_once(
    lab_fleet: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that can't run never passes for a canary that sees nothing wrong; its last words are told."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such interpreter >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(VerificationFailed, match="did not start, so nobody watches the logins: no such interpreter"):
        start_canary(_fleet(lab_fleet), _SETTINGS, tmp_path / "canary")
