"""A network without the world, for programs that must not need it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.surroundings import PROJECT
from tests.closed_network import RESOLVER

_TOOLS = ("ip", "unshare", "nsenter", "mount")


@dataclass(frozen=True)
class ClosedNetwork:
    """A network whose one way out ends at a recorder.

    Attributes:
        journal: Where every packet that wanted out is a line.
    """

    journal: Path
    _holder: int

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command line that runs a program in it."""
        return ["nsenter", "--target", str(self._holder), "--net", "--mount", f"--wd={PROJECT}", "--", *command]

    def python(self, program: str) -> None:
        """Run a line of Python in it."""
        subprocess.run(self.inside([sys.executable, "-c", program]), check=True, timeout=60)

    @property
    def destinations(self) -> set[str]:
        """Where packets wanted to go, so far."""
        return {json.loads(line) for line in self.journal.read_text("utf-8").splitlines()}


@pytest.fixture
def closed_network(tmp_path: Path) -> Iterator[ClosedNetwork]:
    """One for a test."""
    _require_means()
    journal, resolver = tmp_path / "packets", tmp_path / "resolv.conf"
    journal.touch()
    resolver.write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")
    command = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, "-m", "tests.closed_network"]
    with subprocess.Popen(
        [*command, str(journal), str(resolver)], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        yield ClosedNetwork(journal, holder.pid)
        holder.communicate(timeout=30)


def _require_means() -> None:
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if os.geteuid() or missing or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip(f"needs root, /dev/net/tun and iproute2 (missing: {', '.join(missing) or 'none'})")
