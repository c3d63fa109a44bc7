"""`make up`: a fleet, a Prefect server with everything deployed on it, and a worker, on this machine, until Ctrl-C.

To look and to press buttons, not for production: Prefect keeps its data in a file, and the key of its secrets in it.
What is kept is in .up/, so that one can read it afterwards; the next session starts anew.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

from deployments.programs import UpError, end_all
from deployments.session import Session
from deployments.surroundings import PROJECT
from lab import leftover
from lab.environment import ENVIRONMENT, EXTERNAL
from lab.fleet import Lab
from rechain.errors import RechainError

_LOCK = "up.lock"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEFAULT_STATE = PROJECT / ".up"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a session until somebody ends it.

    Returns:
        0 when a person ended it; 1 when it could not be started, or a part ended by itself.
    """
    parser = argparse.ArgumentParser(prog="make up", description="Fleet, Prefect server and worker, until Ctrl-C.")
    parser.add_argument("--port", type=int, default=4200, help="port of the server on 127.0.0.1")
    parser.add_argument("--state", type=Path, default=_DEFAULT_STATE, help="directory of the session")
    given = parser.parse_args(arguments)
    for number in _ENDING:
        signal.signal(number, _interrupt)
    try:
        _run(given.state.resolve(), given.port)
    except KeyboardInterrupt:
        _say("ended; nothing is left running")
    except RechainError as error:
        _say(f"make up: {error}", error=True)
        return 1
    return 0


def _run(state: Path, port: int) -> None:
    with _held(state), ExitStack() as ending:
        end_all(state)
        leftover.end(state / "lab")
        _require_free(port)
        lab = Lab.prepare(state / "lab")
        ending.callback(lab.stop)
        _clear(state)
        session = Session(state, port, lab)
        ending.callback(session.end)
        ending.callback(_begin_to_end)
        _start(session)
        _tell(session)
        session.watch()


def _start(session: Session) -> None:
    _say(f"starting a Prefect server and a fleet of three: PostgreSQL {session.lab.installation.version}")
    session.start_server_and_fleet()
    _say("deploying the flows")
    session.deploy()
    session.start_worker()


def _tell(session: Session) -> None:
    """What a person needs who has never seen it."""
    repository = session.lab.repository
    _say(f"""
  http://127.0.0.1:{session.port}   it asks once for a password, which is all of this: {session.login}

  First press: Deployments, scan-expiry / nightly, Run, Quick run. It lists every certificate and when it ends.
  The fleet is environment {ENVIRONMENT}; the application {EXTERNAL} logs in ten times a second. In another terminal:
    export RECHAIN_REPO={repository.root} ANSIBLE_VAULT_PASSWORD_FILE={repository.password_file}
    .venv/bin/rechain status {ENVIRONMENT}
  Logs: {session.state}/*.log. Ctrl-C ends all of it.
""")


@contextmanager
def _held(state: Path) -> Iterator[None]:
    """One session a directory. Raises UpError."""
    lock = state / _LOCK
    if state.exists() and any(state.iterdir()) and not lock.exists():
        raise UpError(str(state), "is not empty and no session made it", "name another directory")
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with lock.open("w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError:
        raise UpError(str(state), "a session runs from this directory", "end that one, in its terminal") from None


def _require_free(port: int) -> None:
    """Refuse a port that somebody listens on. Raises UpError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UpError(
                f"port {port} of 127.0.0.1", f"can't be used: {reason}", f"take another: make up PORT={_other(port)}"
            ) from None


def _other(port: int) -> int:
    return port + 1 if 0 < port < 65535 else 4200  # noqa: PLR2004  # the highest port


def _clear(state: Path) -> None:
    """Forget an earlier session: its runs were about a fleet that is gone."""
    for name in ("prefect", "runs"):
        shutil.rmtree(state / name, ignore_errors=True)
    for log in state.glob("*.log"):
        log.unlink()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Ctrl-C, SIGTERM and a closed terminal are one; what comes after the first must not disturb the ending."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _begin_to_end() -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    _say("ending the worker, the server and the fleet")


def _say(text: str, *, error: bool = False) -> None:
    """Print, if anybody still listens: a closed terminal must not keep the rest from ending."""
    stream = sys.stderr if error else sys.stdout
    with suppress(OSError, ValueError):
        stream.write(f"{text}\n")
        stream.flush()


if __name__ == "__main__":
    sys.exit(main())
