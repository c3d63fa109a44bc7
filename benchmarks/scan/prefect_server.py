"""A Prefect server of the benchmark's own, as a team has one: it runs before and after what is measured."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_S, _END_S, _ASK_AGAIN_S = 120, 30, 0.2


@contextmanager
def prefect_server() -> Iterator[dict[str, str]]:
    """Start a server; yields the variables that point at it.

    Raises:
        SystemExit: It did not answer within two minutes.
    """
    with tempfile.TemporaryDirectory(prefix="rechain-bench-prefect-") as home:
        port = _free_port()
        own = {"PREFECT_HOME": home, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "WARNING"}
        command = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--port", str(port)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, env={**os.environ, **own}, start_new_session=True, **quiet) as server:
            try:
                _wait_for(f"http://127.0.0.1:{port}/api/health", server)
                yield {**own, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
            finally:
                os.killpg(server.pid, signal.SIGTERM)
                server.wait(_END_S)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310  # our own server
                return
        except OSError:
            time.sleep(_ASK_AGAIN_S)
    raise SystemExit("the Prefect server did not start")
