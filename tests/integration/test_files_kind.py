"""Kind `files`: a server's files that something reads and shows nowhere, proven by its reload command alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rechain.plan import FileChange, Place, intended_files, reloads
from rechain.scan.seen import Use
from tasks.fleet.host_look import look_at_hosts
from tasks.fleet.inventory import read_fleet
from tasks.fleet.rollout import HostResult, Outcome
from tasks.repository.certs_yaml import read_certs
from tasks.repository.layout import certs_paths
from tests.plugins.site import CLIENT, ENVIRONMENT, HOST, SERVER_FILES, Site

AGENT = "agent1"


@pytest.fixture
def host(fresh_site: Site) -> Site:
    """The site as it is at first, and a host on which something reads the old generation's files."""
    fresh_site.put(pki(fresh_site), fresh_site.old.server_texts)
    reads(fresh_site, f"echo >> {fresh_site.home}/hosts/{AGENT}/reloads")
    fresh_site.deploy(fresh_site.new)
    return fresh_site


def pki(host: Site) -> Path:
    """The `cert_dir` of the files."""
    return host.home / "hosts" / AGENT / "pki"


def reads(host: Site, reload: str | None, **given: object) -> None:
    """Have the inventory name this reload command."""
    files = {"kind": "files", "cert_dir": str(pki(host)), "owner": host.account.name, "reload": reload, **given}
    host.hosts[AGENT] = host.variables(AGENT, rechain_server_name=HOST, rechain_services=[files])


def texts(host: Site) -> dict[str, str]:
    """The files as they are read."""
    return {name: (pki(host) / name).read_text("ascii") for name in SERVER_FILES}


def reloaded(host: Site) -> int:
    """How often they were read."""
    path = host.home / "hosts" / AGENT / "reloads"
    return len(path.read_text().splitlines()) if path.exists() else 0


def only(host: Site) -> HostResult:
    """Roll out to the one host."""
    return host.roll_out([AGENT]).hosts[0]


def test_the_server_s_set_is_installed_and_read(host: Site) -> None:
    """Leaf, key and the bundle of clients; nobody connects anywhere, and a second run does nothing."""
    result = only(host)
    assert (result.outcome, dict(result.served)) == (Outcome.INSTALLED, {})
    assert texts(host) == host.new.server_texts
    assert (only(host).outcome, reloaded(host)) == (Outcome.UNCHANGED, 1)


def test_a_command_that_fails_gets_the_previous_files_back(host: Site) -> None:
    """They are read once more, and the message says both."""
    old = host.home / "old.crt"
    old.write_text(host.old.server.chain_pem, "ascii")
    reads(host, f"echo >> {host.home}/hosts/{AGENT}/reloads; cmp {old} {pki(host)}/server.crt")
    message = only(host).message
    assert f"files in {pki(host)}: its reload command ended with status 1" in message
    assert message.endswith("the previous files are back and in use")
    assert (texts(host), reloaded(host)) == (host.old.server_texts, 2)


def test_files_that_were_copied_by_hand_are_read(host: Site) -> None:
    """It can't tell which it has read."""
    only(host)
    host.put(pki(host), host.old.server_texts)
    host.deploy(host.old)
    assert [only(host).outcome, only(host).outcome] == [Outcome.INSTALLED, Outcome.UNCHANGED]
    assert reloaded(host) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [({"reload": None}, "add `reload`"), ({"reload": "true", "port": 9, "log": "/x"}, "remove port, log")],
)
def test_what_does_not_fit_is_refused_on_the_host_too(host: Site, given: dict[str, Any], said: str) -> None:
    """By hand, with the playbook alone: nothing is touched."""
    reads(host, **given)
    expected = f"rechain_services: kind files is proven by its reload command alone: {said}"
    assert only(host).message == expected
    assert texts(host) == host.old.server_texts


def test_scan_and_plan_see_its_files(host: Site) -> None:
    """Its bundle is one that must be wide, its leaf one that expires; where it serves them, nobody asks."""
    host.write_inventory()
    fleet = read_fleet(host.root, ENVIRONMENT, [CLIENT], [HOST])
    (seen,) = [one for one in look_at_hosts(host.root, ENVIRONMENT, fleet) if one.host == AGENT]
    (found,) = seen.sets
    assert (found.reader, found.is_server, found.endpoint) == (f"files in {pki(host)}", True, None)
    assert (found.cert_text.use, found.ca_text.use) == (Use.SERVER_LEAF, Use.CLIENT_BUNDLE)
    assert found.cert_text.certificates[0] == host.old.server.value
    assert found.ca_text.certificates
    assert {endpoint.host for endpoint in fleet.endpoints()} == {HOST}
    certs = read_certs(certs_paths(host.root, ENVIRONMENT)[0])
    intended = intended_files(fleet, certs)
    bundle = Place(AGENT, str(pki(host) / "root.crt"))
    assert intended[bundle] == tuple(one.fingerprint for one in certs.client_chain.certificates)
    (reload,) = reloads(fleet, [FileChange(bundle, (), intended[bundle])])
    assert reload.startswith(f"{AGENT}: echo >> ")
