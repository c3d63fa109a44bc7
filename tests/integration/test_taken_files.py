"""Files that lie there and that nobody was told to read: noticed where a reader can't tell what it has read."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
from pathlib import Path

import pytest

from rechain.fleet import ServiceKind
from tasks.fleet.rollout import HostResult, Outcome, command_line
from tests.by_hand import by_hand
from tests.plugins.programs import PLACE, overlap, running
from tests.plugins.site import CLIENT, CLIENT_FILES, ENVIRONMENT, HOST, Site

APP = "app1"


@pytest.fixture
def host(fresh_site: Site) -> Site:
    """The site as it is at first, and a host with a client whose reload command is counted."""
    fresh_site.add_client_host(APP, reload=f"echo >> {fresh_site.home}/hosts/{APP}/reloads")
    fresh_site.deploy(fresh_site.new)
    return fresh_site


def pki(host: Site) -> Path:
    """The client's `cert_dir`."""
    return host.home / "hosts" / APP / "postgresql"


def reloads(host: Site) -> int:
    """How often the client was reloaded."""
    path = host.home / "hosts" / APP / "reloads"
    return len(path.read_text().splitlines()) if path.exists() else 0


def only(host: Site, name: str = APP) -> HostResult:
    """Roll out to one host."""
    return host.roll_out([name]).hosts[0]


def remembered(host: Site, name: str = APP) -> list[Path]:
    """Where the host keeps who took what."""
    return list(host.state_directory(name).glob("taken-*.json"))


def test_files_that_were_copied_without_a_reload_are_read(host: Site) -> None:
    """Nothing differs on disk, and yet a reload, once; two runs later it still is one."""
    only(host)
    assert (only(host).outcome, reloads(host)) == (Outcome.UNCHANGED, 1)
    host.put(pki(host), host.old.client_texts)
    host.deploy(host.old)
    copied = only(host)
    assert (copied.outcome, copied.changed_files, reloads(host)) == (Outcome.INSTALLED, (), 2)
    assert (only(host).outcome, only(host).outcome, reloads(host)) == (Outcome.UNCHANGED, Outcome.UNCHANGED, 2)


def test_a_host_that_remembers_nothing_is_reloaded_once(host: Site) -> None:
    """As after an upgrade: what was there before is read again, and a command that fails is tried again."""
    host.deploy(host.old)
    reload = host.hosts[APP]["rechain_clients"][0]["reload"]  # type: ignore[index]  # the list is the site's
    host.hosts[APP]["rechain_clients"][0]["reload"] = f"{reload}; exit 3"  # type: ignore[index]
    assert "no previous ones are known" in only(host).message
    host.hosts[APP]["rechain_clients"][0]["reload"] = reload  # type: ignore[index]
    assert [only(host).outcome, only(host).outcome] == [Outcome.INSTALLED, Outcome.UNCHANGED]
    assert reloads(host) == 2


def test_a_trial_run_reads_and_writes_nothing(host: Site, tmp_path: Path) -> None:
    """`--check` tells that there is something to do, and leaves no trace of having been there."""
    host.deploy(host.old)
    host.write_inventory()
    line = command_line(host.root, ENVIRONMENT, [APP], "overlap", claim=1)
    assert "changed: [app1]" in by_hand(f"{line} --check", tmp_path).stdout
    assert (reloads(host), remembered(host)) == (0, [])
    only(host)
    assert "ok: [app1]" in by_hand(f"{line} --check", tmp_path).stdout


def test_two_directories_and_two_environments_do_not_mix(host: Site, tmp_path: Path) -> None:
    """Who shares a state directory shares what was seen; another client in the same directory counts for itself."""
    other, count = host.home / "hosts" / APP / "other", host.home / "hosts" / APP / "others"
    host.put(other, host.new.client_texts)
    more = {"name": CLIENT, "cert_dir": str(other), "owner": host.account.name, "reload": f"echo >> {count}"}
    host.hosts[APP]["rechain_clients"].append(more)  # type: ignore[attr-defined]
    assert [only(host).outcome, only(host).outcome] == [Outcome.INSTALLED, Outcome.UNCHANGED]
    assert len(remembered(host)) == 2
    line = command_line(host.root, ENVIRONMENT, [APP], "overlap")
    elsewhere = f"{line} -e rechain_environment=elsewhere"
    assert "ok: [app1]" in by_hand(elsewhere, tmp_path).stdout
    names = {"cert": "own.crt", "key": "own.key", "ca": "own-root.crt"}
    host.put(other, dict(zip(names.values(), host.new.client_texts.values(), strict=True)))
    more |= names
    assert [only(host).outcome, only(host).outcome] == [Outcome.INSTALLED, Outcome.UNCHANGED]
    assert (reloads(host), len(count.read_text().splitlines())) == (1, 2)
    more |= dict(zip(names, CLIENT_FILES, strict=True))
    host.write_inventory()
    assert "ok: [app1]" in by_hand(elsewhere, tmp_path).stdout


def test_no_digest_of_a_key_is_kept(host: Site) -> None:
    """The certificate stands for its key; and who reads its files at every connect is not remembered at all."""
    only(host)
    (path,) = remembered(host)
    public = {name: text for name, text in host.new.client_texts.items() if name != "postgresql.key"}
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in public.items()}
    whole = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    assert list(json.loads(path.read_text())["readers"].values()) == [whole]
    del host.hosts[APP]["rechain_clients"][0]["reload"]  # type: ignore[index]
    path.unlink()
    assert (only(host).outcome, remembered(host)) == (Outcome.UNCHANGED, [])


def test_a_bundle_that_was_copied_to_pgbouncer_by_hand_is_taken(host: Site) -> None:
    """It shows its leaf and never what it trusts: the clients of the next generation would have been refused."""
    with running(host, ServiceKind.PGBOUNCER) as pgbouncer:
        pgbouncer.take_by(f"kill -HUP {pgbouncer.pid}")
        host.deploy(host.old)
        assert [only(host, PLACE).outcome, only(host, PLACE).outcome] == [Outcome.INSTALLED, Outcome.UNCHANGED]
        certs = overlap(host.old, host.new)
        host.put(pgbouncer.pki, {"root.crt": certs["client"]["chain"]})
        host.deploy(host.old, certs)
        assert not pgbouncer.accepts(host.new, host.old)
        result = only(host, PLACE)
        assert (result.outcome, result.changed_files) == (Outcome.INSTALLED, ())
        assert pgbouncer.accepts(host.new, host.old)
        assert only(host, PLACE).outcome is Outcome.UNCHANGED


def test_a_pgbouncer_that_is_down_holds_nobody_up(host: Site) -> None:
    """What lies there is what it will read: as before, that is nothing to do."""
    with running(host, ServiceKind.PGBOUNCER) as pgbouncer:
        pgbouncer.take_by("exit 7")
    host.deploy(host.old)
    assert only(host, PLACE).outcome is Outcome.UNCHANGED


def neighbour(host: Site, directory: Path, reload: str) -> dict[str, str]:
    """A client with its old files in a directory of others, as an entry of the inventory."""
    names = {"cert": "app.crt", "key": "app.key", "ca": "servers.crt"}
    host.put(directory, dict(zip(names.values(), host.old.client_texts.values(), strict=True)))
    return {"name": CLIENT, "cert_dir": str(directory), "owner": host.account.name, **names, "reload": reload}


def test_a_restore_that_was_not_read_is_not_proven(host: Site, tmp_path: Path) -> None:
    """PgBouncer took a narrow bundle, its neighbour did not, and PgBouncer's second reload fails: the next run reloads.

    Its leaf was the same all the time, so it says nothing.
    """
    count, is_broken, narrow = tmp_path / "count", tmp_path / "broken", tmp_path / "narrow"
    narrow.write_text(host.new.authority.client_bundle)
    with running(host, ServiceKind.PGBOUNCER) as pgbouncer:
        fails = f"test -e {is_broken} && test $(wc -l < {count}) -gt 1 && exit 9"
        client = neighbour(host, pgbouncer.pki, f"! cmp -s {narrow} {pgbouncer.pki}/root.crt")
        pgbouncer.take_by(f"echo >> {count}; {fails}; kill -HUP {pgbouncer.pid}", rechain_clients=[client])
        wide = overlap(host.old, host.new)
        host.deploy(host.old, wide)
        only(host, PLACE)
        count.unlink()
        is_broken.touch()
        host.deploy(host.old, {**wide, "client": {**wide["client"], "chain": narrow.read_text()}})
        assert "the previous files are back, but pgbouncer" in only(host, PLACE).message
        assert not pgbouncer.accepts(host.old, host.old)
        is_broken.unlink()
        host.deploy(host.old, wide)
        assert only(host, PLACE).outcome is Outcome.INSTALLED
        assert pgbouncer.accepts(host.old, host.old)
        assert only(host, PLACE).outcome is Outcome.UNCHANGED


def test_a_service_that_was_silent_for_a_moment_has_taken_nothing(host: Site) -> None:
    """Overloaded while its neighbour was reloaded: nothing is noted of it, so the next run tells it."""
    with running(host, ServiceKind.PGBOUNCER) as pgbouncer:
        client = neighbour(host, pgbouncer.pki, "true")
        pgbouncer.take_by(f"kill -HUP {pgbouncer.pid}", rechain_clients=[client])
        wide = overlap(host.old, host.new)
        host.put(pgbouncer.pki, {"root.crt": wide["client"]["chain"]})
        host.deploy(host.old, wide)
        os.kill(pgbouncer.pid, signal.SIGSTOP)
        try:
            only(host, PLACE)
        finally:
            os.kill(pgbouncer.pid, signal.SIGCONT)
        assert only(host, PLACE).outcome is Outcome.INSTALLED
        assert pgbouncer.accepts(host.new, host.old)


def test_a_list_that_was_copied_to_postgresql_by_hand_is_read(host: Site) -> None:
    """It tells its bundle, and never its revocation lists."""
    authority, gone = host.old.authority, (host.old.client,)
    first = authority.empty_crl(authority.root, (-2, 1)) + authority.empty_crl(authority.clients, (-2, 1))
    second = authority.empty_crl(authority.root, (-1, 2)) + authority.crl(authority.clients, gone, (-1, 2))
    host.hosts[HOST]["rechain_services"][0]["crl"] = "clients.crl"  # type: ignore[index]
    host.deploy(host.old, {**host.old.certs, "crl": {"client": first}})
    assert [only(host, HOST).outcome, only(host, HOST).outcome] == [Outcome.INSTALLED, Outcome.UNCHANGED]
    host.put(host.pki, {"clients.crl": second})
    host.deploy(host.old, {**host.old.certs, "crl": {"client": second}})
    assert [only(host, HOST).outcome, only(host, HOST).outcome] == [Outcome.INSTALLED, Outcome.UNCHANGED]


@pytest.mark.parametrize(
    ("prefix", "outcome"), [("could not connect to the primary server: ", Outcome.INSTALLED), ("", Outcome.FAILED)]
)
def test_a_walreceiver_s_trouble_is_not_its_server_s(host: Site, prefix: str, outcome: Outcome) -> None:
    """Its libpq says of its client key what the server says of its own; a reload is proven all the same."""
    service = host.hosts[HOST]["rechain_services"][0]  # type: ignore[index]
    says = f'FATAL:  {prefix}private key file "/x/postgresql.key" has group or world access'
    service["reload"] = f"{service['reload']}; echo {shlex.quote(says)} >> {service['log']}"
    host.deploy(host.new)
    assert only(host, HOST).outcome is outcome


def test_nothing_is_taken_away_when_the_version_before_is_gone(host: Site) -> None:
    """Somebody cleaned up after a run that died: there is nothing to go back to, and what lies there stays."""
    host.deploy(host.new)
    only(host, HOST)
    name = hashlib.sha256(str(host.pki).encode()).hexdigest()[:16]
    marker = host.state_directory(HOST) / f"pending-{name}.json"
    marker.write_text(json.dumps({"directory": str(host.pki), "previous": "77"}))
    host.hosts[HOST]["rechain_services"][0]["reload"] = "exit 3"  # type: ignore[index]
    assert "no previous ones are known" in only(host, HOST).message
    assert {name: (host.pki / name).read_text() for name in host.new.server_texts} == host.new.server_texts
    assert marker.exists()


def test_etcd_is_not_restarted_because_a_new_client_fails(host: Site) -> None:
    """However often that is tried: etcd has its files, and they are proven."""
    with running(host, ServiceKind.ETCD) as etcd:
        count = host.home / "hosts" / PLACE / "restarts"
        client = neighbour(host, etcd.pki, "exit 5")
        for name in ("app.crt", "app.key", "servers.crt"):
            (etcd.pki / name).unlink()
        etcd.take_by(f"echo >> {count}", rechain_clients=[client])
        host.deploy(host.old)
        assert "its files stay, as none were here before" in only(host, PLACE).message
        assert "no previous ones are known" in only(host, PLACE).message
        assert not count.exists()


def test_etcd_is_not_restarted_because_a_neighbour_must_read(host: Site) -> None:
    """In one directory: the client is reloaded, and etcd, which tells its bundle, stays up."""
    with running(host, ServiceKind.ETCD) as etcd:
        count = host.home / "hosts" / PLACE / "reloads"
        etcd.take_by("exit 7", rechain_clients=[neighbour(host, etcd.pki, f"echo >> {count}")])
        host.deploy(host.old)
        assert [only(host, PLACE).outcome, only(host, PLACE).outcome] == [Outcome.INSTALLED, Outcome.UNCHANGED]
        assert len(count.read_text().splitlines()) == 1
        os.kill(etcd.pid, 0)
