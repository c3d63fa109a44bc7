"""Must-show row 10: no private key is found anywhere, during and after a run that succeeds and one that fails."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab.environment import CLIENTS, ENVIRONMENT, EXTERNAL, SERVERS
from lab.fleet import Lab
from tests.inventories import set_reload
from tests.needles import Needles, lines, secret
from tests.outside_ca import OutsideCa
from tests.places import (
    KEY_DIRECTORIES,
    MEMORY,
    TEMPORARY,
    Content,
    Watch,
    ask,
    files,
    git_objects,
    prefect_answers,
    shared,
)
from tests.plugins.desk import Desk
from tests.vaults import vaulted_keys

_DECOY = "planted"
_LEAVES = len(SERVERS) + len(CLIENTS)
_CAS = 3


@dataclass(frozen=True)
class Scene:
    """A fleet, what runs on it, and every directory that is looked into."""

    desk: Desk
    home: Path
    outputs: Path
    decoy: str

    @property
    def lab(self) -> Lab:
        """The fleet."""
        return self.desk.lab

    @property
    def prefect(self) -> Path:
        """Prefect's directory: database, result storage, profiles."""
        return Path(self.desk.environment["PREFECT_HOME"])

    @property
    def api(self) -> str:
        """Prefect's API."""
        return self.desk.environment["PREFECT_API_URL"]

    @property
    def records(self) -> Path:
        """What rechain remembers of its runs."""
        return Path(self.desk.environment["RECHAIN_STATE_DIR"])

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Run a command and keep what it says; its stderr."""
        done = self.desk.run(*arguments, expect=expect)
        (self.outputs / f"{time.time_ns()}").write_text(done.stdout + done.stderr, "utf-8")
        return done.stderr


@pytest.mark.timeout(1200)
def test_no_key_is_found_anywhere(new_desk: Callable[..., Desk], tmp_path: Path) -> None:
    """Of either generation, in any form: not while it runs, not after success, not after a failure that prints a key.

    One more key is planted in every place that is searched, and is found in every one of them.
    """
    started = time.time()
    scene = _scene(new_desk(), tmp_path)
    lab = scene.lab
    lab.repository.commit("as it was before rechain")
    with _planted_meanwhile(scene):
        with Watch(started, (scene.home,)) as watch:
            keys = vaulted_keys(lab)
            keys |= _from_outside(scene, tmp_path)
            scene.run("generate", ENVIRONMENT)
            scene.run("refresh", ENVIRONMENT, "--yes", "--until", "overlap")
            scene.run("verify", ENVIRONMENT)
            scene.run("revoke", ENVIRONMENT, EXTERNAL, "--reason", "left", "--yes", expect=2)  # opens the CA keys first
            _fail_with_a_key_on_the_lips(scene)
        keys |= vaulted_keys(lab)
        assert len(keys) >= 2 * _LEAVES + _CAS
        needles = Needles({**keys, _DECOY: scene.decoy})
        _plant(scene)
        found = {place: _search(needles, contents) for place, contents in _places(scene, watch, started).items()}
    assert found == {place: {_DECOY} for place in found}
    _require_closed_directories(watch, needles)


def _from_outside(scene: Scene, home: Path) -> dict[str, str]:
    """Keys for an outside CA: made, used to judge what came back, and dropped again, with those of our own side."""
    authority, requests = OutsideCa.root(home / "ca"), scene.lab.repository.root / "rechain" / ENVIRONMENT / "requests"
    scene.run("csr", ENVIRONMENT, "--side", "server")
    returned = authority.sign_all(requests.glob("*.csr"), home / "returned.pem")
    keys = vaulted_keys(scene.lab)
    scene.run("import", ENVIRONMENT, str(requests / "request.yml"), expect=2)
    scene.run("import", ENVIRONMENT, str(returned), str(authority.certificate))
    keys |= {f"imported {name}": key for name, key in vaulted_keys(scene.lab).items()}
    scene.run("rollback", ENVIRONMENT, "--yes")
    return keys


def _scene(desk: Desk, tmp_path: Path) -> Scene:
    """Prefect is set to tell and to keep as much as it can: it must not depend on careful settings."""
    for name in ("home", "outputs"):
        (tmp_path / name).mkdir()
    own = {
        "HOME": str(tmp_path / "home"),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "rechain",
        "PREFECT_LOGGING_TO_API_ENABLED": "true",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
    }
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Scene(
        replace(desk, environment={**desk.environment, **own}), tmp_path / "home", tmp_path / "outputs", key.decode()
    )


def _fail_with_a_key_on_the_lips(scene: Scene) -> None:
    """The reload command of the second host prints the key that was just installed, and fails."""
    lab = scene.lab
    lab.owner.install_bundle()
    scene.run("approve", ENVIRONMENT, "external-trust", "--reason", "its owner says so")
    host = lab.standbys[1]
    set_reload(lab, host, f"cat {host.server_directory}/server.key; cat {host.server_directory}/server.key >&2; exit 5")
    said = scene.run("refresh", ENVIRONMENT, "--yes", "--until", "servers", expect=1)
    assert f"{host.name}: " in said.splitlines()[-1]
    assert "its reload command ended with status 5" in said.splitlines()[-1]


@contextmanager
def _planted_meanwhile(scene: Scene) -> Iterator[None]:
    """Show the decoy in memory, temporary places, HOME and a process for as long as the watch lasts, in all forms."""
    line = lines(scene.decoy)[1]
    with ExitStack() as stack:
        for parent, prefix in ((MEMORY, "decoy-"), (TEMPORARY, "tmp-decoy-"), (scene.home, ".ansible")):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix, dir=parent)))
            (directory / "der").write_bytes(b"x" + secret(scene.decoy))
        runners = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rechain-keys-", dir=MEMORY)))
        held = os.open(runners, os.O_RDONLY)  # as a run does, whose directory is not to be swept away
        stack.callback(os.close, held)
        fcntl.flock(held, fcntl.LOCK_EX)
        events = runners / "artifacts" / "1" / "job_events"
        events.mkdir(parents=True)
        (events / "1-event.json").write_text(json.dumps({"res": {"msg": scene.decoy}}), "utf-8")
        shown = [sys.executable, "-c", "import time; time.sleep(900)", line]
        process = subprocess.Popen(shown, env={"DECOY": line})
        stack.callback(process.wait)
        stack.callback(process.kill)
        yield


def _plant(scene: Scene) -> None:
    """Leave the decoy in the places that are looked into afterwards, in the form that fits each."""
    line, root = lines(scene.decoy)[1], scene.lab.repository.root
    entry = {"name": "decoy", "level": 20, "message": f"x{scene.decoy}", "timestamp": datetime.now(UTC).isoformat()}
    ask(f"{scene.api}/logs/", [entry])
    result = json.dumps({"result": base64.b64encode(pickle.dumps({"key": scene.decoy})).decode()})
    (scene.prefect / "storage").mkdir(exist_ok=True)
    (scene.prefect / "storage" / "decoy").write_text(result, "utf-8")
    (scene.outputs / "decoy").write_text(f"error: {line}", "utf-8")
    (scene.records / "decoy").write_bytes(base64.b64encode(secret(scene.decoy)))
    (root / "environments" / "decoy").write_text(scene.decoy, "utf-8")
    (scene.lab.hosts[0].state_directory / "decoy").write_text(scene.decoy, "utf-8")
    command = ["git", "-C", str(root), "hash-object", "-w", "--stdin"]
    subprocess.run(command, input=scene.decoy, text=True, check=True, capture_output=True, timeout=60)


def _places(scene: Scene, watch: Watch, since: float) -> Mapping[str, Iterable[Content]]:
    root = scene.lab.repository.root
    return {
        "Prefect's database": files(*scene.prefect.glob("prefect.db*")),
        "Prefect's API": prefect_answers(scene.api),
        "result storage": files(scene.prefect / "storage"),
        "what commands said": files(scene.outputs),
        "memory": files(*shared(MEMORY), since=since),
        "temporary files": files(*shared(TEMPORARY), since=since),
        "home": files(scene.home, Path.home() / ".ansible", since=since),
        "records of runs": files(scene.records),
        "working tree": files(root, without=lambda path: path.name == ".git"),
        "Git": [git_objects(root)],
        "hosts, but for key files": files(scene.lab.directory, without=_is_data_or_key),
        **watch.found(),
    }


def _is_data_or_key(path: Path) -> bool:
    """What is meant to hold keys on hosts, and a server's own data, which is large."""
    return path.name in ("data", "server.key", "postgresql.key")


def _search(needles: Needles, contents: Iterable[Content]) -> set[str]:
    """The decoy by its name, others with where they were found."""
    found = ((name, where) for where, content in contents for name in needles.find(content))
    return {name if name == _DECOY else f"{name} in {where}" for name, where in found}


def _require_closed_directories(watch: Watch, needles: Needles) -> None:
    """Keys in use were seen in memory, of both generations, in directories of mode 0700 which are gone."""
    seen = {(where, name) for where, content in watch.in_use() for name in needles.find(content)}
    assert {name.split("/")[0] for _, name in seen} >= {"generation-1", "generation-3"}  # 2 came from outside
    directories = {Path(*Path(where).parts[:4]) for where, _ in seen}
    assert {watch.modes[str(directory)] for directory in directories} == {0o700}
    assert all(directory.match(KEY_DIRECTORIES) for directory in directories)
    assert [directory for directory in directories if directory.exists()] == []
