"""Fixtures with real fleets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.fleet import Lab
from lab.installation import Installation, PostgresqlNotFound, find_postgresql
from lab.machines import Machines, end_machine
from lab.network import remove_network

# At a login every 50 ms for each client, canary and watcher took about half of two cores; the fleet needs them as well.
_OPTIONS = {"canary_interval_ms": 500}


@pytest.fixture(scope="session")
def lab_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One fleet for all tests of the run that log in and look, and change no file of it."""
    with Lab.prepare(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def new_lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Starts a fleet of the test's own, to rotate or to break: `new_lab(style="python", prefer="wheel")`."""
    with ExitStack() as labs:

        def start(name: str = "lab", **options: Any) -> Lab:
            return labs.enter_context(Lab.prepare(tmp_path / name, **{**_OPTIONS, **options}))

        yield start


@pytest.fixture(scope="session")
def machines_fit(tmp_path_factory: pytest.TempPathFactory) -> None:
    """This machine can hold others: tried with one, because no list of what that needs would be complete."""
    directory = tmp_path_factory.mktemp("machine")
    try:
        machines = Machines.prepare(["probe.demo"], directory, directory / "ssh")
        try:
            machines.start(directory)
        finally:
            end_machine(directory / "probe.demo")
            remove_network(directory)
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture(params=["machine", "wheel"])
def installation(request: pytest.FixtureRequest) -> Installation:
    """Each PostgreSQL that is here: the machine's own, and the wheel's."""
    try:
        return find_postgresql(request.param)
    except PostgresqlNotFound as error:
        pytest.skip(str(error))
