"""`make up` says what is wrong in one line, leaves nothing running however it ends, and starts again after anything."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from deployments.programs import marked
from lab.processes import Process
from tests.sessions import Session, session


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_it_starts_again_after_everything_was_killed_and_names_what_dies(tmp_path: Path) -> None:
    """What a killed session left is ended by the next on the same port; when its worker dies, all of that one ends."""
    with session(tmp_path) as killed:
        killed.wait_for_address()
        killed.process.kill()
        killed.rest()
        left = list(marked(tmp_path))
        assert left
        with session(tmp_path, killed.port) as second:
            second.wait_for_address()
            assert not any(process.lives() for process in left)
            _worker(second).send(signal.SIGKILL)
            said = second.rest()
            assert second.process.returncode == 1
            assert "make up: the worker: ended by itself" in said
            assert second.is_gone


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_start_that_is_interrupted_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """A terminal that is closed, or a machine that goes down, while the server and the fleet are being started."""
    with session(tmp_path) as begun:
        assert begun.process.stdout is not None
        assert begun.process.stdout.readline().startswith("starting a Prefect server and a fleet")
        assert "nothing is left running" in begun.end(number)
        assert begun.process.returncode == 0
        assert begun.is_gone


def test_a_port_that_is_taken_is_named_with_the_way_round(tmp_path: Path) -> None:
    """In one line, before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with session(tmp_path, port) as refused:
            said = refused.rest()
    assert said.startswith(f"make up: port {port} of 127.0.0.1")
    assert f"make up PORT={port + 1}" in said
    assert said.count("\n") == 1
    assert refused.process.returncode == 1


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A session clears its own directory, so it takes none that holds other things."""
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "prefect.db").touch()
    with session(tmp_path) as refused:
        said = refused.rest()
    assert said.count("\n") == 1
    assert "no session made it" in said
    assert refused.process.returncode == 1
    assert (tmp_path / "prefect" / "prefect.db").exists()


def _worker(running: Session) -> Process:
    """The program that was started as its worker."""
    for process in marked(running.state):
        if b"worker\0start" in Path(f"/proc/{process.pid}/cmdline").read_bytes():
            return process
    raise AssertionError("there is no worker")
