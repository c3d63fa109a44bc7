"""What lies on hosts: one real Ansible run, real files, no vault password."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.environment import ENVIRONMENT as LAB
from lab.fleet import Lab
from rechain.certificate import read_certificates
from rechain.fleet import Fleet
from rechain.scan.restart import client_problems, restart_problems
from rechain.scan.seen import HostSeen, SetOnHost, Use
from tasks.fleet.host_look import clock_ahead_s, look_at_hosts
from tasks.fleet.inventory import read_fleet
from tasks.repository.certs_yaml import read_certs
from tasks.repository.layout import certs_paths
from tests.plugins.site import CLIENT, ENVIRONMENT, HOST, Site
from tests.search import Search


@pytest.fixture
def host(fresh_site: Site) -> Site:
    """The site as it is at first."""
    return fresh_site


def _look(made: Site) -> dict[str, HostSeen]:
    made.write_inventory()
    fleet = read_fleet(made.root, ENVIRONMENT, [CLIENT], [HOST])
    return {seen.host: seen for seen in look_at_hosts(made.root, ENVIRONMENT, fleet)}


def _set(made: Site) -> SetOnHost:
    return _look(made)[HOST].sets[0]


def test_every_set_of_a_fleet_is_seen_without_a_vault_password(lab_fleet: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service and managed client of the inventory, with the certificates of the repository and sound files."""
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE", raising=False)
    root = lab_fleet.repository.root
    certs = read_certs(certs_paths(root, LAB)[0])
    fleet = read_fleet(root, LAB, list(certs.clients), list(certs.servers))
    seen = look_at_hosts(root, LAB, fleet)
    assert [(one.host, one.problem) for one in seen] == [(host.name, None) for host in fleet.hosts]
    assert _readers(seen) == _expected(fleet)
    for one in (each for host in seen for each in host.sets):
        chain = (certs.servers if one.is_server else certs.clients)[one.name]
        assert one.cert_text.certificates == (chain.leaf, *chain.intermediates)
        assert one.ca_text.certificates == (certs.client_chain if one.is_server else certs.server_chain).certificates
        assert one.key.mode == 0o600
        assert (restart_problems if one.is_server else client_problems)(one) == ()


def _readers(seen: tuple[HostSeen, ...]) -> list[tuple[str, str, bool]]:
    return [(host.host, one.name, one.is_server) for host in seen for one in host.sets]


def _expected(fleet: Fleet) -> list[tuple[str, str, bool]]:
    return [
        (host.name, name, is_server)
        for host in fleet.hosts
        for name, is_server in [
            *((host.server_name, True) for _ in host.services),
            *((client.name, False) for client in host.clients),
        ]
    ]


def test_a_host_that_does_not_answer_is_named_and_the_others_are_seen(host: Site) -> None:
    """An unreachable host is part of the answer."""
    host.hosts["away.example"] = {
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,
        "rechain_clients": [CLIENT],
        "rechain_services": [],
    }
    seen = _look(host)
    assert "does not answer" in (seen["away.example"].problem or "")
    assert seen[HOST].problem is None
    assert seen[HOST].sets


def test_the_clock_of_this_machine_is_right(host: Site) -> None:
    """The host is this machine, so there is no difference to be sure of."""
    assert _look(host)[HOST].clock_ahead_s == pytest.approx(0, abs=1)


@pytest.mark.parametrize(("clock", "ahead"), [(100.0, 0.0), (103.0, 0.0), (105.0, 0.0), (65.0, -35.0), (405.0, 300.0)])
def test_a_clock_is_wrong_only_as_far_as_that_is_certain(clock: float, ahead: float) -> None:
    """Asked at 100, heard at 105: whatever lies between may have been right."""
    assert clock_ahead_s(clock, 100.0, 105.0) == ahead


def test_a_directory_in_place_of_a_file_is_told(host: Site) -> None:
    """Nothing stops at it."""
    (host.pki / "root.crt").unlink()
    (host.pki / "root.crt").mkdir()
    one = _set(host)
    assert one.ca.problem == "is no file"
    assert one.cert.problem is None


def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(host: Site) -> None:
    """Whoever owns the directory could put one there."""
    (host.pki / "root.crt").unlink()
    os.mkfifo(host.pki / "root.crt")
    assert _set(host).ca.problem == "is no file"


def test_a_file_that_its_owner_can_not_read_is_told(host: Site) -> None:
    """Root can read anything; what counts is whether the service's user can."""
    (host.pki / "root.crt").chmod(0)
    (problem,) = restart_problems(_set(host))
    assert "root.crt" in problem
    assert "can't" in problem


def test_a_key_in_a_public_file_never_leaves_its_host(host: Site) -> None:
    """Not under its own label, not under a wrong one: in no answer, file, command line or environment of the run."""
    key = host.old.server.key_pem
    mislabelled = key.replace("PRIVATE KEY", "CERTIFICATE")
    host.put(host.pki, {"root.crt": key + host.old.authority.client_bundle + mislabelled, "a.crl": key})
    needles = key.splitlines()[1:-1]
    with Search(needles, host.home) as search:
        seen = _look(host)
    assert len(seen[HOST].sets[0].ca_text.certificates) == 2
    assert search.looks > 2
    assert not search.found
    assert not [needle for needle in needles if needle in repr(seen)]


def test_bundles_may_be_long(host: Site) -> None:
    """An organisation's own CAs, a thousand of them, all arrive."""
    host.put(host.pki, {"root.crt": host.old.authority.root.value.pem * 1000})
    text = _set(host).ca_text
    assert (len(text.certificates), text.problem) == (1000, None)


def test_a_broken_block_hides_no_other(host: Site) -> None:
    """The certificates that can be read are seen, and that one can't be is told."""
    bundle = (host.pki / "root.crt").read_text()
    garbage = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
    host.put(host.pki, {"root.crt": bundle + garbage})
    text = _set(host).ca_text
    assert text.certificates == read_certificates(bundle, "root.crt")
    assert text.problem


def test_a_file_that_is_too_large_is_told(host: Site) -> None:
    """Nobody sends a log file over because it was called root.crt."""
    host.put(host.pki, {"root.crt": "x" * (1024 * 1024 + 1)})
    assert _set(host).ca_text.problem == "is larger than 1 MiB, and was not looked at"


def test_revocation_lists_beside_the_bundle_are_seen(host: Site) -> None:
    """Who issued them and when they end."""
    host.put(host.pki, {"root.crl": host.old.authority.empty_crl(), "other.crl": "nothing"})
    other, root = _set(host).crls
    assert root.crls[0].issuer == host.old.authority.root.value.subject
    assert Path(root.path).name == "root.crl"
    assert other.problem == "holds no PEM revocation list"


def test_texts_know_what_they_are_for(host: Site) -> None:
    """A server's root.crt is the client bundle, a client's the server bundle."""
    host.add_client_host("app1.example")
    seen = _look(host)
    server, client = seen[HOST].sets[0], seen["app1.example"].sets[0]
    assert (server.cert_text.use, server.ca_text.use) == (Use.SERVER_LEAF, Use.CLIENT_BUNDLE)
    assert (client.cert_text.use, client.ca_text.use) == (Use.CLIENT_LEAF, Use.SERVER_BUNDLE)
