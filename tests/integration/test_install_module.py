"""What the module does to one host: real Ansible, real PostgreSQL, faults of a reload's own making."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from rechain.errors import RollOutFailed
from rechain.generation import Side
from tasks.fleet.rollout import HostResult, Outcome, raise_for
from tests.plugins.site import CLIENT, CLIENT_FILES, HOST, SERVER_FILES, Generation, Site


@pytest.fixture
def host(fresh_site: Site) -> Site:
    """The site as it is at first: plain files of the old generation."""
    return fresh_site


def only(made: Site, claim: int = 1) -> HostResult:
    """Roll out to the one host."""
    return made.roll_out(claim=claim).hosts[0]


def contents(directory: Path, names: tuple[str, ...] = SERVER_FILES) -> dict[str, str]:
    """The files of a set as a reader sees them."""
    return {name: (directory / name).read_text("ascii") for name in names}


def versions(directory: Path) -> dict[str, list[str]]:
    """The versions on disk and the files in each."""
    folders = (directory / ".rechain" / "versions").iterdir()
    return {folder.name: sorted(entry.name for entry in folder.iterdir()) for folder in folders}


def reload_with(made: Site, before: str) -> None:
    """Let the host's reload command do something else first."""
    made.hosts[HOST]["rechain_services"] = [made.service(f"{before}; {made.server.reload_command}")]


def test_a_host_with_plain_files_gets_the_whole_set_and_serves_it(host: Site) -> None:
    """Content, owner, modes and links are right, the old set is kept, and the wire shows the new leaf."""
    host.deploy(host.new)
    result = only(host)
    assert result.outcome is Outcome.INSTALLED
    assert contents(host.pki) == host.new.server_texts
    assert result.changed_files == tuple(sorted(str(host.pki / name) for name in SERVER_FILES))
    assert result.served == {f"{host.server.address}:{host.server.port}": host.new.server.value.fingerprint}
    assert host.fingerprint() == host.new.server.value.fingerprint
    key = (host.pki / "server.key").stat()
    assert (stat.S_IMODE(key.st_mode), key.st_uid) == (0o600, host.account.uid)
    assert {str((host.pki / name).readlink()) for name in SERVER_FILES} == {
        f".rechain/current/{n}" for n in SERVER_FILES
    }
    assert list(versions(host.pki).values()) == [sorted(SERVER_FILES)] * 2


def test_the_server_restarts_on_what_was_installed(host: Site) -> None:
    """PostgreSQL accepts key and bundle behind links when it starts from nothing."""
    host.deploy(host.new)
    only(host)
    host.server.restart()
    assert host.fingerprint() == host.new.server.value.fingerprint


def test_nothing_is_touched_or_reloaded_where_all_is_as_it_should_be(host: Site) -> None:
    """A second run reports `unchanged`, and so does a first one over the same plain files."""
    count = host.home / "reloads"
    count.unlink(missing_ok=True)
    reload_with(host, f"echo >> {count}")
    assert only(host).outcome is Outcome.UNCHANGED
    host.deploy(host.new)
    assert only(host).outcome is Outcome.INSTALLED
    inode = (host.pki / "server.key").stat().st_ino
    assert only(host).outcome is Outcome.UNCHANGED
    assert (host.pki / "server.key").stat().st_ino == inode
    assert len(count.read_text().splitlines()) == 1


def test_only_the_previous_set_is_kept(host: Site) -> None:
    """The private keys of older versions are gone from the host."""
    for claim, generation in enumerate((host.new, host.old, host.new), start=1):
        host.deploy(generation)
        assert only(host, claim).outcome is Outcome.INSTALLED
    assert len(versions(host.pki)) == 2
    keys = [path.read_text() for path in (host.pki / ".rechain" / "versions").glob("*/server.key")]
    assert sorted(keys) == sorted([host.old.server.key_pem, host.new.server.key_pem])


def test_a_run_that_died_between_switch_and_reload_is_found(host: Site) -> None:
    """The files are right and the server still serves the old leaf: the next run reloads and proves."""
    host.deploy(host.new)
    host.hosts[HOST]["rechain_services"] = [host.service("kill -9 $PPID")]
    assert only(host).outcome is Outcome.FAILED
    assert contents(host.pki) == host.new.server_texts
    assert host.fingerprint() == host.old.server.value.fingerprint
    host.hosts[HOST]["rechain_services"] = [host.service()]
    result = only(host)
    assert (result.outcome, result.changed_files) == (Outcome.INSTALLED, ())
    assert host.fingerprint() == host.new.server.value.fingerprint
    assert only(host).outcome is Outcome.UNCHANGED


def test_a_run_that_died_and_then_can_not_be_proven_goes_back(host: Site) -> None:
    """What the dead run had noted is enough to put the set before it back."""
    host.deploy(host.new)
    host.hosts[HOST]["rechain_services"] = [host.service("kill -9 $PPID")]
    only(host)
    reload_with(host, f"chmod 644 {host.pki}/server.key")
    assert "the previous files are back and in use" in only(host).message
    assert contents(host.pki) == host.old.server_texts


@pytest.mark.parametrize("part", ["leaf", "bundle"])
def test_files_that_somebody_copied_without_a_reload_are_found(host: Site, part: str) -> None:
    """No change of content, and yet a reload: the wire shows that the server does not use its files."""
    texts = host.new.server_texts if part == "leaf" else {"root.crt": host.new.authority.client_bundle}
    host.put(host.pki, texts)
    certs = {**host.old.certs, "client": {**host.old.certs["client"], "chain": host.new.authority.client_bundle}}
    host.deploy(
        host.new,
        certs=host.new.certs if part == "leaf" else certs,
        keys=(host.new if part == "leaf" else host.old).keys,
    )
    result = only(host)
    assert (result.outcome, result.changed_files) == (Outcome.INSTALLED, ())
    assert only(host).outcome is Outcome.UNCHANGED


_FAULTS = {
    "mode 0644": ("chmod 644 {pki}/server.key", "has group or world access"),
    "mismatched pair": ("cp {other} {pki}/server.key", "could not load private key|key values mismatch"),
    "missing newline": (
        '{{ printf %s "$(cat {pki}/root.crt)"; cat {pki}/root.crt; }} > {broken}; cp {broken} {pki}/root.crt',
        "could not load root certificate file",
    ),
}


@pytest.mark.parametrize("fault", _FAULTS)
def test_a_reload_that_the_server_refuses_is_found_and_undone(host: Site, fault: str) -> None:
    """pg_ctl reports success; the message quotes host and log line, and the server survives a restart."""
    breaks, complaint = _FAULTS[fault]
    other, broken = host.home / "other.key", host.home / "broken.crt"
    other.write_text(host.new.client.key_pem)
    host.deploy(host.new)
    reload_with(host, breaks.format(pki=host.pki, other=other, broken=broken))
    result = host.roll_out()
    with pytest.raises(RollOutFailed) as failed:
        raise_for(result)
    assert failed.value.exit_code == 1
    assert failed.value.where == HOST
    assert re.search(rf"its log says: .*({complaint})", str(failed.value))
    assert "the previous files are back and in use" in str(failed.value)
    assert result.hosts[0].changed_files == ()
    assert contents(host.pki) == host.old.server_texts
    host.server.restart()
    assert host.fingerprint() == host.old.server.value.fingerprint


def test_a_file_that_is_broken_after_the_proof_is_found(host: Site) -> None:
    """A reload that works, and a key that the next restart would refuse."""
    host.deploy(host.new)
    host.hosts[HOST]["rechain_services"] = [
        host.service(f"{host.server.reload_command} && sleep 0.5 && chmod 644 {host.pki}/server.key")
    ]
    assert "were changed after they were installed" in only(host).message
    assert contents(host.pki) == host.old.server_texts
    host.server.restart()


def test_links_that_a_reload_replaced_are_put_back(host: Site) -> None:
    """A tool that renames a file over the link takes the file out of the set; the set is whole again afterwards."""
    host.deploy(host.new)
    reload_with(host, f"sed -i s/END/BEGIN/ {host.pki}/root.crt")
    assert only(host).outcome is Outcome.FAILED
    assert contents(host.pki) == host.old.server_texts
    assert (host.pki / "root.crt").is_symlink()


def test_a_reload_command_that_fails_or_hangs_is_reported(host: Site) -> None:
    """What it said is in the message."""
    host.deploy(host.new)
    host.hosts[HOST]["rechain_services"] = [host.service("echo no such unit >&2; exit 5")]
    result = only(host)
    assert "its reload command ended with status 5: no such unit" in result.message
    assert contents(host.pki) == host.old.server_texts


def _without_newline(generation: Generation) -> Mapping[str, Mapping[str, str]]:
    certs = {side: dict(entries) for side, entries in generation.certs.items()}
    certs[Side.CLIENT]["chain"] = certs[Side.CLIENT]["chain"].replace("-----\n-----", "----------")
    return certs


def _ca_first(generation: Generation) -> Mapping[str, Mapping[str, str]]:
    certs = {side: dict(entries) for side, entries in generation.certs.items()}
    certs[Side.SERVER][HOST] = generation.authority.servers.value.pem + generation.server.value.pem
    return certs


_Deployed = Mapping[str, Mapping[str, str]]
_REFUSED: dict[str, tuple[Callable[[Generation], tuple[_Deployed, _Deployed]], str]] = {
    "a missing newline": (lambda g: (_without_newline(g), g.keys), "a newline is missing between two PEM blocks"),
    "an intermediate first": (lambda g: (_ca_first(g), g.keys), "the leaf must stand first"),
    "another's key": (
        lambda g: (g.certs, {**g.keys, "server": {HOST: g.client.key_pem}}),
        "private key and first certificate are no pair",
    ),
    "no key": (lambda g: (g.certs, {**g.keys, "server": {}}), f"private_keys.server has no {HOST}"),
    "no certificate": (lambda g: ({**g.certs, "server": {"chain": "x"}}, g.keys), f"certs.server has no {HOST}"),
    "half a key": (
        lambda g: (g.certs, {**g.keys, "server": {HOST: g.server.key_pem[:90]}}),
        "a PEM block is cut off",
    ),
}


@pytest.mark.parametrize("what", _REFUSED)
def test_what_would_break_the_server_is_refused_before_anything_is_touched(host: Site, what: str) -> None:
    """The same files lie there as before, byte for byte and inode for inode."""
    make, said = _REFUSED[what]
    certs, keys = make(host.new)
    before = {path.name: path.stat() for path in host.pki.iterdir()}
    host.deploy(host.new, certs, keys)
    result = only(host)
    assert result.outcome is Outcome.FAILED
    assert said in result.message
    after = {path.name: path.stat() for path in host.pki.iterdir() if path.name != ".rechain"}
    assert {name: (s.st_ino, s.st_mtime_ns) for name, s in after.items()} == {
        name: (s.st_ino, s.st_mtime_ns) for name, s in before.items()
    }
    assert not list(host.pki.glob(".rechain/versions/*"))


def test_a_service_that_does_not_answer_is_refused_before_anything_is_touched(host: Site) -> None:
    """No reload of it could be proven."""
    host.deploy(host.new)
    host.server.stop()
    assert "nothing there speaks TLS" in only(host).message
    assert contents(host.pki) == host.old.server_texts


def test_a_fresh_host_gets_its_files_before_its_service_runs(host: Site) -> None:
    """Without files and without a server there is nothing to prove, and the server starts on them."""
    host.server.stop()
    for name in SERVER_FILES:
        (host.pki / name).unlink()
    host.deploy(host.new)
    assert only(host).outcome is Outcome.INSTALLED
    host.server.start()
    assert host.fingerprint() == host.new.server.value.fingerprint


def test_a_lower_claim_is_refused_by_the_host(host: Site) -> None:
    """An equal one is not: the same run is resumed."""
    host.deploy(host.new)
    assert only(host, claim=7).outcome is Outcome.INSTALLED
    host.deploy(host.old)
    refused = only(host, claim=6)
    assert refused.outcome is Outcome.REFUSED_CLAIM
    assert "this host has seen claim 7" in refused.message
    assert contents(host.pki) == host.new.server_texts
    assert only(host, claim=7).outcome is Outcome.INSTALLED


def test_one_installation_at_a_time(host: Site) -> None:
    """A run waits for the host's lock, which work of a cancelled run may still hold."""
    state = host.state_directory(HOST)
    state.mkdir(parents=True)
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        release = threading.Timer(3, fcntl.flock, (lock, fcntl.LOCK_UN))
        release.start()
        started = time.monotonic()
        assert only(host).outcome is Outcome.UNCHANGED
        assert time.monotonic() - started > 3


def test_what_the_host_remembers_is_public(host: Site) -> None:
    """Claim and ledger hold fingerprints and names."""
    host.deploy(host.new)
    only(host, claim=3)
    state = host.state_directory(HOST)
    assert json.loads((state / "test.json").read_text()) == {"claim": 3}
    entry = json.loads((state / "ledger.jsonl").read_text())
    assert (entry["phase"], entry["outcome"]) == ("overlap", "proven")
    assert entry["first_certificates"]["server.crt"] == host.new.server.value.fingerprint
    assert not any("PRIVATE" in path.read_text() for path in state.iterdir())


def test_a_client_gets_its_set_and_its_reload(host: Site) -> None:
    """The command runs after the switch, once."""
    seen = host.home / "seen"
    directory = host.add_client_host("app1", reload=f"cat {host.home}/hosts/app1/postgresql/postgresql.crt >> {seen}")
    host.deploy(host.new)
    assert host.roll_out(["app1"]).hosts[0].outcome is Outcome.INSTALLED
    assert contents(directory, CLIENT_FILES) == host.new.client_texts
    assert seen.read_text() == host.new.client.chain_pem
    assert host.roll_out(["app1"]).hosts[0].outcome is Outcome.UNCHANGED


def test_two_readers_that_contradict_each_other_are_refused(host: Site) -> None:
    """A server's root.crt and a client's are different bundles: one directory can't hold both."""
    client = {"name": CLIENT, "cert_dir": str(host.pki), "owner": host.account.name}
    host.hosts[HOST]["rechain_clients"] = [client]
    host.deploy(host.new)
    assert "need different content" in only(host).message
    assert contents(host.pki) == host.old.server_texts


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led astray by a user's link")
def test_a_link_that_a_user_planted_does_not_lead_root_away(host: Site) -> None:
    """The work in a user's directory is done with that user's rights."""
    closed = host.home / "closed"
    closed.mkdir(exist_ok=True)
    (host.pki / ".rechain").symlink_to(closed)
    host.deploy(host.new)
    assert only(host).outcome is Outcome.FAILED
    assert not list(closed.iterdir())
