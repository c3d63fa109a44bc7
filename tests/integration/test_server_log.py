"""Certificate trouble in a server's log, since a mark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from lab.installation import PostgresqlNotFound, find_postgresql
from rechain.login import Refusal
from tasks.fleet.connection import Unreadable
from tasks.fleet.libpq import attempt
from tasks.fleet.server_log import LogPosition, alerts_since, mark
from tasks.fleet.wire import served
from tasks.logs import refuses_server
from tests.plugins.authority import Authority, write_files
from tests.plugins.one_server import TLS, OneServer, one_server

_ALERT = "2026-01-01 LOG:  could not accept SSL connection: tlsv1 alert unknown ca\n"
_CALM = "2026-01-01 LOG:  connection authorized: user=app SSL enabled (protocol=TLSv1.3)\n"


@pytest.fixture(scope="module", params=["machine", "wheel"])
def one(request: pytest.FixtureRequest) -> Iterator[OneServer]:
    """A server of each PostgreSQL that is here."""
    try:
        installation = find_postgresql(request.param)
    except PostgresqlNotFound as error:
        pytest.skip(str(error))
    with one_server(installation) as server:
        yield server


def _marked(path: Path) -> LogPosition:
    position = mark(str(path))
    assert isinstance(position, LogPosition)
    return position


def _alerts_after(one: OneServer, act: Callable[[], object]) -> tuple[str, ...]:
    """What the server logs about certificates when something is done to it."""
    position = _marked(one.server.log)
    act()
    deadline = time.monotonic() + 5
    found = alerts_since(position)
    while not found and time.monotonic() < deadline:
        time.sleep(0.05)
        found = alerts_since(position)
    assert not isinstance(found, Unreadable)
    return found


def test_a_refused_client_and_a_refused_server_are_alerts(one: OneServer, tmp_path: Path) -> None:
    """Both sides' refusals show on the server: its own as a failed verification, the client's as an alert."""
    stranger, ours = Authority("stranger"), one.authority.client("app")
    leaf = stranger.client("app")
    unknown = write_files(tmp_path / "unknown", leaf.chain_pem, leaf.key_pem, one.authority.server_bundle)
    distrustful = write_files(tmp_path / "distrustful", ours.chain_pem, ours.key_pem, stranger.server_bundle)
    (refused,) = _alerts_after(one, lambda: attempt(one.endpoint, "app", unknown, "postgres", 5))
    assert "could not accept SSL connection: certificate verify failed" in refused
    if one.server.installation.version >= 16:
        assert "unable to get local issuer certificate" in refused
    (refusing,) = _alerts_after(one, lambda: attempt(one.endpoint, "app", distrustful, "postgres", 5))
    assert "alert unknown ca" in refusing
    assert (refuses_server(refused), refuses_server(refusing)) == (False, True)


def test_the_refusal_of_a_revoked_client_is_no_news(one: OneServer, tmp_path: Path) -> None:
    """From PostgreSQL 16 on a server logs whose certificate it refused; before, a revoked one's is an alert as any."""
    authority = one.authority
    gone, stays = authority.client("app"), authority.client("app")
    one.write("root.crl", authority.empty_crl(days=(-1, 1)) + authority.crl(authority.clients, [gone]))
    one.restart({**TLS, "ssl_crl_file": "root.crl"})
    try:
        position = _marked(one.server.log)
        for name, leaf in (("gone", gone), ("stays", stays)):
            files = write_files(tmp_path / name, leaf.chain_pem, leaf.key_pem, authority.server_bundle)
            answer = attempt(one.endpoint, "app", files, "postgres", 5)
            assert answer.refusal is (Refusal.REVOKED if leaf is gone else None)
        alerts = alerts_since(position)
        assert isinstance(alerts, tuple)
        assert "could not accept SSL connection" in alerts[0]
        assert alerts_since(position, {gone.value.serial}) == (() if one.server.installation.version >= 16 else alerts)
        assert alerts_since(position, {stays.value.serial}) == alerts
    finally:
        one.restart(TLS)


def test_a_reload_that_failed_is_an_alert(one: OneServer) -> None:
    """`pg_reload_conf()` says true; only the log knows that the old certificate is still served."""
    key = one.server.data / "server.key"

    def open_the_key() -> None:
        key.chmod(0o644)
        one.server.reload()

    alerts = _alerts_after(one, open_the_key)
    key.chmod(0o600)
    assert any("has group or world access" in alert for alert in alerts)
    other = one.authority.client("app").key_pem
    good = key.read_text()

    def mismatch() -> None:
        one.write("server.key", other)
        one.server.reload()

    alerts = _alerts_after(one, mismatch)
    one.write("server.key", good)
    assert any("key values mismatch" in alert for alert in alerts)


def test_logins_and_looks_are_no_alerts(one: OneServer, tmp_path: Path) -> None:
    """Good logins, roles that are refused, visitors of the wire and peers that hang up leave the gate open."""
    position = _marked(one.server.log)
    for client in ("app", "minio", "full"):
        leaf = one.authority.client(client)
        files = write_files(tmp_path / client, leaf.chain_pem, leaf.key_pem, one.authority.server_bundle)
        attempt(one.endpoint, client, files, "postgres", 5)
    served(one.endpoint)
    one.server.reload()
    one.server.restart()
    assert alerts_since(position) == ()
    assert 'role "minio" does not exist' in one.server.log.read_text()


def test_only_what_is_newer_than_the_mark(tmp_path: Path) -> None:
    """Alerts that were there before are a baseline, not news."""
    log = tmp_path / "postgresql.log"
    log.write_text(_ALERT * 3)
    position = _marked(log)
    assert alerts_since(position) == ()
    with log.open("a") as file:
        file.write(_CALM + _ALERT)
    assert alerts_since(position) == (_ALERT.strip(),)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_rotated_log_is_followed(tmp_path: Path, compressed: bool) -> None:
    """The rest of the old file counts, under its new name, and the new file; when it is gone that is said."""
    log, old = tmp_path / "postgresql.log", tmp_path / "postgresql.log.1"
    log.write_text(_CALM)
    position = _marked(log)
    with log.open("a") as file:
        file.write(_ALERT)
    log.rename(old)
    log.write_text(_CALM)
    if compressed:
        old.unlink()
        found = alerts_since(position)
        assert isinstance(found, Unreadable)
        assert "rotated" in found.reason
    else:
        assert alerts_since(position) == (_ALERT.strip(),)
        with log.open("a") as file:
            file.write(_ALERT)
        assert alerts_since(position) == (_ALERT.strip(),) * 2


def test_a_truncated_log_is_not_called_clean(tmp_path: Path) -> None:
    """Lines that are gone may have been alerts; those that are left are told."""
    log = tmp_path / "postgresql.log"
    log.write_text(_CALM * 10)
    position = _marked(log)
    log.write_text(_CALM)
    found = alerts_since(position)
    assert isinstance(found, Unreadable)
    assert "truncated" in found.reason
    log.write_text(_ALERT)
    assert alerts_since(position) == (_ALERT.strip(),)


def test_a_log_that_was_emptied_and_has_grown_again_is_another_one(tmp_path: Path) -> None:
    """Logrotate's `copytruncate`: what was written since then stands before the mark, too."""
    log = tmp_path / "postgresql.log"
    log.write_text(_CALM * 10)
    position = _marked(log)
    log.write_text(_ALERT + _CALM * 20)
    assert alerts_since(position) == (_ALERT.strip(),)
    log.write_text(_CALM.replace("app", "etl") * 20)
    found = alerts_since(position)
    assert isinstance(found, Unreadable)
    assert "truncated" in found.reason


@pytest.mark.parametrize(
    ("line", "refuses"),
    [
        ('rejected connection","error":"remote error: tls: bad certificate"', True),
        ('rejected connection","error":"remote error: tls: unknown certificate authority"', True),
        ('rejected connection","error":"remote error: tls: expired certificate"', True),
        ('rejected connection","error":"tls: failed to verify certificate: x509: certificate has expired"', False),
    ],
)
def test_etcd_s_words_are_heard(tmp_path: Path, line: str, refuses: bool) -> None:
    """Go's crypto/tls has words of its own; `remote error` is what the peer sent."""
    log = tmp_path / "etcd.log"
    log.touch()
    position = _marked(log)
    log.write_text(f"{line}\n")
    assert alerts_since(position) == ((line,) if refuses else ())
    assert refuses_server(line) is refuses


def test_a_log_that_begins_after_the_mark(tmp_path: Path) -> None:
    """A server that was never started has no log yet: all of it is new."""
    log = tmp_path / "postgresql.log"
    position = _marked(log)
    found = alerts_since(position)
    assert isinstance(found, Unreadable), "a path that is wrong is no clean log"
    assert "still not there" in found.reason
    log.write_text(_ALERT)
    assert alerts_since(position) == (_ALERT.strip(),)


def test_a_log_that_is_named_by_a_pattern(tmp_path: Path) -> None:
    """As `log_filename` names them: the newest at the mark from its end on, and every one that was begun since."""
    pattern, monday = f"{tmp_path}/postgresql-*.log", tmp_path / "postgresql-Mon.log"
    sunday = tmp_path / "postgresql-Sun.log"
    sunday.write_text(_ALERT)
    os.utime(sunday, (1, 1))
    monday.write_text(_ALERT)
    position = _marked(Path(pattern))
    assert alerts_since(position) == ()
    with monday.open("a") as file:
        file.write(_ALERT)
    (tmp_path / "postgresql-Tue.log").write_text(_CALM + _ALERT)
    assert alerts_since(position) == (_ALERT.strip(),) * 2


def test_what_is_wanted_pushes_nothing_out(tmp_path: Path) -> None:
    """A revoked client that tries every second must not hide the one alert that matters."""
    log = tmp_path / "postgresql.log"
    log.write_text("")
    position = _marked(log)
    refusal = "LOG:  could not accept SSL connection: certificate verify failed\n"
    detail = "DETAIL:  Client certificate verification failed at depth 0: certificate revoked.\n"
    failed = '\tFailed certificate data (unverified): subject "/CN=app", serial number 77, issuer "/CN=ca".\n'
    log.write_text(_ALERT + (refusal + detail + failed) * 300)
    assert alerts_since(position, {77}) == (_ALERT.strip(),)


def test_a_log_may_grow_by_more_than_a_machine_would_like_to_hold(tmp_path: Path) -> None:
    """A busy server writes hundreds of megabytes between two gates; the alert at their beginning is still found."""
    log = tmp_path / "postgresql.log"
    log.write_text("")
    position = _marked(log)
    statement = f"2026-01-01 LOG:  duration: 0.1 ms  statement: SELECT '{'x' * 900}'\n"
    with log.open("w") as file:
        file.write(_ALERT)
        for _ in range(100):
            file.write((statement * 9 + _CALM) * 100)
    read = (
        "import json, pathlib, re, sys; from tasks.playbooks.module_utils.rechain_log import alerts_since\n"
        "answer, status = alerts_since(json.load(sys.stdin)), pathlib.Path('/proc/self/status').read_text()\n"
        "print(json.dumps([answer, int(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1])]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", read], input=json.dumps(asdict(position)), cwd=Path(__file__).parents[2],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    answer, peak_kib = json.loads(told.stdout)
    assert answer["alerts"] == [_ALERT.strip()]
    assert log.stat().st_size > 80 * 2**20
    assert peak_kib < 60 * 1024


def test_what_can_not_be_read_is_said(tmp_path: Path) -> None:
    """A log on another host, or one that is closed to us, is never an empty one."""
    assert isinstance(mark("/nowhere/postgresql.log"), Unreadable)
    closed = tmp_path / "closed.log"
    closed.write_text(_ALERT)
    position = _marked(closed)
    closed.unlink()
    closed.mkdir()  # root may read any file, but nobody a directory
    assert isinstance(alerts_since(position), Unreadable)
    assert isinstance(mark(str(closed)), Unreadable)
