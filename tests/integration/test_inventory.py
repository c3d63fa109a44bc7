"""Inventories through the real ansible-inventory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rechain.errors import InventoryError, RepositoryError
from rechain.fleet import Endpoint, Fleet, Host, ServiceKind
from rechain.scan.seen import listeners
from tasks.fleet import inventory
from tasks.fleet.inventory import inventory_path, read_fleet
from tasks.repository.programs import Finished, run
from tasks.repository.vault import encrypt
from tests.environments import CLIENTS, SERVERS, Environment, tree

PGVILLAGE = """\
---
all:
  children:
    stolon: {children: {hacluster: {}}}
    hacluster:
      hosts:
        db-1.local: {ansible_host: 172.30.1.31}
        db-2.local: {ansible_host: 172.30.1.32}
    backup:
      hosts:
        minio.local: {ansible_host: 172.30.1.20}
  hosts:
    localhost: {ansible_connection: local, ansible_python_interpreter: "{{ansible_playbook_python}}"}
  vars:
    ansible_user: vagrant
    chainsmith_nodes: "{{ groups.hacluster | map('extract', hostvars, ['ansible_facts', 'fqdn']) | list }}"
    chainsmith_users:
      hacluster: [postgres, avchecker]
      stolon: [pgquartz, postgres]
      backup: [minio]
      router: [pgroute66]
"""


@pytest.fixture
def fleet_of(closed_environment: Environment) -> Callable[..., Fleet]:
    """Reads the fleet of an inventory given as text; `variables` go to group_vars/all/site.yml."""

    def read(
        hosts: str, variables: str = "", *, clients: tuple[str, ...] = CLIENTS, servers: tuple[str, ...] = SERVERS
    ) -> Fleet:
        (closed_environment.folder / "hosts").write_text(hosts)
        (closed_environment.certs.parent / "site.yml").write_text(f"---\n{variables}")
        return read_fleet(closed_environment.root, "acc", clients, servers)

    return read


def _host(fleet: Fleet, name: str) -> Host:
    return next(host for host in fleet.hosts if host.name == name)


def test_a_pgvillage_inventory_needs_no_variable_of_ours(fleet_of: Callable[..., Fleet]) -> None:
    """Servers by the spec, managed clients by chainsmith_users of all of a host's groups, the rest is external."""
    clients = ("postgres", "avchecker", "pgquartz", "pgfga", "minio", "applicatie")
    fleet = fleet_of(PGVILLAGE, clients=clients, servers=("db-1.local", "db-2.local", "minio.local"))
    assert fleet.endpoints() == (
        Endpoint("db-1.local", "db-1.local", "172.30.1.31", 5432),
        Endpoint("db-2.local", "db-2.local", "172.30.1.32", 5432),
        Endpoint("minio.local", "minio.local", "172.30.1.20", 5432),
    )
    managed = {host.name: [client.name for client in host.clients] for host in fleet.hosts}
    assert managed == {
        "localhost": [],
        "db-1.local": ["postgres", "avchecker", "pgquartz"],
        "db-2.local": ["postgres", "avchecker", "pgquartz"],
        "minio.local": ["minio"],
    }
    assert fleet.external_clients == ("pgfga", "applicatie")
    assert [host.name for host in fleet.hosts if host.is_local] == ["localhost"]
    service, client = _host(fleet, "db-1.local").services[0], _host(fleet, "db-1.local").clients[0]
    assert (service.kind, service.cert_dir, service.owner) == (ServiceKind.POSTGRESQL, "/etc/pki/postgres", "postgres")
    assert (service.cert, service.key, service.ca, service.log) == ("server.crt", "server.key", "root.crt", None)
    assert (service.reload, service.restart) == ("systemctl reload postgresql", "systemctl restart postgresql")
    assert (client.cert_dir, client.owner, client.reload) == ("~postgres/.postgresql", "postgres", None)
    assert (client.cert, client.key, client.ca) == ("postgresql.crt", "postgresql.key", "root.crt")


def test_everything_can_be_said_by_variables(fleet_of: Callable[..., Fleet]) -> None:
    """Each field of a service and of a client, ports and commands by kind, and a bare name for a plain client."""
    fleet = fleet_of(
        """\
all:
  hosts:
    vm7:
      rechain_server_name: pg1
      rechain_services:
        - {address: 127.0.0.7, port: 15432, cert_dir: /lab/pg1, owner: pg, cert: c, key: k, ca: a, reload: r,
           restart: s, log: /lab/pg1.log}
        - {kind: pgbouncer}
        - {kind: haproxy}
        - {kind: etcd}
        - {kind: files, cert_dir: /etc/agent, owner: agent, reload: tell it}
      rechain_clients:
        - applicatie
        - {name: postgres, cert_dir: /srv/pg, owner: root, cert: c, key: k, ca: a, reload: kick it}
"""
    )
    host = fleet.hosts[0]
    first, *others = host.services
    assert (first.address, first.port, first.cert_dir, first.owner) == ("127.0.0.7", 15432, "/lab/pg1", "pg")
    assert (first.cert, first.key, first.ca, first.reload, first.restart) == ("c", "k", "a", "r", "s")
    assert first.log == "/lab/pg1.log"
    assert [(service.kind, service.port, service.reload) for service in others] == [
        (ServiceKind.PGBOUNCER, 6432, "systemctl reload pgbouncer"),
        (ServiceKind.HAPROXY, 5000, "systemctl reload haproxy"),
        (ServiceKind.ETCD, 2379, "systemctl restart etcd"),
        (ServiceKind.FILES, None, "tell it"),
    ]
    assert [endpoint.port for endpoint in fleet.endpoints()] == [15432, 6432, 5000, 2379]
    assert fleet.endpoints(ServiceKind.FILES) == ()
    assert ServiceKind.FILES not in {listener.kind for listener in listeners(fleet)}
    assert {service.address for service in others} == {"vm7"}
    plain, given = host.clients
    assert (plain.name, plain.cert_dir) == ("applicatie", "~applicatie/.postgresql")
    assert (given.cert_dir, given.owner, given.cert, given.key, given.ca) == ("/srv/pg", "root", "c", "k", "a")
    assert given.reload == "kick it"
    assert fleet.external_clients == ()


@pytest.mark.parametrize(
    ("place", "hosts"),
    [("hosts", "pg1 ansible_host=192.0.2.9\n"), ("hosts.ini", "[db]\npg1\n"), ("hosts.yml", "all: {hosts: {pg1: }}\n")],
)
def test_inventory_files_of_every_kind(closed_environment: Environment, place: str, hosts: str) -> None:
    """INI or YAML, under the names that people use; group_vars beside them count."""
    (closed_environment.folder / "hosts").unlink()
    (closed_environment.folder / place).write_text(hosts)
    assert inventory_path(closed_environment.root, "acc") == closed_environment.folder / place
    assert [host.name for host in read_fleet(closed_environment.root, "acc", CLIENTS, SERVERS).hosts] == ["pg1"]


def test_an_inventory_that_is_a_folder(closed_environment: Environment) -> None:
    """Ansible reads all its files; with nothing of ours among them, and group_vars as ever."""
    (closed_environment.folder / "hosts").rename(closed_environment.folder / "10-static.yml")
    (closed_environment.folder / "20-more.ini").write_text("[pgnodes]\npg3\n")
    assert inventory_path(closed_environment.root, "acc") == closed_environment.folder
    fleet = read_fleet(closed_environment.root, "acc", CLIENTS, SERVERS)
    assert [host.name for host in fleet.hosts] == ["pg1", "pg2", "pg3"]
    assert fleet.managed_clients == ("postgres",)


def test_variables_come_from_wherever_ansible_takes_them(closed_environment: Environment) -> None:
    """group_vars of any group, host_vars, a linked folder, and group_vars beside the playbooks."""
    shared = closed_environment.root / "shared"
    shared.mkdir()
    (shared / "ports.yml").write_text("port_of_all: 6000\n")
    (closed_environment.folder / "group_vars" / "pgnodes").symlink_to(shared)
    (closed_environment.folder / "host_vars").mkdir()
    (closed_environment.folder / "host_vars" / "pg2.yml").write_text("rechain_services: [{port: 7000}]\n")
    (closed_environment.root / "group_vars").mkdir()
    beside = 'rechain_services: [{port: "{{ port_of_all }}"}]\n'
    (closed_environment.root / "group_vars" / "all.yml").write_text(beside)
    fleet = read_fleet(closed_environment.root, "acc", CLIENTS, SERVERS)
    assert [endpoint.port for endpoint in fleet.endpoints()] == [6000, 7000]


def test_plain_jinja_is_evaluated(fleet_of: Callable[..., Fleet]) -> None:
    """References to the host's variables, through several of them, to other hosts and to groups; types are kept."""
    fleet = fleet_of(
        """\
all:
  hosts:
    pg1: {ansible_host: "{{ net }}.1", port: 5433}
    pg2: {ansible_host: "{{ net }}.2", raw: !unsafe "{{ not a template"}
  vars:
    net: "{{ base }}.0"
    base: 10.0
""",
        """\
services_of_all:
  - port: "{{ port | default(5432) }}"
    cert_dir: "/srv/{{ inventory_hostname_short }}/{{ group_names | length }}"
    reload: "echo {{ hostvars[groups['all'][0]].ansible_host }}{% if 'x' in groups %}!{% endif %}"
rechain_services: "{{ services_of_all }}"
rechain_clients: ["{{ 'postgres' }}"]
""",
    )
    assert [(host.address, host.services[0].port) for host in fleet.hosts] == [("10.0.0.1", 5433), ("10.0.0.2", 5432)]
    assert [host.services[0].cert_dir for host in fleet.hosts] == ["/srv/pg1/1", "/srv/pg2/1"]
    assert {host.services[0].reload for host in fleet.hosts} == {"echo 10.0.0.1"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            'rechain_server_name: "{{ ansible_facts.fqdn }}"',
            "variable rechain_server_name: its Jinja can't be evaluated",
        ),
        ('rechain_server_name: "{{ a }}"\na: "{{ b }}"\nb: "{{ a }}"', "variable a: refers to itself"),
        ('rechain_server_name: "{{ {"', "variable rechain_server_name: its Jinja can't be evaluated"),
        ('rechain_server_name: "{{ 1 / 0 }}"', "its Jinja can't be evaluated here: ZeroDivisionError"),
        ("rechain_server_name: \"{{ ''.__class__.__mro__ }}\"", "its Jinja can't be evaluated"),
        ("rechain_services: [{port: many}]", "variable rechain_services[0].port: Input should be a valid integer"),
        ("rechain_services: [{port: 70000}]", "variable rechain_services[0].port: "),
        ("rechain_services: [{kind: mysql}]", "variable rechain_services[0].kind: Input should be 'postgresql'"),
        ("rechain_services: [{cert_dri: /x}]", "variable rechain_services[0].cert_dri: Extra inputs"),
        ("rechain_services: [{cert_dir: x}]", "variable rechain_services[0].cert_dir: "),
        (
            "rechain_services: [{kind: files}]",
            "variable rechain_services[0]: kind files is proven by its reload command alone: add `reload` (correct it",
        ),
        (
            "rechain_services: [{kind: files, reload: x, port: 1, address: y, log: /z, restart: s}]",
            "alone: remove address, port, restart, log (correct it",
        ),
        ("rechain_services: 5432", "variable rechain_services: "),
        ("rechain_clients: [{owner: x}]", "variable rechain_clients[0].name: Field required"),
        ("rechain_clients: [typo]", "variable rechain_clients: the chain spec names no client 'typo'"),
        ("rechain_server_name: pg9\nrechain_services: [{}]", "the chain spec names no server 'pg9'"),
        ("chainsmith_users: [postgres]", "variable chainsmith_users: "),
    ],
)
def test_a_variable_of_another_shape_is_refused_by_host_name_and_fix(
    fleet_of: Callable[..., Fleet], variables: str, message: str
) -> None:
    """One line that a person can act on; nothing is guessed."""
    with pytest.raises(InventoryError) as caught:
        fleet_of("all: {hosts: {pg1: }}\n", variables)
    assert message in str(caught.value)
    assert str(caught.value).startswith("host pg1, variable ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ("", "has no hosts"),
        ("all: [\n", "Failed to parse inventory"),
        ("all: {hosts: {}}\n", "has no hosts"),
    ],
)
def test_an_inventory_that_ansible_can_t_read_is_refused(
    fleet_of: Callable[..., Fleet], closed_environment: Environment, hosts: str, message: str
) -> None:
    """Ansible itself only warns and goes on with no hosts. The message names the real file."""
    with pytest.raises(InventoryError) as caught:
        fleet_of(hosts)
    assert message in str(caught.value)
    assert str(closed_environment.folder / "hosts") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "rechain-inventory" not in str(caught.value)


def test_an_unknown_environment_is_answered_with_the_known_ones(closed_environment: Environment) -> None:
    """As everywhere."""
    with pytest.raises(RepositoryError, match="environments there are: acc"):
        read_fleet(closed_environment.root, "prod", CLIENTS, SERVERS)


def test_the_vault_of_private_keys_is_never_opened(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """The inventory is read without its password, so Ansible can't have printed a key; nothing is left or changed."""
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE")
    scratch = environment.root.parent / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = tree(environment.root)
    assert len(read_fleet(environment.root, "acc", CLIENTS, SERVERS).hosts) == 2
    assert tree(environment.root) == before
    assert list(scratch.iterdir()) == []


def test_other_vaults_in_the_inventory_are_opened(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """People keep other secrets there; without the password the refusal says what is missing."""
    (environment.certs.parent / "other.yml").write_text(encrypt("rechain_services: [{port: 6001}]\n"))
    monkeypatch.chdir(environment.root.parent)
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", "vault-password")
    fleet = read_fleet(environment.root, "acc", CLIENTS, SERVERS)
    assert {endpoint.port for endpoint in fleet.endpoints()} == {6001}
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE")
    with pytest.raises(InventoryError, match=r"a vault beside it needs a password .export ANSIBLE_VAULT_PASSWORD_FILE"):
        read_fleet(environment.root, "acc", CLIENTS, SERVERS)


def test_the_repository_s_ansible_cfg_counts_from_anywhere(
    closed_environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An inventory may need the settings that its playbooks run with; the caller's folder does not matter."""
    (closed_environment.root / "ansible.cfg").write_text("[defaults]\nhash_behaviour = merge\n")
    (closed_environment.folder / "group_vars" / "pgnodes.yml").write_text("chainsmith_users: {all: [applicatie]}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "json")
    assert read_fleet(closed_environment.root, "acc", CLIENTS, SERVERS).external_clients == ()


def test_an_inventory_script_that_hangs_is_ended(
    closed_environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Dynamic inventories ask other machines; their silence has a limit."""
    (closed_environment.folder / "hosts").write_text("#!/bin/sh\nsleep 300\n")
    (closed_environment.folder / "hosts").chmod(0o755)
    monkeypatch.setattr(inventory, "_TIMEOUT_S", 3.0)
    with pytest.raises(RepositoryError, match="ansible-inventory: did not end within 3 s"):
        read_fleet(closed_environment.root, "acc", CLIENTS, SERVERS)


def test_a_dynamic_inventory_is_run(closed_environment: Environment) -> None:
    """An executable `hosts` that prints JSON, as Ansible has it."""
    script = closed_environment.folder / "hosts"
    script.write_text("""#!/bin/sh\necho '{"db": {"hosts": ["pg1"]}, "_meta": {"hostvars": {}}}'\n""")
    script.chmod(0o755)
    assert [host.name for host in read_fleet(closed_environment.root, "acc", CLIENTS, SERVERS).hosts] == ["pg1"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for each time that Ansible is asked."""
    times: list[object] = []

    def counted(command: list[str], **how: Any) -> Finished:
        times.append(command)
        return run(command, **how)

    monkeypatch.setattr(inventory, "run", counted)
    return times


@pytest.mark.parametrize(
    "place", ["hosts", "group_vars/all/site.yml", "group_vars/pgnodes.yml", "host_vars/pg1/a.yml", "../../ansible.cfg"]
)
def test_ansible_is_asked_again_when_a_file_has_changed(
    closed_environment: Environment, asked: list[object], place: str
) -> None:
    """Once as long as nothing changes; a file that is changed, made or removed is seen at once."""
    path = closed_environment.folder / place
    before = path.read_text() if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    for text, times in ((before, 1), (f"{before or ''}\n# changed\n", 2), (before, 2)):
        path.unlink(missing_ok=True) if text is None else path.write_text(text)
        fleets = [read_fleet(closed_environment.root, "acc", CLIENTS, SERVERS) for _ in range(2)]
        assert fleets[0] == fleets[1]
        assert len(asked) == times


def test_a_change_of_variables_is_in_the_next_answer(closed_environment: Environment, asked: list[object]) -> None:
    """Not the answer from before."""
    site = closed_environment.certs.parent / "site.yml"
    ports = []
    for port in (6001, 6002):
        site.write_text(f"rechain_services: [{{port: {port}}}]\n")
        ports += [
            endpoint.port for endpoint in read_fleet(closed_environment.root, "acc", CLIENTS, SERVERS).endpoints()
        ]
    assert ports == [6001, 6001, 6002, 6002]
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("name", "content", "mode"),
    [
        ("hosts", """#!/bin/sh\necho '{"db": {"hosts": ["pg1"]}, "_meta": {"hostvars": {}}}'\n""", 0o755),
        ("hosts.yml", "plugin: ansible.builtin.generator\nhosts: {name: pg1}\nlayers: {}\n", 0o644),
    ],
)
def test_who_asks_somebody_else_is_asked_every_time(
    closed_environment: Environment, asked: list[object], name: str, content: str, mode: int
) -> None:
    """A script or a plugin may answer otherwise though no file has changed."""
    (closed_environment.folder / "hosts").unlink()
    (closed_environment.folder / name).write_text(content)
    (closed_environment.folder / name).chmod(mode)
    for _ in range(2):
        assert [host.name for host in read_fleet(closed_environment.root, "acc", CLIENTS, SERVERS).hosts] == ["pg1"]
    assert len(asked) == 2


def test_an_answer_is_for_who_was_asked_about(closed_environment: Environment) -> None:
    """Other clients of the spec make another fleet of the same files."""
    assert read_fleet(closed_environment.root, "acc", (*CLIENTS, "new"), SERVERS).external_clients[-1] == "new"
    assert "new" not in read_fleet(closed_environment.root, "acc", CLIENTS, SERVERS).external_clients
