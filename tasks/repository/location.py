"""Where the environment repository is on a worker."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "RECHAIN_REPO"


def repository_root(given: str) -> Path:
    """The directory that a flow's parameter names; where it names none, that of RECHAIN_REPO, else the current one."""
    return Path(given or os.environ.get(VARIABLE) or ".").resolve()
