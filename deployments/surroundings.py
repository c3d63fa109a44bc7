"""The environment variables of Prefect's programs: the shipped settings, and nothing of the person who starts them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
MARK = "RECHAIN_UP"
"""Every program of a session carries this variable with the session's directory: by it they are known as ours."""

# The server asks a public site for pictures and forms when somebody opens a catalogue in its UI, and takes its own
# copies when nobody answers. Here nobody does: port 9 of this machine is where no web proxy is.
_NO_WAY_OUT = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1,localhost"}
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})


def shipped(path: Path = PROJECT / "deployments" / "prefect.env") -> dict[str, str]:
    """The settings of an environment file, as systemd reads it: `NAME=value` lines, comments and empty lines."""
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def of_a_session(state: Path, port: int, login: str) -> dict[str, str]:
    """What every program of a session needs, and what a person may have set for Ansible and the system.

    Args:
        state: The session's directory.
        port: The server's port on 127.0.0.1.
        login: NAME:PASSWORD that the API wants. A process worker runs whatever a deployment says, so that otherwise
            other users of this machine, and any page in its browser, could run commands as the one who started it.
    """
    programs, address = str(Path(sys.executable).parent), f"http://127.0.0.1:{port}"
    return {
        **{name: value for name, value in os.environ.items() if not _is_of_other_work(name)},
        **shipped(),
        MARK: str(state),
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_UI_URL": address,
        "PREFECT_API_AUTH_STRING": login,
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": address,
    }


def of_the_server(session: Mapping[str, str]) -> dict[str, str]:
    """A server's: no way out of this machine."""
    kept = {name: value for name, value in session.items() if name.lower() not in _PROXIES}
    return {**kept, **_NO_WAY_OUT}


def of_a_worker(session: Mapping[str, str], repository: Mapping[str, str], state: Path) -> dict[str, str]:
    """A worker's: where the environment repository and its vault's password are, and where it remembers.

    Args:
        session: From `of_a_session`.
        repository: The repository's variables.
        state: The session's directory.
    """
    return {**session, **repository, "RECHAIN_STATE_DIR": str(state / "runs")}


def _is_of_other_work(name: str) -> bool:
    """A person's own server, environments and Slack: a session must neither use nor tell them."""
    return name.startswith(("PREFECT_", "RECHAIN_"))
