"""What a person does who has no rechain."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def by_hand(line: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """A line in a shell, as a person pastes it."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    return subprocess.run(line, shell=True, cwd=directory, env=environment, capture_output=True, text=True, check=False)  # noqa: S602
