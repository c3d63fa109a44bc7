"""Run the programs that rechain drives (ansible-vault, ansible-inventory, git): found once, bounded in time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rechain.errors import RepositoryError


@dataclass(frozen=True, slots=True, repr=False)
class Finished:
    """How a program ended. Its text form shows none of the output, which may be secret."""

    returncode: int
    stdout: str
    stderr: str


def find_program(name: str) -> str:
    """Find a program beside the running interpreter, as in a virtual environment, else on PATH.

    Raises:
        RepositoryError: It is not installed.
    """
    beside = Path(sys.executable).parent / name
    if os.access(beside, os.X_OK):
        return str(beside)
    found = shutil.which(name)
    if found is None:
        raise RepositoryError(name, "the program is not installed", f"install {name}, or add its folder to PATH")
    return found


def run(
    arguments: Sequence[str], *, environment: Mapping[str, str], cwd: Path, timeout_s: float, given: str = ""
) -> Finished:
    """Run a program to its end, with text through pipes.

    It gets a session of its own, so that nothing can ask a question on the terminal and wait for ever.

    Args:
        arguments: Program and arguments; never a secret.
        environment: All of its environment.
        cwd: Working directory.
        timeout_s: Seconds until it is ended, children too.
        given: Its standard input.

    Raises:
        RepositoryError: It did not end in time.
    """
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=cwd,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(given.encode(), timeout=timeout_s)
    except subprocess.TimeoutExpired:
        name = Path(arguments[0]).name
        raise RepositoryError(
            name, f"did not end within {timeout_s:g} s", "run it by hand to see what it waits for"
        ) from None
    finally:
        _end(process)
    return Finished(process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def ansible_environment(*, keep_settings: bool) -> dict[str, str]:
    """The environment for an Ansible program: ours, in a UTF-8 locale, with nothing that asks or logs.

    Args:
        keep_settings: Whether the user's own `ANSIBLE_*` settings stay, as an inventory may need them.
    """
    dropped = ("ANSIBLE_LOG_PATH", "ANSIBLE_DEBUG", "ANSIBLE_VERBOSITY", "ANSIBLE_ASK_VAULT_PASS")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ANSIBLE_") or (keep_settings and name not in dropped)
    }
    locale = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG") or ""
    if "utf" not in locale.lower():
        environment["LC_ALL"] = "C.UTF-8"  # Ansible refuses to start in any other kind
    return environment | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_DEVEL_WARNING": "0"}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
