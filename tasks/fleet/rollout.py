"""Roll out what certs.yml holds: by our playbook, or by the users' own, batch by batch in the order given.

rechain never reads a key for that: Ansible takes the certificates and the vault from the inventory's group_vars, as it
does for any other playbook.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, repeat, takewhile
from pathlib import Path

from tasks.fleet.hearing import Hearing
from tasks.fleet.inventory import inventory_path
from tasks.fleet.outcome import HostEvent, HostResult, Outcome, RollOutResult, raise_for
from tasks.fleet.playbook import Ended, Play, last_words, run_play
from tasks.repository.settings import Playbook

__all__ = ["HostEvent", "HostResult", "Outcome", "RollOutResult", "command_line", "raise_for", "roll_out"]

_CUT = "the run was cut short; work on the host may go on for a while"
PLAYBOOK = Path(__file__).resolve().parent.parent / "playbooks" / "install.yml"


def roll_out(
    root: Path,
    environment: str,
    *,
    hosts: Sequence[str],
    claim: int,
    phase: str,
    batch: int | Sequence[int] = 1,
    timeout_s: float,
    on_event: Callable[[HostEvent], None] | None = None,
    on_cut: Callable[[RollOutResult], None] | None = None,
    settings_playbook: Playbook | None = None,
    start: bool = False,
) -> RollOutResult:
    """Install what certs.yml and the vault hold now on hosts, have it taken, and prove it.

    Stops after the first batch in which a host failed. With the users' own playbook pairs are not switched at once,
    nothing is proven and nothing is restored; claims are not seen by the hosts.

    Side effect: files and reloads on hosts. Idempotent, safe to retry.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        hosts: Inventory names, in the order to take them.
        claim: Number of the claim; a host that has seen a higher one refuses.
        phase: Name of the phase, for the hosts' ledgers.
        batch: Hosts at a time; or a number for each batch, as Ansible's `serial` takes them, the last one for the rest.
        timeout_s: Seconds for all of it.
        on_event: Hears the progress, in the caller's thread.
        on_cut: Hears what is known of each host when an exception, such as Ctrl-C, ends the run in the middle.
        settings_playbook: The users' own playbook, to be run instead of ours.
        start: Whether services that do not run are started.

    Returns:
        A result for each host in the order given; does not raise for a host's failure, see `raise_for`.

    Raises:
        RepositoryError: There is no such environment, or Ansible is not installed.
    """
    ears = _Ears(on_event or (lambda _event: None), on_cut or (lambda _result: None))
    if not hosts:
        return RollOutResult(())
    widest = batch if isinstance(batch, int) else max(batch)
    play = Play(root.absolute(), PLAYBOOK, inventory_path(root, environment).absolute(), parallel=widest)
    if settings_playbook is not None:
        theirs = root.absolute() / settings_playbook.path
        batches = _in_batches(hosts, [batch] if isinstance(batch, int) else batch)
        return _theirs(replace(play, playbook=theirs, tags=settings_playbook.tags), batches, timeout_s, ears)
    variables = {**_variables(environment, hosts, claim, phase, batch), "rechain_start": start}
    return _run(replace(play, extra_vars=variables), hosts, timeout_s, ears, is_ours=True)


def command_line(
    root: Path,
    environment: str,
    hosts: Sequence[str],
    phase: str,
    *,
    claim: int = 0,
    batch: int | Sequence[int] = 1,
    settings_playbook: Playbook | None = None,
) -> str:
    """The command that deploys a phase without rechain, to be pasted into a shell.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        hosts: Inventory names, in the order to take them.
        phase: Name of the phase.
        claim: Number of the claim that the rotation holds.
        batch: Hosts at a time, or a number for each batch.
        settings_playbook: The users' own playbook, if they have one.

    Raises:
        RepositoryError: There is no such environment.
    """
    root = root.absolute()
    inventory = inventory_path(root, environment).relative_to(root)
    command = ["ansible-playbook", "-i", str(inventory)]
    if settings_playbook is None:
        variables = json.dumps(_variables(environment, hosts, claim, phase, batch))
        command += ["-e", variables, str(PLAYBOOK)]
    else:
        tags = ["--tags", ",".join(settings_playbook.tags)] if settings_playbook.tags else []
        command += ["--limit", ",".join(hosts), *tags, settings_playbook.path]
    return f"cd {shlex.quote(str(root))} && {shlex.join(command)}"


def _variables(
    environment: str, hosts: Sequence[str], claim: int, phase: str, batch: int | Sequence[int]
) -> Mapping[str, object]:
    return {
        "rechain_environment": environment,
        "rechain_claim": claim,
        "rechain_phase": phase,
        "rechain_hosts": list(hosts),
        "rechain_batch": batch if isinstance(batch, int) else list(batch),
    }


@dataclass(frozen=True, slots=True)
class _Ears:
    """Who hears the progress, and what is known when a run is cut short."""

    event: Callable[[HostEvent], None]
    cut: Callable[[RollOutResult], None]


def _in_batches(hosts: Sequence[str], sizes: Sequence[int]) -> list[tuple[str, ...]]:
    """Hosts as Ansible's `serial` parts them: the last size counts for all that is left."""
    left = iter(hosts)
    batches = (tuple(islice(left, size)) for size in chain(sizes, repeat(sizes[-1])))
    return list(takewhile(bool, batches))


def _theirs(play: Play, batches: Sequence[tuple[str, ...]], timeout_s: float, ears: _Ears) -> RollOutResult:
    """Run the users' playbook once a batch: its own `serial` and order are not ours to rely on."""
    deadline = time.monotonic() + timeout_s
    done: tuple[HostResult, ...] = ()
    for number, limit in enumerate(batches, start=1):
        rest = tuple(HostResult(host, Outcome.NOT_REACHED) for later in batches[number:] for host in later)
        whole = replace(ears, cut=partial(_cut_in_batch, ears, done, rest))
        result = _run(replace(play, limit=limit), limit, max(1.0, deadline - time.monotonic()), whole, is_ours=False)
        done += result.hosts
        if not result.is_done:
            return RollOutResult((*done, *rest), result.error)
    return RollOutResult(done)


def _cut_in_batch(
    ears: _Ears, before: tuple[HostResult, ...], after: tuple[HostResult, ...], batch: RollOutResult
) -> None:
    ears.cut(RollOutResult((*before, *batch.hosts, *after), batch.error))


def _run(play: Play, hosts: Sequence[str], timeout_s: float, ears: _Ears, *, is_ours: bool) -> RollOutResult:
    hearing = Hearing(hosts, ears.event, is_ours=is_ours)
    try:
        ended = run_play(play, timeout_s=timeout_s, on_event=hearing.hear)
    except BaseException:
        ears.cut(RollOutResult(hearing.results(_CUT), _CUT))
        raise
    why = _why(ended, timeout_s)
    results = hearing.results(why)
    return RollOutResult(results, why if not _is_explained(results) else "")


def _is_explained(results: Sequence[HostResult]) -> bool:
    """Whether a host accounts for the end, or all is done."""
    return all(each.is_done for each in results) or any(
        not each.is_done and each.outcome is not Outcome.NOT_REACHED for each in results
    )


def _why(ended: Ended, timeout_s: float) -> str:
    """Why Ansible ended, where it tells of no host."""
    said = last_words(ended) or "it said nothing"
    if ended.status == "timeout":
        return (
            f"Ansible did not end within {timeout_s:.0f} s, and said last: {said}; work on a host may go on for a while"
        )
    return f"ansible-playbook ended with code {ended.code}: {said}" if ended.code else _incomplete(ended, said)


def _incomplete(ended: Ended, said: str) -> str:
    if ended.code is None:
        return f"ansible-runner ended without telling how: {said}"
    return "Ansible did not take every host: are they all in the inventory?"
