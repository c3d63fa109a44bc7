"""Run one playbook and hear what happens to each host, with nothing secret written anywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.fleet.credentials import key_directory
from tasks.playbooks.module_utils.rechain_redact import redact
from tasks.repository.programs import ansible_environment, find_program
from tasks.repository.vault import PASSWORD_VARIABLE, password_file

PASS_VARIABLE = "RECHAIN_ANSIBLE_ENVIRONMENT"  # noqa: S105  # a variable's name
_COMPLAINTS = "complaints"
_MODULE = "tasks.fleet.playbook_process"
_TERMINATE_S = 15.0
_LAST_WORDS = 20
_MAX_FORKS = 50
_DEFAULT_FORKS = 5
_KEPT = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TZ", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
        *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "KRB5CCNAME", "KRB5_CONFIG"),  # how Ansible gets to hosts
        *("GNUPGHOME", "PASSWORD_STORE_DIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS"),
    }
)
_KEPT_PREFIXES = ("LC_", "ANSIBLE_")
_IMPOSED = {
    "ANSIBLE_PIPELINING": "1",
    "ANSIBLE_KEEP_REMOTE_FILES": "0",
    "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "0",
    "ANSIBLE_DIFF_ALWAYS": "0",
    "ANSIBLE_LOG_PATH": "/dev/null",  # an ansible.cfg may name one, and without no_log a key is written there
    # Nobody sits at the terminal that ansible-runner makes: a question would last until the time limit.
    "ANSIBLE_ASK_PASS": "0",
    "ANSIBLE_BECOME_ASK_PASS": "0",
    "ANSIBLE_ASK_VAULT_PASS": "0",
    "MAX_EVENT_RES": str(64 * 1024 * 1024),  # ansible-runner drops longer results, by default from 700 kB on
    # ssh would ask for an unknown host key on the terminal that ansible-runner makes, and wait for ever.
    "SSH_ASKPASS": "/bin/false",
    "SSH_ASKPASS_REQUIRE": "force",
}


@dataclass(frozen=True, slots=True)
class Play:
    """One run of a playbook.

    Attributes:
        root: The environment repository; its ansible.cfg counts.
        playbook: The playbook, absolute.
        inventory: What `-i` takes, absolute.
        limit: Hosts to limit it to; None for those that the playbook names.
        tags: Tags to run; empty for all.
        extra_vars: Public values only: they are on the command line.
        parallel: Hosts that are worked on at a time.
    """

    root: Path
    playbook: Path
    inventory: Path
    limit: tuple[str, ...] | None = None
    tags: tuple[str, ...] = ()
    extra_vars: Mapping[str, object] = field(default_factory=dict)
    parallel: int = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """How Ansible ended.

    Attributes:
        status: ansible-runner's word: `successful`, `failed`, `timeout`, `canceled`; `died` when it could not tell.
        code: Exit code of ansible-playbook, 254 when it was ended, None when it could not tell.
        last_words: What it said last that is about no host.
    """

    status: str
    code: int | None
    last_words: tuple[str, ...]


def run_play(play: Play, *, timeout_s: float, on_event: Callable[[Mapping[str, Any]], None]) -> Ended:
    """Run a playbook to its end.

    Side effect: whatever the playbook does. Its files are in a closed directory in memory, removed in any case.
    An exception of `on_event`, KeyboardInterrupt or the end of this process ends Ansible; work that it started on a
    host may outlive that for as long as one module runs.

    Args:
        play: What to run.
        timeout_s: Seconds until it is ended.
        on_event: Hears ansible-runner's events of hosts and `playbook_on_stats`, in the caller's thread.

    Raises:
        RepositoryError: ansible-playbook is not installed, or the vault password file is missing.
    """
    job = _job(play, timeout_s)
    said: list[str] = []
    ended: Mapping[str, Any] = {}
    with key_directory() as directory, _process(job, directory) as lines:
        for line in lines:
            if line["event"] == "said":
                said.append(line["text"].strip())
            elif line["event"] == "ended":
                ended = line
            else:
                on_event(line)
        said += redact((directory / _COMPLAINTS).read_text("utf-8", "replace")).splitlines()
    return Ended(ended.get("status", "died"), ended.get("code"), tuple(said[-_LAST_WORDS:]))


def last_words(ended: Ended) -> str:
    """What Ansible said last, in one line: its errors where it named any."""
    errors = [line for line in ended.last_words if line.startswith(("[ERROR]", "ERROR!", "fatal:"))]
    return " ".join(" ".join(errors or ended.last_words).split())


def scrubbed_environment(given: Mapping[str, str]) -> dict[str, str]:
    """What of an environment Ansible gets: what it, ssh and password scripts need, and no token of anybody else.

    RECHAIN_ANSIBLE_ENVIRONMENT names further variables, separated by commas, for scripts that need them.
    """
    named = {name.strip() for name in given.get(PASS_VARIABLE, "").split(",")}
    return {
        name: value
        for name, value in given.items()
        if name in _KEPT or name in named or name.startswith(_KEPT_PREFIXES)
    }


def _job(play: Play, timeout_s: float) -> dict[str, Any]:
    return {
        "root": str(play.root),
        "playbook": str(play.playbook),
        "inventory": str(play.inventory),
        "limit": ",".join(play.limit) if play.limit else None,
        "tags": ",".join(play.tags) or None,
        "extravars": dict(play.extra_vars),
        "forks": min(max(play.parallel, _DEFAULT_FORKS), _MAX_FORKS),
        "timeout_s": max(1, round(timeout_s)),
        "program": find_program("ansible-playbook"),
    }


@contextmanager
def _process(job: Mapping[str, Any], directory: Path) -> Iterator[Iterator[Mapping[str, Any]]]:
    """The process that holds ansible-runner, as the lines that it writes. It is gone when the block ends."""
    with (directory / _COMPLAINTS).open("w", encoding="utf-8") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=_environment(directory),
            cwd=directory,
            start_new_session=True,  # Ctrl-C is ours to pass on, once
            text=True,
        )
    try:
        yield _lines(process, {**job, "directory": str(directory), "parent": os.getpid()})
    finally:
        _end(process)


def _lines(process: subprocess.Popen[str], job: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if process.stdin is None or process.stdout is None:
        return
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(job))
        process.stdin.close()
    for line in process.stdout:
        yield json.loads(line)


def _end(process: subprocess.Popen[str]) -> None:
    """Have it end Ansible and itself; by force when that takes too long."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_TERMINATE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _environment(directory: Path) -> dict[str, str]:
    environment = scrubbed_environment(ansible_environment(keep_settings=True)) | _IMPOSED
    environment["ANSIBLE_LOCAL_TEMP"] = str(directory / "tmp")
    password = password_file()
    if password:
        environment[PASSWORD_VARIABLE] = str(password)
    return environment
