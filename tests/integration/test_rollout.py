"""Many hosts: order, batches, what stops a run, what ends one, and where keys are while it runs."""

from __future__ import annotations

import base64
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from rechain.errors import RollOutFailed
from tasks.fleet.playbook import scrubbed_environment
from tasks.fleet.rollout import HostEvent, Outcome, command_line, raise_for, roll_out
from tasks.playbooks.module_utils.rechain_redact import redact
from tasks.repository.settings import Playbook
from tests.by_hand import by_hand
from tests.plugins.site import CLIENT, ENVIRONMENT, HOST, Site
from tests.search import MEMORY, Search


@pytest.fixture
def fleet(fresh_site: Site) -> Site:
    """Three client hosts and the server's, with the next generation in the repository."""
    for name in ("app1", "app2", "app3"):
        fresh_site.add_client_host(name)
    fresh_site.deploy(fresh_site.new)
    return fresh_site


def unreachable(made: Site) -> dict[str, object]:
    """A host that refuses connections."""
    return made.variables("app2") | {
        "ansible_connection": "ssh",
        "ansible_host": made.server.address,
        "ansible_port": 1,
        "ansible_ssh_timeout": 3,
    }


def outcomes(made: Site, hosts: Iterable[str], **given: int) -> list[tuple[str, str]]:
    """Roll out, and each host with its outcome, in order."""
    return [(each.host, each.outcome.value) for each in made.roll_out(list(hosts), **given).hosts]


def client_certificate(made: Site, host: str) -> str:
    """What a client host holds."""
    return (made.home / "hosts" / host / "postgresql" / "postgresql.crt").read_text("ascii")


def test_hosts_are_taken_in_the_order_given(fleet: Site) -> None:
    """One after the other, whatever the inventory's order; progress is told as it happens."""
    events: list[HostEvent] = []
    fleet.write_inventory()
    hosts = ["app3", "app1", "app2"]
    result = roll_out(
        fleet.root, ENVIRONMENT, hosts=hosts, claim=1, phase="overlap", timeout_s=60, on_event=events.append
    )
    assert [each.host for each in result.hosts] == hosts
    assert [(each.host, each.kind) for each in events] == [(h, k) for h in hosts for k in ("started", "finished")]
    assert str(events[1]) == "app3: installed"
    raise_for(result)


def test_a_host_that_does_not_answer_is_named_and_stops_the_run(fleet: Site) -> None:
    """Hosts before it have the new set, hosts after it the old one; back again, it continues."""
    reachable = fleet.hosts["app2"]
    fleet.hosts["app2"] = unreachable(fleet)
    result = fleet.roll_out(["app1", "app2", "app3"])
    with pytest.raises(RollOutFailed) as failed:
        raise_for(result)
    assert failed.value.where == "app2"
    assert "onnection refused" in failed.value.what
    assert "not reached: app3" in failed.value.what
    assert [client_certificate(fleet, host) == fleet.new.client.chain_pem for host in ("app1", "app3")] == [True, False]
    fleet.hosts["app2"] = reachable
    again = outcomes(fleet, ["app1", "app2", "app3"])
    assert again == [("app1", "unchanged"), ("app2", "installed"), ("app3", "installed")]


def test_the_first_batch_with_a_failure_is_the_last(fleet: Site) -> None:
    """Its other hosts are finished, later batches are not begun."""
    fleet.hosts["app2"] = unreachable(fleet)
    found = outcomes(fleet, ["app2", "app1", "app3", HOST], batch=2)
    assert found == [("app2", "unreachable"), ("app1", "installed"), ("app3", "not_reached"), (HOST, "not_reached")]


@pytest.mark.parametrize("with_theirs", [False, True])
def test_batches_may_be_of_different_sizes(theirs: Site, *, with_theirs: bool) -> None:
    """A primary's is a batch of its own: the standbys' failed, so it is not begun; with the users' playbook, too."""
    theirs.hosts["app2"] = unreachable(theirs) | {"does": "nothing"}
    theirs.write_inventory()
    playbook = Playbook(path="rollout_new_certs.yml", tags=("certs",)) if with_theirs else None
    result = roll_out(
        theirs.root, ENVIRONMENT, hosts=["app3", "app1", "app2", HOST], claim=1, phase="overlap", batch=[1, 2, 1],
        timeout_s=60, settings_playbook=playbook,
    )  # fmt: skip
    done = "unchanged" if with_theirs else "installed"
    assert [each.outcome.value for each in result.hosts] == [done, done, "unreachable", "not_reached"]
    theirs.hosts["app2"] = theirs.variables("app2", does="nothing")
    theirs.hosts["app1"]["does"] = "fail"
    theirs.hosts["app1"]["rechain_clients"][0]["owner"] = "nobody-of-that-name"  # type: ignore[index]
    theirs.write_inventory()
    result = roll_out(
        theirs.root, ENVIRONMENT, hosts=["app1", "app3", "app2"], claim=1, phase="overlap", batch=[1, 2],
        timeout_s=60, settings_playbook=playbook,
    )  # fmt: skip
    assert [each.outcome.value for each in result.hosts] == ["failed", "not_reached", "not_reached"]


def test_a_host_that_fails_stops_the_run_as_well(fleet: Site) -> None:
    """What it said is in the error, with its name."""
    fleet.hosts["app1"]["rechain_clients"][0]["owner"] = "nobody-of-that-name"  # type: ignore[index]  # the list is ours
    result = fleet.roll_out(["app1", "app2"])
    assert [each.outcome for each in result.hosts] == [Outcome.FAILED, Outcome.NOT_REACHED]
    with pytest.raises(RollOutFailed, match=r"^app1: .*owner nobody-of-that-name does not exist on this host"):
        raise_for(result)


def test_inventory_variables_may_be_templates_and_have_pgvillages_defaults(fleet: Site) -> None:
    """Ansible evaluates them; clients come from `chainsmith_users` of the host's groups."""
    fleet.hosts["app1"] |= {"folder": "hosts/app1/postgresql", "base": str(fleet.home)}
    fleet.hosts["app1"]["rechain_clients"][0]["cert_dir"] = "{{ base }}/{{ folder }}"  # type: ignore[index]
    assert outcomes(fleet, ["app1"]) == [("app1", "installed")]
    del fleet.hosts["app2"]["rechain_clients"]
    fleet.hosts["app2"]["chainsmith_users"] = {"all": [CLIENT, "no-certificate"], "elsewhere": ["other"], "none": None}
    message = fleet.roll_out(["app2"]).hosts[0].message
    assert message.endswith(f"cert_dir ~{CLIENT}/.postgresql: there is no such user on this host")


def test_a_wrong_vault_password_is_an_error_about_no_host(fleet: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was reached, and Ansible's own words say why."""
    wrong = fleet.home / "wrong"
    wrong.write_text("wrong\n")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(wrong))
    result = fleet.roll_out(["app1"])
    assert not result.is_done
    with pytest.raises(RollOutFailed, match=r"(?i)decrypt"):
        raise_for(result)


def test_a_host_that_the_inventory_lacks_is_not_taken_for_done(fleet: Site) -> None:
    """Ansible itself only warns."""
    with pytest.raises(RollOutFailed, match="not reached: ghost"):
        raise_for(fleet.roll_out(["ghost"]))


def test_a_run_without_hosts_does_nothing(fleet: Site) -> None:
    """It is done at once."""
    started = time.monotonic()
    assert fleet.roll_out([]).is_done
    assert time.monotonic() - started < 0.5


def test_the_time_limit_ends_ansible_and_tells_what_was_under_way(fleet: Site) -> None:
    """What the host that it worked on has is not known, the next was not reached and is not begun later either."""
    fleet.hosts["app1"]["rechain_clients"][0]["reload"] = "sleep 15"  # type: ignore[index]
    result = fleet.roll_out(["app1", "app2"], timeout_s=10)
    assert [each.outcome for each in result.hosts] == [Outcome.UNKNOWN, Outcome.NOT_REACHED]
    with pytest.raises(RollOutFailed, match=r"app1: .*did not end within 10 s.*; not reached: app2"):
        raise_for(result)
    _wait(lambda: not _processes("install.yml", str(fleet.root)), 60)
    assert client_certificate(fleet, "app2") == fleet.old.client.chain_pem


def test_a_host_has_a_time_limit_of_its_own(fleet: Site) -> None:
    """One that hangs holds nobody up for as long as all of them may take."""
    fleet.hosts["app1"]["rechain_clients"][0]["reload"] = "sleep 30"  # type: ignore[index]
    fleet.hosts["app1"]["rechain_host_timeout"] = 4
    started = time.monotonic()
    result = fleet.roll_out(["app1", "app2"])
    assert [each.outcome for each in result.hosts] == [Outcome.UNKNOWN, Outcome.NOT_REACHED]
    assert time.monotonic() - started < 25
    assert result.ledger() == "unknown: app1; not started: app2"
    with pytest.raises(RollOutFailed, match="it looks at the host before it acts"):
        raise_for(result)


def test_what_a_reload_may_take_is_the_host_s(fleet: Site) -> None:
    """As inventory variables: a cluster manager may take its time."""
    fleet.hosts["app1"]["rechain_clients"][0]["reload"] = "sleep 3"  # type: ignore[index]
    fleet.hosts["app1"]["rechain_reload_timeout"] = 1
    with pytest.raises(RollOutFailed, match="its reload command did not end within 1 s"):
        raise_for(fleet.roll_out(["app1"]))


_SCRIPT = """
import sys
import tempfile
from pathlib import Path
from tasks.fleet.rollout import roll_out
def tell(left):
    print(left.ledger(), flush=True)
roll_out(
    Path(sys.argv[1]), "test", hosts=["app3", "app1", "app2"], claim=1, phase="overlap", timeout_s=60, on_cut=tell
)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ansible_ends_with_the_run_that_started_it(fleet: Site, number: signal.Signals) -> None:
    """Ctrl-C, an orderly end and a sudden one: nobody goes on to the next host, and Ctrl-C says what is where."""
    begun = fleet.home / "begun"
    begun.unlink(missing_ok=True)
    fleet.hosts["app1"]["rechain_clients"][0]["reload"] = f"touch {begun}; sleep 8"  # type: ignore[index]
    fleet.write_inventory()
    run = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(fleet.root)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    _wait(begun.exists, 60)
    run.send_signal(number)
    said, _ = run.communicate(timeout=60)
    assert run.returncode != 0
    is_heard = number is signal.SIGINT  # the others end a plain process at once; in a flow they are exceptions, too
    assert said == ("done: app3; unknown: app1; not started: app2\n" if is_heard else "")
    _wait(lambda: not _processes("install.yml", str(fleet.root)), 60)
    assert client_certificate(fleet, "app2") == fleet.old.client.chain_pem


_CONFIGURATION = """
[defaults]
roles_path = deep/down
log_path = ansible.log
ask_vault_pass = True
[privilege_escalation]
become_ask_pass = True
[connection]
ask_pass = True
"""
_THEIRS = """
- hosts: all
  gather_facts: false
  tasks:
    - command: "true"
      changed_when: "{{ does == 'change' }}"
      tags: [certs]
    - command: "false"
      ignore_errors: true
      changed_when: false
      when: does == 'ignore'
      tags: [certs]
    - fail: {msg: "it broke on {{ inventory_hostname }}"}
      when: does == 'fail'
      tags: [certs]
    - fail: {msg: another tag's}
      tags: [other]
  roles:
    - {role: copies, tags: [certs]}
"""


@pytest.fixture
def theirs(fleet: Site) -> Site:
    """A repository with the users' own playbook, whose roles only their ansible.cfg can find."""
    (fleet.root / "rollout_new_certs.yml").write_text(_THEIRS)
    (fleet.root / "ansible.cfg").write_text("[defaults]\nroles_path = deep/down\n")
    role = fleet.root / "deep" / "down" / "copies" / "tasks"
    role.mkdir(parents=True)
    task = {"copy": {"dest": "{{ target }}", "content": "{{ certs.client.app }}"}, "when": "target is defined"}
    (role / "main.yml").write_text(yaml.safe_dump([task]))
    for host, does in {"app1": "nothing", "app2": "ignore", "app3": "nothing", HOST: "change"}.items():
        fleet.hosts[host]["does"] = does
    return fleet


def test_the_users_own_playbook_stands_in(theirs: Site) -> None:
    """Their tags, their ansible.cfg, the certificates of the repository; per host what Ansible counted.

    Nobody answers what ansible.cfg would have asked, and nothing is written where it would have a log.
    """
    (theirs.root / "ansible.cfg").write_text(_CONFIGURATION)
    target = theirs.home / "hosts" / "app1" / "copied.crt"
    theirs.hosts["app1"]["target"] = str(target)
    theirs.write_inventory()
    playbook = Playbook(path="rollout_new_certs.yml", tags=("certs",))
    result = roll_out(
        theirs.root, ENVIRONMENT, hosts=["app1", "app2", HOST], claim=1, phase="overlap", batch=2, timeout_s=60,
        settings_playbook=playbook,
    )  # fmt: skip
    assert [each.outcome.value for each in result.hosts] == ["installed", "unchanged", "installed"]
    assert target.read_text() == theirs.new.client.chain_pem
    assert client_certificate(theirs, "app2") == theirs.old.client.chain_pem
    assert not (theirs.root / "ansible.log").exists(), "without no_log a key would stand in it"


def test_the_users_own_playbook_stops_where_it_fails(theirs: Site) -> None:
    """A host that failed or did not answer ends it with its batch."""
    theirs.hosts["app1"]["does"] = "fail"
    theirs.hosts["app2"] = unreachable(theirs) | {"does": "nothing"}
    theirs.write_inventory()
    playbook = Playbook(path="rollout_new_certs.yml", tags=("certs",))
    result = roll_out(
        theirs.root, ENVIRONMENT, hosts=["app1", "app2", "app3"], claim=1, phase="overlap", batch=2, timeout_s=60,
        settings_playbook=playbook,
    )  # fmt: skip
    assert [each.outcome.value for each in result.hosts] == ["failed", "unreachable", "not_reached"]
    assert result.hosts[0].message == "it broke on app1"


def test_the_line_that_deploys_a_phase_by_hand_does(theirs: Site, tmp_path: Path) -> None:
    """Pasted into a shell elsewhere: ours installs, in order, and shows the hosts the claim; theirs is limited."""
    theirs.write_inventory()
    hosts = ["app3", "app1"]
    ended = by_hand(command_line(theirs.root, ENVIRONMENT, hosts, "overlap", claim=5), tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert re.findall(r"changed: \[(\w+)\]", ended.stdout) == hosts
    assert "PRIVATE" not in ended.stdout + ended.stderr
    assert outcomes(theirs, ["app1"], claim=4) == [("app1", "refused_claim")]
    playbook = Playbook(path="rollout_new_certs.yml", tags=("certs",))
    line = command_line(theirs.root, ENVIRONMENT, hosts, "overlap", settings_playbook=playbook)
    assert line == (
        f"cd {theirs.root} && ansible-playbook -i environments/test/hosts --limit app3,app1 --tags certs"
        " rollout_new_certs.yml"
    )


def test_no_key_leaves_its_host_in_a_message(theirs: Site, tmp_path: Path) -> None:
    """Ansible, which writes what it is told to files and shows it, is told nothing of a key that a command printed."""
    key = theirs.home / "hosts" / "app1" / "postgresql" / "postgresql.key"
    theirs.hosts["app1"]["rechain_clients"][0]["reload"] = f"cat {key}; exit 5"  # type: ignore[index]
    theirs.write_inventory()
    ended = by_hand(command_line(theirs.root, ENVIRONMENT, ["app1"], "overlap"), tmp_path)
    assert "its reload command ended with status 5: (removed)" in ended.stdout
    said = ended.stdout + ended.stderr
    assert not [line for line in needles(theirs) if line in said]


def needles(made: Site) -> list[str]:
    """Lines of the keys that are rolled out, as they are in the vault and as base64 of that."""
    lines = [line for key in (made.new.server.key_pem, made.new.client.key_pem) for line in key.splitlines()[1:-1]]
    return [*lines, *(base64.b64encode(line.encode()).decode().rstrip("=") for line in lines)]


@pytest.mark.parametrize("ends", ["done", "failed"])
def test_no_key_is_anywhere_but_on_its_host(fleet: Site, ends: str) -> None:
    """Not while it runs, not afterwards: no file in memory or in temporary places, no command line, no event."""
    listing = fleet.home / "listing"
    reload = f"sleep 1; find $(dirname $ANSIBLE_LOCAL_TEMP) -type f > {listing}" + (
        "" if ends == "done" else "; exit 1"
    )
    fleet.hosts["app1"]["rechain_clients"][0]["reload"] = reload  # type: ignore[index]
    heard: list[str] = []
    fleet.write_inventory()
    with Search(needles(fleet), fleet.home) as search:
        result = roll_out(
            fleet.root, ENVIRONMENT, hosts=[HOST, "app1"], claim=1, phase="overlap", timeout_s=60,
            on_event=lambda event: heard.append(repr(event)),
        )  # fmt: skip
    assert [each.is_done for each in result.hosts] == [True, ends == "done"]
    assert search.looks > 2
    assert not search.found
    assert not [needle for needle in needles(fleet) if needle in "".join(heard) + repr(result)]
    there = fleet.new if ends == "done" else fleet.old
    assert client_certificate(fleet, "app1") == there.client.chain_pem
    during = listing.read_text().splitlines()
    assert any(line.startswith(f"{MEMORY}/rechain-keys-") for line in during)
    assert not [line for line in during if "job_events" in line or line.endswith(("/command", "/stdout"))]


@pytest.mark.parametrize("place", ["memory", "ansible's", "command line", "environment"])
def test_the_search_finds_a_key_in_every_place(fleet: Site, place: str) -> None:
    """A search that can't fail proves nothing."""
    needle = needles(fleet)[0]
    directory = {"memory": MEMORY, "ansible's": Path.home() / ".ansible"}.get(place)
    with Search([needle], fleet.home) as search:
        if directory:
            planted = directory / "planted" / "deep"
            planted.mkdir(parents=True)
            (planted / "file").write_text(f"x{needle}x")
            search.look()
            shutil.rmtree(planted.parent)
        else:
            shown = ([needle], {}) if place == "command line" else ([], {"KEY": needle})
            with subprocess.Popen(
                [sys.executable, "-c", "import time; time.sleep(20)", *shown[0]], env=shown[1]
            ) as held:
                time.sleep(0.2)
                search.look()
                held.kill()
    assert search.found


def test_ansible_gets_no_token_of_anybody_else(fleet: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from a reload command on a local host; what is needed and what is named passes."""
    seen = fleet.home / "environment"
    for name in ("SLACK_TOKEN", "PREFECT_API_KEY", "MY_SCRIPT_NEEDS"):
        monkeypatch.setenv(name, "sentinel")
    monkeypatch.setenv("RECHAIN_ANSIBLE_ENVIRONMENT", "MY_SCRIPT_NEEDS")
    fleet.hosts["app1"]["rechain_clients"][0]["reload"] = f"env > {seen}"  # type: ignore[index]
    assert outcomes(fleet, ["app1"]) == [("app1", "installed")]
    names = {line.split("=", 1)[0] for line in seen.read_text().splitlines()}
    assert {"PATH", "ANSIBLE_VAULT_PASSWORD_FILE", "MY_SCRIPT_NEEDS"} <= names
    assert not {"SLACK_TOKEN", "PREFECT_API_KEY"} & names
    assert scrubbed_environment({"LC_ALL": "C", "X": "1"}) == {"LC_ALL": "C"}


def test_what_other_programs_say_is_passed_on_without_keys(fleet: Site) -> None:
    """A users' playbook may print anything."""
    key = fleet.new.server.key_pem
    assert redact(f"before {key}after") == "before (removed)\nafter"
    assert not [line for line in key.splitlines()[1:-2] if line in redact("\n".join(key.splitlines()[1:]))]
    assert redact("\x1b[0;31mplain words\x1b[0m") == "plain words"


def _processes(*words: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(line)
    return found


def _wait(condition: object, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
