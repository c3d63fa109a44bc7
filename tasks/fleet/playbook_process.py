"""ansible-runner in a process of its own: a scrubbed environment, nothing kept on disk, and an end with its run.

It is started by `tasks.fleet.playbook`, because ansible-runner writes the environment of the process that it is in to
a file, and forks, which a process with threads must not. It reads one job from standard input and writes one line of
JSON per event that matters to standard output. It ends Ansible when it is told to, and when its parent is gone.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from ansible_runner import Runner, RunnerConfig

from tasks.playbooks.module_utils.rechain_redact import redact

_RUNNERS_OWN = (
    "ANSIBLE_CALLBACK_PLUGINS",
    "ANSIBLE_STDOUT_CALLBACK",
    "ANSIBLE_RETRY_FILES_ENABLED",
    "AWX_ISOLATED_DATA_DIR",
    "RUNNER_OMIT_EVENTS",
    "RUNNER_ONLY_FAILED_EVENTS",
)
_SETTINGS = {"pexpect_timeout": 1, "suppress_output_file": True, "suppress_ansible_output": True}
_HOST_EVENTS = ("runner_on_start", "runner_on_ok", "runner_on_failed", "runner_on_unreachable")
_RESULT = ("msg", "outcome", "changed_files", "served", "changed", "asked", "clock", "looks", "logs")
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_STDERR_CHARS = 300
_COUNTS = ("ok", "changed", "failures", "dark")


def main() -> int:
    """Run one job to its end; the last line written tells how Ansible ended."""
    job = json.loads(sys.stdin.read())
    _adopt_orphans()
    config = _config(job)
    cancelled = _Cancelled(job["parent"])
    runner = Runner(config, event_handler=_tell, cancel_callback=cancelled, status_handler=_forget_command)
    status, code = runner.run()
    _end_workers(job["program"])
    _write({"event": "ended", "status": status, "code": code})
    return 0


class _Cancelled:
    """Whether to stop: asked every second, true once this process is told to end or has lost its parent."""

    def __init__(self, parent: int) -> None:
        self._told, self._parent = False, parent
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def __call__(self) -> bool:
        return self._told or os.getppid() != self._parent

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True


def _adopt_orphans() -> None:
    """Become the parent of what loses its own: Ansible's workers, which are in sessions of their own."""
    with suppress(OSError, AttributeError):  # Linux alone knows how
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_workers(program: str) -> None:
    """End workers that outlived an Ansible that was ended.

    Such a worker tells its result, keys among its arguments, to a pipe that nobody reads: it would wait for ever. The
    module that it may have started goes on to its end.
    """
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text("utf-8", "replace").rpartition(")")[2].split()[1])
            if parent == os.getpid() and program.encode() in stat.with_name("cmdline").read_bytes().split(b"\0"):
                os.kill(int(stat.parent.name), signal.SIGKILL)


def _config(job: Mapping[str, Any]) -> RunnerConfig:
    """The run as ansible-runner wants it, with the environment of this process and nothing that it adds unasked."""
    directory = Path(job["directory"])
    (directory / "env").mkdir(mode=0o700)
    (directory / "env" / "settings").write_text(json.dumps(_SETTINGS), "utf-8")
    config = RunnerConfig(
        private_data_dir=str(directory),
        project_dir=job["root"],
        playbook=job["playbook"],
        inventory=job["inventory"],
        limit=job["limit"],
        extravars=job["extravars"],
        tags=job["tags"],
        forks=job["forks"],
        timeout=job["timeout_s"],
        fact_cache_type="",
        quiet=True,
    )
    config.prepare()
    config.command[0] = job["program"]
    # It would also switch off the check of host keys, which is for the users' ansible.cfg to say.
    config.env = {**os.environ, **{name: config.env[name] for name in _RUNNERS_OWN}}
    return config


def _forget_command(status: Mapping[str, Any], runner_config: RunnerConfig) -> None:
    """Remove the file with the command and its environment as soon as ansible-runner has written it."""
    if status["status"] == "running":
        Path(runner_config.artifact_dir, "command").unlink(missing_ok=True)


def _tell(event: Mapping[str, Any]) -> bool:
    """Pass on what matters of an event, without secrets; False keeps ansible-runner from writing it to disk."""
    kind, data = event["event"], event.get("event_data", {})
    if kind in _HOST_EVENTS:
        _write({"event": kind, "host": data["host"], "ignored": bool(data.get("ignore_errors")), **_result(data)})
    elif kind == "playbook_on_stats":
        _write({"event": kind, "counts": {name: data.get(name, {}) for name in _COUNTS}})
    elif kind in ("verbose", "error", "warning", "system_warning") and event.get("stdout"):
        _write({"event": "said", "text": redact(event["stdout"])})
    return False


def _result(data: Mapping[str, Any]) -> dict[str, Any]:
    result = data.get("res", {})
    found = {name: result[name] for name in _RESULT if name in result}
    if "msg" in found:
        found["msg"] = redact(str(found["msg"]))
    if result.get("module_stderr"):  # the module itself did not answer: Python, or what should have started it, did
        found["msg"] = f"the module did not run: {redact(str(result['module_stderr'])).strip()[-_STDERR_CHARS:]}"
    return {"result": found}


def _write(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
