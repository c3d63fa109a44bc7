"""Must-show row 7 at the command line: a server refuses what a reload offers it, while pg_ctl reports success."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.environment import ENVIRONMENT
from lab.fleet import Lab
from lab.host import Host
from lab.login import log_in
from tests.inventories import set_reload
from tests.plugins.desk import Desk

_FILES = ("server.crt", "server.key", "root.crt")
_FAULTS = {
    "mode 0644": ("chmod 644 {pki}/server.key", "has group or world access"),
    "mismatched pair": ("cp {other} {pki}/server.key", "could not load private key|key values mismatch"),
    "missing newline": (
        '{{ printf %s "$(cat {pki}/root.crt)"; cat {pki}/root.crt; }} > {broken}; cp {broken} {pki}/root.crt',
        "could not load root certificate file",
    ),
}


@pytest.mark.timeout(900)
def test_a_reload_that_the_server_refuses_is_told_in_one_line_and_undone(
    new_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    """Exit 1 names the host and quotes its log, the files are back, a restart works; mended, the command goes through.

    The same command three times, with another fault each time, on the second of three hosts.
    """
    desk = new_desk()
    lab = desk.lab
    host = lab.standbys[1]
    before = _files(host)
    for breaks, complaint in _FAULTS.values():
        places = {"pki": host.server_directory, "other": lab.primary.server_directory / "server.key"}
        command = breaks.format(**places, broken=tmp_path / "broken.crt")
        set_reload(lab, host, f"{command}; {host.server.reload_command}")

        failed = desk.run("refresh", ENVIRONMENT, "--yes", "--until", "overlap", expect=1)
        _require_one_line(failed.stderr, host, complaint)
        assert failed.stdout == ""
        assert _files(host) == before
        _require_restart(lab, host)

    set_reload(lab, host, host.server.reload_command)
    assert desk.refresh("--until", "overlap")["resting_phase"] == "overlap"
    assert _files(host)["root.crt"] != before["root.crt"]
    _require_restart(lab, host)


def _require_one_line(stderr: str, host: Host, complaint: str) -> None:
    """The last line is the whole message: host, log line, what became of files and other hosts, what to do."""
    last = stderr.splitlines()[-1]
    assert last.startswith(f"{host.name}: "), stderr
    assert re.search(rf"its log says: .*({complaint})", last)
    assert "the previous files are back and in use" in last
    assert "not reached: db1.demo" in last
    assert last.endswith("run the same command again)")
    progress = [line for line in stderr.splitlines()[:-1] if not re.match(r"\d\d:\d\d:\d\d  ", line)]
    assert progress == [], "anything else is progress, with the time"


def _require_restart(lab: Lab, host: Host) -> None:
    """The server starts from nothing on what lies there, and is logged in to."""
    lab.restart(host)
    attempt = log_in(lab.owner.identity, host.endpoint)
    assert attempt.ok, attempt.error


def _files(host: Host) -> dict[str, tuple[bytes, int, int]]:
    """Content, mode and owner of what the server reads."""
    paths = [host.server_directory / name for name in _FILES]
    return {path.name: (path.read_bytes(), stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) for path in paths}
