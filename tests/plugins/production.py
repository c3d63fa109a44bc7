"""A server and a worker with the shipped units and settings: what differs is where they are, and the secrets."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.programs import Program, start
from deployments.surroundings import PROJECT
from lab.account import unprivileged_account
from lab.addresses import free_addresses
from lab.installation import find_postgresql, usable_by
from lab.postgresql import Server
from tests.plugins.slack_stub import closed_port
from tests.units import DIRECTORY, read

LOGIN = "rechain:correct-horse-battery"
_DATABASE_PASSWORD = "staple-staple-staple"
_KEY = base64.urlsafe_b64encode(b"rechain-" * 4).decode()
SECRETS = (LOGIN.partition(":")[2], _DATABASE_PASSWORD, _KEY)
_START_S = 240


@dataclass(frozen=True)
class Production:
    """What an administrator has after the installation.

    Attributes:
        port: The server's port on loopback.
        server: Prefect's server.
        worker: A worker that has told the server of itself.
    """

    port: int
    server: Program
    worker: Program

    @property
    def address(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """One for all tests of a file; they change nothing on it."""
    home, port = tmp_path_factory.mktemp("production"), closed_port()
    with ExitStack() as stack:
        database = stack.enter_context(_database())
        values = _values(home, port, database)
        server = stack.enter_context(_program("rechain-server.service", values, home))
        _wait(lambda: _answers(f"http://127.0.0.1:{port}/api/health"), server)
        worker = stack.enter_context(_program("rechain-worker@.service", values, home))
        _wait(lambda: "started!" in worker.log.read_text("utf-8"), worker)
        yield Production(port, server, worker)


def authorization(login: str) -> str:
    """The header's value for a NAME:PASSWORD."""
    return "Basic " + base64.b64encode(login.encode()).decode()


def _values(home: Path, port: int, database: str) -> dict[str, str]:
    """What stands in the examples, to what is here."""
    return {
        "4200": str(port),
        "prefect:CHANGE-ME@127.0.0.1:5432": database,
        "rechain:CHANGE-ME": LOGIN,
        "CHANGE-ME": _KEY,
        "/var/lib": str(home),
        "/srv/rechain": str(home),
        "/etc/rechain": str(home),
    }


@contextmanager
def _program(unit_name: str, values: Mapping[str, str], home: Path) -> Iterator[Program]:
    """What a unit starts, guarded as it is there, with its environment and nothing else but PATH."""
    unit = read(DIRECTORY / unit_name)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **unit.environment(values)}
    for instance in unit.all("Environment"):
        name, _, value = instance.replace("%i", "a").replace("/var/lib", str(home)).partition("=")
        environment[name] = value
    if unit.all("ExecStartPre"):
        subprocess.run(unit.command("ExecStartPre"), env=environment, cwd=PROJECT, check=True, timeout=60)
    program = start(unit_name, unit.command(instance="a"), environment, home / f"{unit_name}.log")
    try:
        yield program
    finally:
        program.end()


@pytest.fixture
def prefect_database() -> Iterator[str]:
    """A PostgreSQL for Prefect alone: the value of PREFECT_SERVER_DATABASE_CONNECTION_URL."""
    with _database() as place:
        yield f"postgresql+asyncpg://{place}/prefect"


@contextmanager
def _database() -> Iterator[str]:
    """Prefect's own PostgreSQL, which wants a password: USER:PASSWORD@HOST:PORT."""
    directory = Path(tempfile.mkdtemp(prefix="rechain-database-", dir="/var/tmp"))
    directory.chmod(0o755)  # as root the server's user must be able to enter
    account, addresses = unprivileged_account(), free_addresses(1)
    installation = usable_by(find_postgresql(), account, directory / "postgresql")
    server = Server(installation, account, directory / "server", addresses.hosts[0], addresses.port)
    server.initdb()
    server.configure({}, ("local all all trust", "host all all all scram-sha-256"))
    server.start()
    try:
        with server.connect() as session:
            session.execute(f"create role prefect login password '{_DATABASE_PASSWORD}'".encode())
            session.execute(b"create database prefect owner prefect")
        yield f"prefect:{_DATABASE_PASSWORD}@{server.address}:{server.port}"
    finally:
        server.stop("immediate")
        shutil.rmtree(directory)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # our own server
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def _wait(is_so: Callable[[], bool], program: Program) -> None:
    deadline = time.monotonic() + _START_S
    while not is_so():
        program.check()
        assert time.monotonic() < deadline, program.log.read_text("utf-8")
        time.sleep(0.3)
