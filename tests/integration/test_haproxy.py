"""HAProxy that ends TLS takes its files by both ways that the documents name, and goes back when it can't."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rechain.fleet import ServiceKind
from tasks.fleet.rollout import HostResult, Outcome
from tests.plugins.programs import PLACE, Program, overlap, running
from tests.plugins.site import Site

DOCUMENT = Path(__file__).parents[2] / "docs" / "services.md"
WAYS = ("signal", "socket")


@pytest.fixture
def haproxy(fresh_site: Site) -> Iterator[Program]:
    """One that serves the old generation and wants a certificate from everybody."""
    with running(fresh_site, ServiceKind.HAPROXY) as program:
        yield program


def reload(haproxy: Program, way: str) -> str:
    """The command of a way, as the document has it; it notes when it is the signal."""
    signal = f"echo >> {haproxy.run}/signals; kill -USR2 {haproxy.pid}"
    if way == "signal":
        return signal
    (script,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.S)
    take = haproxy.run / "haproxy-take"
    take.write_text(script, "utf-8")
    paths = (haproxy.run / "admin.sock", haproxy.pki / "site.pem", haproxy.pki / "root.crt")
    return shlex.join([sys.executable, str(take), *map(str, paths), "sh", "-c", signal])


def signals(haproxy: Program) -> int:
    """How often it was told to start a new worker."""
    path = haproxy.run / "signals"
    return len(path.read_text().splitlines()) if path.exists() else 0


def soon(question: Callable[[], bool]) -> bool:
    """Whether something is so within a moment: a new worker takes over, and nothing on the wire shows when."""
    deadline = time.monotonic() + 5
    while not (answer := question()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def only(haproxy: Program) -> HostResult:
    """Roll out to its host."""
    return haproxy.made.roll_out([PLACE]).hosts[0]


@pytest.mark.parametrize(("way", "workers"), [("signal", (1, 2, 3)), ("socket", (1, 1, 2))])
def test_it_takes_the_whole_chain_step_by_step(haproxy: Program, way: str, workers: tuple[int, int, int]) -> None:
    """The wider bundle, whose clients it then accepts; the leaf, on the wire; the bundle of the next alone.

    By its socket the pair needs no new worker. A second run of each does nothing.
    """
    old, new = haproxy.made.old, haproxy.made.new
    both = overlap(old, new)
    haproxy.take_by(reload(haproxy, way))
    assert haproxy.accepts(old, old)
    assert not haproxy.accepts(new, old)
    haproxy.made.deploy(old, both)
    assert [only(haproxy).outcome, only(haproxy).outcome] == [Outcome.INSTALLED, Outcome.UNCHANGED]
    assert soon(lambda: haproxy.accepts(new, old))
    assert haproxy.accepts(old, old)
    assert signals(haproxy) == workers[0]
    haproxy.made.deploy(new, {**new.certs, "client": both["client"]})
    result = only(haproxy)
    assert result.served == {f"{haproxy.address}:{haproxy.port}": new.server.value.fingerprint}
    assert haproxy.accepts(old, new)
    assert signals(haproxy) == workers[1]
    haproxy.made.deploy(new)
    assert [only(haproxy).outcome, only(haproxy).outcome] == [Outcome.INSTALLED, Outcome.UNCHANGED]
    assert soon(lambda: not haproxy.accepts(old, new))
    assert haproxy.accepts(new, new)
    assert signals(haproxy) == workers[2]
    assert haproxy.found() == haproxy.texts(new)


@pytest.mark.parametrize("way", WAYS)
def test_a_pair_that_it_can_not_read_is_undone(haproxy: Program, way: str) -> None:
    """The key is broken between the switch and the reload: the old pair is back on disk and on the wire, and taken."""
    old, new = haproxy.made.old, haproxy.made.new
    other, expected = haproxy.run / "other.key", haproxy.run / "new.crt"
    other.write_text(new.client.key_pem)
    expected.write_text(new.server.chain_pem)
    breaks = f"if cmp -s {expected} {haproxy.pki}/site.pem; then cp {other} {haproxy.pki}/site.pem.key; fi"
    haproxy.take_by(f"{breaks}; {reload(haproxy, way)}")
    haproxy.made.deploy(new, {**new.certs, "client": {**new.certs["client"], "chain": old.authority.client_bundle}})
    result = only(haproxy)
    said = "serves the leaf" if way == "signal" else "ended with status 1: .*inconsistencies between private key"
    assert re.search(said, result.message), result.message
    assert result.message.endswith("the previous files are back and in use")
    assert haproxy.found() == haproxy.texts(old)
    assert haproxy.fingerprint() == old.server.value.fingerprint
    haproxy.take_by(reload(haproxy, way))
    assert only(haproxy).outcome is Outcome.INSTALLED
    assert haproxy.fingerprint() == new.server.value.fingerprint


def test_a_worker_that_never_came_is_noticed(haproxy: Program) -> None:
    """SIGUSR2 succeeds on a broken configuration, and the old worker's leaf is the wanted one; the CA names are not."""
    old, new = haproxy.made.old, haproxy.made.new
    configuration = haproxy.run / "haproxy.cfg"
    good = configuration.read_text()
    haproxy.take_by(reload(haproxy, "signal"))
    configuration.write_text(f"{good}    nonsense\n")
    haproxy.made.deploy(old, overlap(old, new))
    assert "after the reload it does not name the CAs of the new bundle" in only(haproxy).message
    assert haproxy.found() == haproxy.texts(old)
    configuration.write_text(good)
    assert only(haproxy).outcome is Outcome.INSTALLED
    assert haproxy.accepts(new, old)


def test_its_script_reloads_where_revocation_lists_are_read(haproxy: Program) -> None:
    """A new list changes neither pair nor bundle, and the revoked client must be refused all the same."""
    authority, client = haproxy.made.old.authority, haproxy.made.old
    lists = [
        authority.empty_crl(authority.root, (-2, 5)) + authority.crl(authority.clients, revoked, (-2, 5))
        for revoked in ((), (client.client,))
    ]
    haproxy.made.put(haproxy.pki, {"clients.crl": lists[0]})
    configuration = haproxy.run / "haproxy.cfg"
    with_lists = f"verify required crl-file {haproxy.pki}/clients.crl"
    configuration.write_text(configuration.read_text().replace("verify required", with_lists))
    haproxy.take_by(reload(haproxy, "socket"))
    haproxy.made.hosts[PLACE]["rechain_services"][0]["crl"] = "clients.crl"  # type: ignore[index]
    haproxy.made.deploy(client, {**client.certs, "crl": {"client": lists[0]}})
    os.kill(haproxy.pid, signal.SIGUSR2)
    assert soon(lambda: haproxy.accepts(client, client))
    only(haproxy)
    haproxy.made.deploy(client, {**client.certs, "crl": {"client": lists[1]}})
    assert only(haproxy).outcome is Outcome.INSTALLED
    assert soon(lambda: not haproxy.accepts(client, client))


def test_files_that_were_copied_by_hand_are_taken(haproxy: Program) -> None:
    """The bundle alone, of which nothing shows on the wire: its next clients were refused until the roll-out."""
    old, new = haproxy.made.old, haproxy.made.new
    both = overlap(old, new)
    haproxy.take_by(reload(haproxy, "signal"))
    haproxy.made.put(haproxy.pki, {"root.crt": both["client"]["chain"]})
    haproxy.made.deploy(old, both)
    assert not haproxy.accepts(new, old)
    assert [only(haproxy).outcome, only(haproxy).outcome] == [Outcome.INSTALLED, Outcome.UNCHANGED]
    assert soon(lambda: haproxy.accepts(new, old))
