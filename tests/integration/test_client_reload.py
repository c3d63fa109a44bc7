"""What has no endpoint is judged by its reload command: when that fails, its set goes back like a service's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.fleet.rollout import HostResult, Outcome
from tests.plugins.site import CLIENT, CLIENT_FILES, HOST, Site

APP = "app1"


@pytest.fixture
def host(fresh_site: Site) -> Site:
    """The site as it is at first, and a host with a client whose reload command is counted."""
    fresh_site.add_client_host(APP)
    says(fresh_site, "true")
    return fresh_site


def says(made: Site, command: str) -> None:
    """Have the client's reload command tell which certificate lies there, and then do something else."""
    seen = f"cat {directory(made)}/postgresql.crt >> {made.home}/hosts/{APP}/seen"
    made.hosts[APP]["rechain_clients"][0]["reload"] = f"{seen}; {command}"  # type: ignore[index]  # the list is ours


def directory(made: Site) -> Path:
    """The client's `cert_dir`."""
    return made.home / "hosts" / APP / "postgresql"


def texts(made: Site) -> dict[str, str]:
    """The client's files as it reads them."""
    return {name: (directory(made) / name).read_text("ascii") for name in CLIENT_FILES}


def seen(made: Site) -> str:
    """The certificates that its reload command has seen, one after the other."""
    path = made.home / "hosts" / APP / "seen"
    return path.read_text("ascii") if path.exists() else ""


def only(made: Site, name: str = APP) -> HostResult:
    """Roll out to one host."""
    return made.roll_out([name]).hosts[0]


def refuses(made: Site, what: str) -> str:
    """A command that fails as long as this certificate lies there."""
    refused = made.home / "refused.crt"
    refused.write_text(what, "ascii")
    return f"if cmp -s {refused} {directory(made)}/postgresql.crt; then echo bad chain; exit 3; fi"


def test_a_client_that_refuses_its_files_gets_the_previous_ones_back(host: Site) -> None:
    """Its command runs again on them, the message says so, and nothing is left to do on the host."""
    says(host, refuses(host, host.new.client.chain_pem))
    host.deploy(host.new)
    result = only(host)
    assert result.outcome is Outcome.FAILED
    assert f"client {CLIENT}: its reload command ended with status 3: bad chain" in result.message
    assert result.message.endswith("; the previous files are back and in use")
    assert result.changed_files == ()
    assert texts(host) == host.old.client_texts
    assert seen(host) == host.new.client.chain_pem + host.old.client.chain_pem
    host.deploy(host.old)
    assert only(host).outcome is Outcome.UNCHANGED


def test_a_client_that_refuses_the_previous_files_too_is_said(host: Site) -> None:
    """They are back, and what it uses is not known: the next run has it read them again."""
    says(host, "exit 3")
    host.deploy(host.new)
    result = only(host)
    again = f"the previous files are back, but client {CLIENT}: its reload command ended with status 3"
    assert again in result.message
    assert texts(host) == host.old.client_texts
    host.deploy(host.old)
    says(host, "true")
    repeated = only(host)
    assert (repeated.outcome, repeated.changed_files) == (Outcome.INSTALLED, ())
    assert seen(host) == host.new.client.chain_pem + 2 * host.old.client.chain_pem
    assert only(host).outcome is Outcome.UNCHANGED


def test_the_services_of_its_directory_go_back_with_it(host: Site) -> None:
    """One rename holds all files of a directory; the server serves its previous leaf again."""
    server = host.hosts[HOST]
    names = {"cert": "app.crt", "key": "app.key", "ca": "servers.crt"}
    old = dict(zip(names.values(), host.old.client_texts.values(), strict=True))
    host.put(host.pki, old)
    server["rechain_clients"] = [
        {"name": CLIENT, "cert_dir": str(host.pki), "owner": host.account.name, **names, "reload": "exit 4"}
    ]
    host.deploy(host.new)
    result = only(host, HOST)
    assert f"the previous files are back, but client {CLIENT}" in result.message
    assert {name: (host.pki / name).read_text("ascii") for name in old} == old
    assert host.fingerprint() == host.old.server.value.fingerprint


def test_a_command_that_breaks_a_file_is_found(host: Site) -> None:
    """It ends with 0, and what lies there afterwards is not what was installed."""
    says(host, f"chmod 644 {directory(host)}/postgresql.key")
    host.deploy(host.new)
    result = only(host)
    assert "files or modes were changed after they were installed" in result.message
    assert texts(host) == host.old.client_texts


def test_the_first_files_of_a_client_stay(host: Site) -> None:
    """What can't be reloaded because it does not run yet could never start if they were taken away."""
    for name in CLIENT_FILES:
        (directory(host) / name).unlink()
    says(host, "echo not running; exit 5")
    host.deploy(host.new)
    result = only(host)
    assert "ended with status 5: not running; its files stay, as none were here before" in result.message
    assert texts(host) == host.new.client_texts
    assert "no previous ones are known" in only(host).message
    says(host, "true")
    assert only(host).outcome is Outcome.INSTALLED
    assert only(host).outcome is Outcome.UNCHANGED


def test_first_files_stay_where_another_reader_fails(host: Site) -> None:
    """The server of the same directory goes back to what it had; the new client keeps what it never had."""
    server = host.hosts[HOST]
    names = {"cert": "app.crt", "key": "app.key", "ca": "servers.crt"}
    server["rechain_clients"] = [
        {"name": CLIENT, "cert_dir": str(host.pki), "owner": host.account.name, **names, "reload": "true"}
    ]
    server["rechain_services"][0]["reload"] = "exit 4"  # type: ignore[index]
    host.deploy(host.new)
    assert only(host, HOST).outcome is Outcome.FAILED
    own = dict(zip(names.values(), host.new.client_texts.values(), strict=True))
    assert {name: (host.pki / name).read_text("ascii") for name in own} == own
    assert (host.pki / "server.crt").read_text("ascii") == host.old.server.chain_pem


def test_a_run_that_died_in_a_client_s_command_goes_back_to_what_was_before(host: Site) -> None:
    """What it had noted is enough for the next one."""
    says(host, "kill -9 $PPID")
    host.deploy(host.new)
    assert only(host).outcome is Outcome.FAILED
    assert texts(host) == host.new.client_texts
    says(host, refuses(host, host.new.client.chain_pem))
    assert "the previous files are back and in use" in only(host).message
    assert texts(host) == host.old.client_texts
