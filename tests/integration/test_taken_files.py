"""Files that lie there and that nobody was told to read: noticed where a reader can't tell what it has read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rechain.fleet import ServiceKind
from tasks.fleet.rollout import HostResult, Outcome, command_line
from tests.by_hand import by_hand
from tests.plugins.programs import PLACE, overlap, running
from tests.plugins.site import CLIENT, CLIENT_FILES, ENVIRONMENT, Site, site

APP = "app1"


@pytest.fixture(scope="module")
def made() -> Iterator[Site]:
    """A site with a running server, for all tests here."""
    with site() as it:
        yield it


@pytest.fixture
def host(made: Site) -> Site:
    """The site as it is at first, and a host with a client whose reload command is counted."""
    made.reset()
    made.add_client_host(APP, reload=f"echo >> {made.home}/hosts/{APP}/reloads")
    made.deploy(made.new)
    return made


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


def test_etcd_is_not_restarted_because_a_neighbour_must_read(host: Site) -> None:
    """In one directory: the client is reloaded, and etcd, which tells its bundle, stays up."""
    with running(host, ServiceKind.ETCD) as etcd:
        names = {"cert": "app.crt", "key": "app.key", "ca": "servers.crt"}
        host.put(etcd.pki, dict(zip(names.values(), host.old.client_texts.values(), strict=True)))
        count = host.home / "hosts" / PLACE / "reloads"
        client = {"name": CLIENT, "cert_dir": str(etcd.pki), "owner": host.account.name, **names}
        etcd.take_by("exit 7", rechain_clients=[{**client, "reload": f"echo >> {count}"}])
        host.deploy(host.old)
        assert [only(host, PLACE).outcome, only(host, PLACE).outcome] == [Outcome.INSTALLED, Outcome.UNCHANGED]
        assert len(count.read_text().splitlines()) == 1
        os.kill(etcd.pid, 0)
