"""`python -m benchmarks.rollout`: a roll-out over SSH to 1, 10 and 50 hosts, in ratios to a bare `ansible -m ping`.

The contenders: the shipped playbook, which installs a set of three files by one module call a host; four `copy` tasks
and a handler, as people write them; each with something to change, and again with nothing. All hosts at once, keys in
a vault. Then both one host at a time, as a phase takes servers: ours as a run does it, through ansible-runner. Needs
what `rechain demo --hosts` needs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rollout.site import ENVIRONMENT, Site, chains, machines
from lab.chain import Chain
from tasks.fleet.asking import PLAYBOOKS
from tasks.fleet.rollout import raise_for, roll_out

_PROGRAMS = Path(sys.executable).parent
_PARENT = "/var/tmp"  # noqa: S108  # machines see nothing of /tmp; mkdtemp names what is below
_AIM, _COPIES_AIM = 1.4, 3
_PING, _OURS, _NOTHING = "ansible -m ping", "rechain", "rechain, nothing to do"
_COPIES, _RUN = "four copies and a handler", "rechain as a run does it, one by one"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout", description=__doc__)
    parser.add_argument("--hosts", nargs="+", type=int, default=[1, 10, 50], help="how many (1 10 50)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (3)")
    options = parser.parse_args()
    for count in options.hosts:
        with TemporaryDirectory(prefix="rechain-bench-", dir=_PARENT) as name, machines(Path(name), count) as site:
            _compare(site, options.rounds)


def _compare(site: Site, rounds: int) -> None:
    following = cycle(chains())
    best = _best(site, following, rounds, _contenders(site))
    ping, ours, copies = best[_PING], best[_OURS], best[_COPIES]
    sys.stdout.write(f"{len(site.hosts)} hosts; the best of {rounds} interleaved rounds\n")
    for name, spent in best.items():
        sys.stdout.write(f"  {name:<40} {spent:>7.2f} s {spent / ping:>7.2f} times the ping\n")
    sys.stdout.write(f"  the copies take {copies / ours:.2f} times as long as rechain (aim: {_COPIES_AIM}); ")
    sys.stdout.write(f"rechain takes {ours / ping:.2f} times the ping, {best[_NOTHING] / ping:.2f} ")
    sys.stdout.write(f"with nothing to do (aim: {_AIM})\n")
    sys.stdout.flush()
    for name, spent in _best(site, following, 1, _one_by_one(site)).items():
        sys.stdout.write(f"  {name:<40} {spent:>7.2f} s {spent / len(site.hosts):>7.2f} s a host, one round\n")
    sys.stdout.flush()


def _best(
    site: Site, following: Iterator[Chain], rounds: int, contenders: dict[str, Callable[[], float]]
) -> dict[str, float]:
    """Seconds that each took at best, with another chain to install in each round."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        site.deploy(next(following))
        for name, measure in contenders.items():
            spent = measure()
            best[name] = min(best.get(name, spent), spent)
    return best


def _contenders(site: Site) -> dict[str, Callable[[], float]]:
    """In this order: the second of a kind has nothing to change."""
    every = ["-i", str(site.inventory), "--forks", str(len(site.hosts))]
    variables = {
        "rechain_environment": ENVIRONMENT,
        "rechain_hosts": list(site.hosts),
        "rechain_batch": len(site.hosts),
    }
    playbook = str(PLAYBOOKS / "install.yml")
    ours = partial(_seconds, site, ["ansible-playbook", *every, "-e", json.dumps(variables), playbook])
    copies = ["ansible-playbook", *every, str(site.root / "copies.yml"), "-e"]
    at_once = partial(_seconds, site, [*copies, f"at_a_time={len(site.hosts)}"])
    return {
        _PING: partial(_seconds, site, ["ansible", *every, "all", "-m", "ping"]),
        _OURS: ours,
        _NOTHING: ours,
        _COPIES: at_once,
        "four copies, nothing to do": at_once,
    }


def _one_by_one(site: Site) -> dict[str, Callable[[], float]]:
    copies = ["ansible-playbook", "-i", str(site.inventory), str(site.root / "copies.yml"), "-e", "at_a_time=1"]
    return {_RUN: partial(_run_s, site), f"{_COPIES}, one by one": partial(_seconds, site, copies)}


def _run_s(site: Site) -> float:
    started = time.perf_counter()
    raise_for(
        roll_out(
            site.root, ENVIRONMENT, hosts=site.hosts, claim=1, phase="overlap", batch=1, timeout_s=60 * len(site.hosts)
        )
    )
    return time.perf_counter() - started


def _seconds(site: Site, command: Sequence[str]) -> float:
    program, *arguments = command
    started = time.perf_counter()
    done = subprocess.run(
        [str(_PROGRAMS / program), *arguments],
        cwd=site.root,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    spent = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{program}: {done.stdout[-2000:]}{done.stderr[-500:]}")
    return spent


if __name__ == "__main__":
    main()
