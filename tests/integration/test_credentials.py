"""Keys in use are in memory, closed to others, and gone afterwards."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rechain.certificate import read_bundle, read_leaf_chain
from rechain.generation import Generation, PrivateKeys
from tasks.fleet import credentials as module
from tasks.fleet.credentials import Credential, credentials, key_directory, material, present, put
from tests.plugins.authority import Authority

_KEY = "a private key"
_CREDENTIAL = Credential("app", 2, "chain", _KEY, "bundle")


def test_files_are_closed_and_in_memory() -> None:
    """The directory is 0700, the files 0600, and on Linux none of it is on a disk."""
    with material([_CREDENTIAL]) as paths:
        files = paths["app", 2]
        assert Path(files.key).read_text() == _KEY
        for path in (files.cert, files.key, files.ca):
            assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        place = Path(files.key).parent
        assert [stat.S_IMODE(each.stat().st_mode) for each in (place, place.parent)] == [0o700, 0o700]
        if os.access(module._MEMORY, os.W_OK):
            assert place.is_relative_to(module._MEMORY)


def test_nothing_is_left_after_a_failure() -> None:
    """Whatever happens inside, the keys are removed."""
    seen: list[Path] = []

    def fail() -> None:
        with material([_CREDENTIAL]) as paths:
            seen.append(Path(paths["app", 2].key))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not seen[0].parent.parent.exists()


def test_a_key_is_not_in_the_text_form() -> None:
    """Whatever prints a credential, in a traceback or a log, prints no key."""
    assert _KEY not in f"{_CREDENTIAL} {_CREDENTIAL!r} {[_CREDENTIAL]}"


def test_the_next_run_removes_what_a_killed_one_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL keys stay behind; the next use of keys removes them, and never those of a run that lives."""
    script = """
        import sys, time
        from tasks.fleet.credentials import key_directory
        with key_directory() as directory:
            (directory / "key").write_text("a private key")
            print(directory, flush=True)
            time.sleep(60)
    """
    monkeypatch.setattr(module, "_SETTLED_S", 0)
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        left = Path(run.stdout.readline().strip())
        with key_directory() as mine:
            assert (left / "key").exists()
            with key_directory():
                assert mine.exists()
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert left.exists()
    with key_directory():
        assert not left.exists()


def test_a_machine_without_memory_to_write_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys go to a directory on disk then, closed as well, and the log says so."""
    monkeypatch.setattr(module, "_MEMORY", tmp_path / "absent")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with key_directory() as directory:
        assert directory.parent == tmp_path
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert "private keys in use go to" in caplog.text


def test_what_is_presented_changes_as_a_whole() -> None:
    """The paths stay, and through the link all three files are of one generation at any instant."""
    with key_directory() as directory:
        files = present(directory, _CREDENTIAL)
        old = Path(files.key).resolve()
        again = present(directory, Credential("app", 3, "next chain", "next key", "next bundle"))
        assert again == files
        assert [Path(path).read_text() for path in (files.cert, files.key, files.ca)] == [
            "next chain",
            "next key",
            "next bundle",
        ]
        assert old.read_text() == _KEY


def test_two_generations_of_a_client_stand_side_by_side() -> None:
    """Verification logs in with current and next material of one client."""
    with key_directory() as directory:
        current, following = (put(directory, Credential("app", number, "", str(number), "")) for number in (1, 2))
        assert (Path(current.key).read_text(), Path(following.key).read_text()) == ("1", "2")


def test_credentials_of_a_generation() -> None:
    """Only clients whose key is there have credentials; the trusted bundle may be another generation's."""
    authority, other = Authority("ours"), Authority("next")
    leaf = authority.client("app")
    chain = read_leaf_chain(leaf.chain_pem, "app")
    bundle, trust = read_bundle(authority.server_bundle, "x"), read_bundle(other.server_bundle, "x")
    generation = Generation(4, bundle, bundle, {}, {"app": chain, "external": chain})
    (credential,) = credentials(generation, PrivateKeys(clients={"app": leaf.key_pem}), trust)
    assert (credential.client, credential.generation) == ("app", 4)
    assert (credential.chain_pem, credential.key_pem) == (leaf.chain_pem, leaf.key_pem)
    assert credential.bundle_pem == other.server_bundle
