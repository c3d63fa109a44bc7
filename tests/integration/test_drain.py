"""A worker is ended when its runs are."""

from __future__ import annotations

import subprocess
import sys
import time

from deployments.drain import main, runs_of

# A worker starts `python -m prefect.engine` for each run; a look-alike, and something else that it may start.
_WORKER = """
import subprocess, sys
run = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3)", "prefect.engine"])
other = subprocess.Popen(["sleep", "60"])
print(run.pid, flush=True)
run.wait()
sys.stdin.read()
other.kill()
other.wait()
"""


def test_it_waits_for_runs_and_for_nothing_else() -> None:
    """A run of three seconds is waited for; a program that is no run, and another worker's runs, are not."""
    with subprocess.Popen([sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        run = int(worker.stdout.readline())
        assert list(runs_of(worker.pid)) == [run]
        assert list(runs_of(worker.pid + 1)) == []
        started = time.monotonic()
        main(worker.pid)
        assert list(runs_of(worker.pid)) == []
        assert time.monotonic() - started > 1
        assert worker.poll() is None
        worker.communicate()
