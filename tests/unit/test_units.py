"""The shipped units: systemd takes them, and every file, program, option and setting that they name exists."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from prefect.settings import get_current_settings
from prefect.settings.legacy import _get_settings_fields

from deployments import guard
from deployments.surroundings import PROJECT, shipped
from tests.units import DIRECTORY, ENVIRONMENT_FILES, UNITS, read, source

# Read by Prefect past its settings, and by a package that several servers need.
_ELSEWHERE = {guard.ENCRYPTION}
_OF_PREFECT_REDIS = {"PREFECT_REDIS_MESSAGING_URL"}
_KEY = "cmVjaGFpbi1yZWNoYWluLXJlY2hhaW4tcmVjaGFpbi0="
_GOOD = {
    guard.AUTHENTICATION: "rechain:0123456789abcdef",
    guard.ENCRYPTION: _KEY,
    guard.DATABASES[0]: "postgresql+asyncpg://prefect:needle@127.0.0.1/prefect",
}


@pytest.mark.parametrize("path", ENVIRONMENT_FILES, ids=lambda path: path.name)
def test_every_setting_exists(path: Path) -> None:
    """A setting that is misspelt does nothing, and says nothing."""
    known = _get_settings_fields(type(get_current_settings())).keys() | _ELSEWHERE | _OF_PREFECT_REDIS
    named = shipped(path).keys() | _commented(path)
    assert {name for name in named if name.startswith("PREFECT_")} <= known


def test_the_key_of_secret_blocks_is_taken_from_where_the_example_puts_it() -> None:
    """Prefect reads it past its settings, so nothing else would notice a new name."""
    from prefect.server.utilities import encryption  # noqa: PLC0415  # the server's import is slow

    assert f'"{guard.ENCRYPTION}"' in inspect.getsource(encryption)


@pytest.mark.parametrize("name", ["RECHAIN_REPO", "RECHAIN_STATE_DIR", "RECHAIN_SLACK_TOKEN_FILE"])
def test_every_variable_of_our_own_is_read_somewhere(name: str) -> None:
    """Those of the worker's example."""
    assert name in {*shipped(DIRECTORY / "worker.env.example"), *_commented(DIRECTORY / "worker.env.example")}
    assert any(f'"{name}"' in path.read_text("utf-8") for path in (PROJECT / "tasks").rglob("*.py"))


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_names_what_exists(path: Path) -> None:
    """Its environment files are shipped, the shipped settings come first, and its program is in the environment."""
    unit = read(path)
    files = unit.all("EnvironmentFile")
    assert all(source(file).is_file() for file in files)
    assert files[0] == "/opt/rechain/deployments/prefect.env"
    assert os.access(unit.command(instance="a")[0], os.X_OK)
    assert unit.one("User") != "root"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_prefect_takes_a_units_command(path: Path) -> None:
    """Each command and option of it is in Prefect's own help."""
    program, _no_prompt, *words = read(path).command(instance="a")
    command = [word for word in words if not word.startswith("-") and word not in ("a", "rechain")]
    said = subprocess.run([program, *command, "--help"], capture_output=True, text=True, timeout=120, check=True).stdout
    assert all(word in said for word in words if word.startswith("--"))


@pytest.mark.parametrize("path", [path for path in UNITS if "worker" not in path.name], ids=lambda path: path.name)
def test_a_server_is_guarded_before_it_starts(path: Path) -> None:
    """Whichever of the units it is."""
    assert read(path).command("ExecStartPre")[1:] == ["-m", "deployments.guard"]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """As they are installed, with the hardening that is for all of them; paths that are not here are made up."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    units = [_stand_in(path, tmp_path) for path in UNITS]
    shutil.copytree(DIRECTORY / "rechain-.service.d", tmp_path / "rechain-.service.d")
    said = subprocess.run(
        [analyze, "verify", *units], env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": os.defpath},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (said.returncode, said.stderr) == (0, "")


def test_the_hardening_reaches_every_unit() -> None:
    """A folder of settings is for the units whose names begin like it, up to a dash."""
    (folder,) = DIRECTORY.glob("*.service.d")
    assert folder.name == "rechain-.service.d"
    assert all(path.name.startswith("rechain-") for path in UNITS)
    hardening = read(folder / "hardening.conf")
    assert (hardening.one("NoNewPrivileges"), hardening.one("ProtectSystem")) == ("yes", "strict")
    assert hardening.one("CapabilityBoundingSet") == ""


def test_the_examples_alone_start_no_server() -> None:
    """What they leave open is named, and no value is shown."""
    examples = {name: value for path in ENVIRONMENT_FILES for name, value in shipped(path).items()}
    said = "\n".join(guard.problems(examples))
    assert guard.AUTHENTICATION in said
    assert guard.ENCRYPTION in said
    assert "@127.0.0.1" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (guard.AUTHENTICATION, ""),
        (guard.AUTHENTICATION, "0123456789abcdef0123456789"),
        (guard.AUTHENTICATION, "rechain:short"),
        (guard.ENCRYPTION, ""),
        (guard.ENCRYPTION, "no key at all"),
        (guard.DATABASES[0], "sqlite+aiosqlite:////var/lib/prefect.db"),
    ],
)
def test_a_server_does_not_start_without(name: str, value: str) -> None:
    """A way in for people who are known, a key and a real database."""
    assert list(guard.problems(_GOOD)) == []
    (problem,) = guard.problems({**_GOOD, name: value})
    assert problem.startswith(name)


def _commented(path: Path) -> set[str]:
    """Settings that an example offers behind a #."""
    lines = path.read_text("utf-8").splitlines()
    return {line[1:].partition("=")[0] for line in lines if line.startswith("#") and "=" in line.split(" ")[0]}


def _stand_in(path: Path, folder: Path) -> str:
    """A copy whose programs are on every machine: systemd wants to find them."""
    text = path.read_text("utf-8").replace("/opt/rechain/.venv/bin/", "/usr/bin/")
    text = text.replace("/usr/bin/prefect", "/usr/bin/env").replace("/usr/bin/python", "/usr/bin/env")
    name = path.name.replace("@", "@a")
    (folder / name).write_text(text.replace("file:/opt/rechain", "file:/"), "utf-8")
    return str(folder / name)
