"""One question to many hosts by a playbook that changes nothing: no vault, no key, an answer or a reason from each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.fleet.inventory import without_certs
from tasks.fleet.playbook import Ended, Play, last_words, run_play

PLAYBOOKS = Path(__file__).resolve().parent.parent / "playbooks"
_AT_ONCE = 50
_LEAST_S = 60.0
_A_HOST_S = 2.0


def ask_hosts(
    root: Path,
    environment: str,
    playbook: str,
    asked: Mapping[str, Mapping[str, object]],
    *,
    on_event: Callable[[Mapping[str, Any]], None],
    timeout_s: float | None = None,
) -> str:
    """Run a playbook on hosts that know what they are asked by a variable. Idempotent, safe to retry.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        playbook: File name of the playbook.
        asked: Variable to inventory host to what it is asked; a host that is not among them is asked nothing.
        on_event: Hears the answer of each host, and nothing else.
        timeout_s: Seconds for all of it; None for a minute, or for two seconds a host where that is more.

    Returns:
        Why a host of which nothing was heard was silent, in one line.

    Raises:
        RepositoryError: There is no such environment, or Ansible is not installed.
    """
    hosts = {host for values in asked.values() for host in values}
    limit_s = timeout_s or max(_LEAST_S, _A_HOST_S * len(hosts))

    def hear(event: Mapping[str, Any]) -> None:
        if event.get("host") in hosts and event["event"] != "runner_on_start":
            on_event(event)

    with without_certs(root.absolute(), environment, asked) as inventory:
        path, limit = PLAYBOOKS / playbook, tuple(sorted(hosts))
        play = Play(root.absolute(), path, inventory, limit=limit, parallel=min(len(hosts), _AT_ONCE))
        return _why_silent(run_play(play, timeout_s=limit_s, on_event=hear), limit_s)


def why_not(event: Mapping[str, Any]) -> str:
    """Why a host gave no answer, in one line."""
    said = " ".join(str(event["result"].get("msg", "no reason was given")).split())
    does_not_answer = event["event"] == "runner_on_unreachable"
    return f"does not answer: {said}" if does_not_answer else f"can't be looked at: {said}"


def _why_silent(ended: Ended, limit_s: float) -> str:
    if ended.status == "timeout":
        return f"nothing was heard within {limit_s:g} s"
    return last_words(ended) or "Ansible said nothing about it"
