"""`rechain config`: the chain spec gains entries, and every other byte of what people wrote stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rechain.errors import InputError
from tasks.repository.spec_edit import add_clients, add_server
from tasks.repository.spec_file import read_spec

BLOCK = """\
# Our chain; ask the DBAs before you change it.
subject: {C: NL, O: Company, CN: postgres}   # one line

intermediates:
  - name: server
    keyUsages: [digitalSignature, keyEncipherment, dataEncipherment]
    servers:
      db1.example.com: [10.0.0.1]   # the first one
      db2.example.com:
        - 10.0.0.2

  - name: client
    clients:
    - postgres
    # what the application team asked for
    - "applicatie"   # theirs

# the end
"""
FLOW = """\
intermediates:
- {name: server, servers: {db1.example.com: [10.0.0.1]}}
- {name: client, clients: [postgres, applicatie]}  # all of them
"""
_RECHAIN = Path(sys.executable).with_name("rechain")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An environment repository with a chain spec alone."""
    (tmp_path / "environments" / "acc").mkdir(parents=True)
    (tmp_path / "config").mkdir()
    return tmp_path


def _write(root: Path, text: str) -> Path:
    path = root / "config" / "chainsmith_acc.yml"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BLOCK, BLOCK.replace("   # theirs\n", "   # theirs\n    - rapportage\n    - etl\n")),
        (FLOW, FLOW.replace("applicatie]", "applicatie, rapportage, etl]")),
        (FLOW.replace("applicatie]", "applicatie , ]"), FLOW.replace("applicatie]", "applicatie , rapportage, etl]")),
        (BLOCK.replace("\n", "\r\n"), None),
        (BLOCK[: BLOCK.index("\n\n# the end")], None),
    ],
    ids=["block", "flow", "comma", "windows", "no-newline"],
)
def test_clients_are_added_and_nothing_else_changes(root: Path, text: str, expected: str | None) -> None:
    """Comments, order, quotes and line ends stay; both are added or none."""
    path = _write(root, text)
    add_clients(root, "acc", ["rapportage", "etl"])
    assert read_spec(root, "acc").clients == ("postgres", "applicatie", "rapportage", "etl")
    written = path.read_bytes().decode()
    if expected is not None:
        assert written == expected
    else:
        added = [line for line in written.splitlines() if line.strip() in ("- rapportage", "- etl")]
        assert [line for line in written.splitlines() if line not in added] == text.splitlines()
        assert ("\r\n" in written) == ("\r\n" in text)


def test_a_link_stays_a_link(root: Path) -> None:
    """Environments that share a spec go on sharing it."""
    shared = root / "shared.yml"
    shared.write_text(BLOCK)
    (root / "config" / "chainsmith_acc.yml").symlink_to("../shared.yml")
    add_clients(root, "acc", ["etl"])
    assert (root / "config" / "chainsmith_acc.yml").is_symlink()
    assert "- etl" in shared.read_text()
    assert sorted(path.name for path in root.iterdir()) == ["config", "environments", "shared.yml"]


@pytest.mark.parametrize("text", [BLOCK, FLOW], ids=["block", "flow"])
def test_a_server_is_added_with_its_names(root: Path, text: str) -> None:
    """Its names and addresses go into its certificate."""
    path = _write(root, text)
    add_server(root, "acc", "db3.example.com", ["db3", "10.0.0.3", "fd00::3"])
    spec = read_spec(root, "acc")
    assert spec.servers["db3.example.com"] == ("db3", "10.0.0.3", "fd00::3")
    assert spec.servers["db1.example.com"] == ("10.0.0.1",)
    added = [line for line in path.read_text().splitlines() if line not in text.splitlines()]
    assert len(added) == 1


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["applicatie"], "has client applicatie already"),
        (["etl", "etl"], "has client etl already"),
        (["etl", "a" * 65], "64"),
        ([""], "client"),
    ],
)
def test_a_client_that_can_not_be_added_changes_nothing(root: Path, names: list[str], says: str) -> None:
    """It says where and why, and the file is as it was."""
    path = _write(root, BLOCK)
    with pytest.raises(InputError, match=says) as refused:
        add_clients(root, "acc", names)
    assert "chainsmith_acc.yml" in str(refused.value)
    assert path.read_text() == BLOCK
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_spec_whose_servers_are_an_inventory_s_is_refused_with_the_way_out(root: Path) -> None:
    """The inventory is where servers are added there."""
    _write(root, "intermediates:\n- {name: server, hosts: environments/acc/hosts}\n- {name: client, clients: [a]}\n")
    (root / "environments" / "acc" / "hosts").write_text("db1.example.com\n")
    with pytest.raises(InputError, match="no `servers` of its own"):
        add_server(root, "acc", "db3.example.com", [])


def test_the_command_says_what_to_do_next_and_what_java_would_refuse(root: Path) -> None:
    """Exit 0 with the next command; exit 2 and one line for what it can't do."""
    _write(root, BLOCK.replace(", dataEncipherment", ""))
    command = [str(_RECHAIN), "config", "add-client", "acc", "etl", "--repo", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "rechain refresh acc --strategy add-clients" in done.stdout
    assert "dataEncipherment" in done.stderr
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
