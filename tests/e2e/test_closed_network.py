"""A whole session of `make up` asks nobody outside for anything: neither a name nor a connection."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deployments.surroundings import PROJECT
from tests.closed_network import RESOLVER
from tests.plugins.closed_network import ClosedNetwork
from tests.plugins.production import authorization
from tests.sessions import Session, session

_PREFECT = str(Path(sys.executable).with_name("prefect"))
_CATALOGUES = ("aggregate-worker-metadata", "aggregate-block-metadata", "demo-flows")
_OUTSIDE, _OUTSIDE_6 = "203.0.113.7", "2001:db8:1::7"
_ENTRYPOINT = "flows.scan_expiry:scan_expiry"


@pytest.mark.timeout(1200)
def test_a_whole_session_asks_nobody(closed_network: ClosedNetwork, tmp_path: Path) -> None:
    """From the start, through a scan and the UI's catalogues, to Ctrl-C; and nothing is left of it."""
    with session(tmp_path / "up", around=closed_network.inside([])) as running:
        running.wait_for_address()
        _refuses_strangers(closed_network, running)
        _scan(closed_network, running)
        for view in _CATALOGUES:
            _look_into(closed_network, running, view)
        assert "nothing is left running" in running.end(signal.SIGINT)
        assert running.process.returncode == 0
        assert running.is_gone
    assert closed_network.destinations == set()


def test_the_watch_sees_who_asks(closed_network: ClosedNetwork) -> None:
    """A look-up goes to the resolver, a connection to its address, by IPv4 and by IPv6."""
    look_up = "import socket\ntry: socket.getaddrinfo('rechain.example', 443)\nexcept OSError: pass"
    closed_network.python(look_up)
    assert closed_network.destinations == {RESOLVER}
    for outside in (_OUTSIDE, _OUTSIDE_6):
        connect = f"import socket\ntry: socket.create_connection(({outside!r}, 443), timeout=1)\nexcept OSError: pass"
        closed_network.python(connect)
    assert closed_network.destinations == {RESOLVER, _OUTSIDE, _OUTSIDE_6}


def _scan(network: ClosedNetwork, running: Session) -> None:
    """Start a run of the nightly scan and wait until it is completed."""
    deployments = yaml.safe_load((PROJECT / "prefect.yaml").read_text("utf-8"))["deployments"]
    name = next(one["name"] for one in deployments if one["entrypoint"] == _ENTRYPOINT and one.get("schedules"))
    server = {"PREFECT_API_URL": f"http://127.0.0.1:{running.port}/api", "PREFECT_API_AUTH_STRING": running.login}
    environment = {**os.environ, **server, "DO_NOT_TRACK": "1"}
    subprocess.run(
        network.inside([_PREFECT, "--no-prompt", "deployment", "run", f"scan-expiry/{name}", "--watch"]),
        env=environment, check=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _refuses_strangers(network: ClosedNetwork, running: Session) -> None:
    """Nobody without the password gets past it, and no page of another site may ask."""
    network.python(
        f"from http.client import HTTPConnection\nserver = HTTPConnection('127.0.0.1', {running.port}, timeout=30)\n"
        "headers = {'Content-Type': 'application/json', 'Origin': 'https://evil.example'}\n"
        "server.request('POST', '/api/flows/', '{\"name\": \"x\"}', headers)\n"
        "answer = server.getresponse()\nanswer.read()\nassert answer.status == 401, answer.status\n"
        "assert answer.getheader('Access-Control-Allow-Origin') is None"
    )


def _look_into(network: ClosedNetwork, running: Session, view: str) -> None:
    """Ask the server for a catalogue as its UI does; of some it has no copy of its own, and says so."""
    known = authorization(running.login)
    network.python(
        f"from http.client import HTTPConnection\nserver = HTTPConnection('127.0.0.1', {running.port}, timeout=30)\n"
        f"server.request('GET', '/api/collections/views/{view}', headers={{'Authorization': {known!r}}})\n"
        "answer = server.getresponse()\nanswer.read()\nserver.close()\nassert answer.status != 401"
    )
