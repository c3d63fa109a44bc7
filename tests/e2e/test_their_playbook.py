"""The users' own roll-out playbook, careless as playbooks are, deploys every phase; no key gets into a record."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.environment import ENVIRONMENT
from tests.needles import Needles
from tests.places import MEMORY, TEMPORARY, files, prefect_answers, shared
from tests.plugins.desk import WAITING, Desk
from tests.vaults import vaulted_keys

# In the shape of pgvillage's rollout_new_certs.yml: loops over entries that hold keys, and nothing has `no_log`.
_PLAYBOOK = """\
- hosts: hacluster
  gather_facts: false
  tags: [certs]
  tasks:
    - name: Certificates of the server
      ansible.builtin.copy:
        dest: "{{ rechain_services[0].cert_dir }}/{{ item.name }}"
        content: "{{ item.content }}"
        owner: "{{ rechain_services[0].owner }}"
        mode: "{{ item.mode }}"
      loop:
        - {name: root.crt, mode: "0644", content: "{{ certs.client.chain }}"}
        - {name: server.crt, mode: "0644", content: "{{ certs.server[inventory_hostname] }}"}
        - {name: server.key, mode: "0600", content: "{{ private_keys.server[inventory_hostname] }}"}
      notify: reload
    - name: Certificates of clients
      ansible.builtin.copy:
        dest: "{{ item.0.cert_dir }}/{{ item.1.name }}"
        content: "{{ item.1.content if item.1.content else certs.client[item.0.name] if item.1.name.endswith('crt')
          else private_keys.client[item.0.name] }}"
        owner: "{{ item.0.owner }}"
        mode: "{{ item.1.mode }}"
      loop: "{{ rechain_clients | product(files) | list }}"
      vars:
        files:
          - {name: root.crt, mode: "0644", content: "{{ certs.server.chain }}"}
          - {name: postgresql.crt, mode: "0644", content: ""}
          - {name: postgresql.key, mode: "0600", content: ""}
  handlers:
    - name: reload
      ansible.builtin.shell: "{{ rechain_services[0].reload }}"
"""


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_every_phase_is_deployed_by_their_playbook_and_no_key_is_told(
    new_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    """From the same two files; what Ansible says of its loops, keys among it, is in no log, event, result or output."""
    started = time.time()
    desk = new_desk()
    lab, root = desk.lab, desk.lab.repository.root
    (root / "rollout_new_certs.yml").write_text(_PLAYBOOK)
    with (root / "rechain.yml").open("a") as settings:
        settings.write("playbook: {path: rollout_new_certs.yml, tags: [certs]}\n")
    keys = vaulted_keys(lab)

    refused = desk.run("refresh", ENVIRONMENT, "--yes", expect=2)
    assert "--accept-non-atomic" in refused.stderr
    said = [_refresh(desk, "--until", "overlap"), _refresh(desk, expect=WAITING)]
    desk.trust()
    said.append(_refresh(desk, "--until", "clients"))
    lab.owner.take_delivery()
    desk.approve("clients")
    keys |= vaulted_keys(lab)
    said.append(_refresh(desk))
    assert desk.status()["phase"] == "retired"
    desk.run("verify", ENVIRONMENT)

    needles = Needles(keys)
    home, api = Path(desk.environment["PREFECT_HOME"]), desk.environment["PREFECT_API_URL"]
    places = [
        *(("output", text.encode()) for text in said),
        *files(home, Path(desk.environment["RECHAIN_STATE_DIR"]), since=started),
        *files(*shared(MEMORY), *shared(TEMPORARY), since=started),
        *prefect_answers(api),
    ]
    assert [(name, where) for where, content in places for name in needles.find(content)] == []


def _refresh(desk: Desk, *options: str, expect: int = 0) -> str:
    done = desk.run("refresh", ENVIRONMENT, "--yes", "--accept-non-atomic", *options, expect=expect)
    return done.stdout + done.stderr
