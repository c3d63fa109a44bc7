"""The shipped systemd units and environment files, as systemd reads them, and what they would run here."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployments.surroundings import PROJECT, shipped

DIRECTORY = PROJECT / "deployments" / "systemd"
UNITS = sorted(DIRECTORY.glob("*.service"))
ENVIRONMENT_FILES = [PROJECT / "deployments" / "prefect.env", *sorted(DIRECTORY.glob("*.env.example"))]
_INSTALLED = "/opt/rechain/"
_CONFIGURED = "/etc/rechain/"


@dataclass(frozen=True)
class Unit:
    """A unit file.

    Attributes:
        name: Its file name.
        settings: Name and value of each line, in their order.
    """

    name: str
    settings: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """Every value of a setting."""
        return [value for found, value in self.settings if found == name]

    def one(self, name: str) -> str:
        """The value of a setting that is there once."""
        (value,) = self.all(name)
        return value

    def command(self, setting: str = "ExecStart", instance: str = "") -> list[str]:
        """The command line with this machine's own programs."""
        programs = str(Path(sys.executable).parent)
        words = shlex.split(self.one(setting).replace("%i", instance))
        return [word.replace(f"{_INSTALLED}.venv/bin", programs) for word in words]

    def environment(self, values: Mapping[str, str]) -> dict[str, str]:
        """Its environment files one after another, the examples as they are, but for some values.

        Args:
            values: Text in the files to what stands there on this machine.
        """
        together: dict[str, str] = {}
        for path in self.all("EnvironmentFile"):
            together |= shipped(source(path))
        for example, own in values.items():
            together = {name: value.replace(example, own) for name, value in together.items()}
        return together


def read(path: Path) -> Unit:
    """Read a unit file."""
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#[")
    return Unit(path.name, tuple((name, value) for name, _, value in pairs))


def source(installed: str) -> Path:
    """The file of this project that is installed under a path."""
    if installed.startswith(_INSTALLED):
        return PROJECT / installed.removeprefix(_INSTALLED)
    return DIRECTORY / f"{installed.removeprefix(_CONFIGURED)}.example"
