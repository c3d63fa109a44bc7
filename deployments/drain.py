"""Wait until a worker runs nothing: `python -m deployments.drain PID`, before systemd ends it.

A worker that is told to end ends its runs with it, in the middle of what they do. A run that waits at a gate is no
process, so it is not waited for. Runs that the worker takes on meanwhile are.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_RUN = {b"prefect.engine", b"prefect.runner._workspace_supervisor"}
"""The module in which a run's process is: the run itself, and in its first seconds what prepares it."""
_LOOK_S = 1.0


def runs_of(worker: int) -> Iterator[int]:
    """The processes in which a worker's runs are executed.

    Args:
        worker: The worker's pid.
    """
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it is gone
            parent = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1]
            if int(parent) == worker and _RUN & set((entry / "cmdline").read_bytes().split(b"\0")):
                yield int(entry.name)


def main(worker: int) -> None:
    """Wait; systemd's TimeoutStopSec is the limit."""
    while any(runs_of(worker)):
        time.sleep(_LOOK_S)


if __name__ == "__main__":
    main(int(sys.argv[1]))
