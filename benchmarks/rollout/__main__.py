"""`python -m benchmarks.rollout`: a roll-out over SSH to 1, 10 and 50 hosts, in ratios to a bare `ansible -m ping`.

The contenders: the shipped playbook, which installs a set of three files by one module call a host; four `copy` tasks
and a handler, as people write them; each with something to change, and again with nothing. All forks at once. Needs
what `rechain demo --hosts` needs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rollout.site import Site, chains, machines
from tasks.fleet.asking import PLAYBOOKS

_PROGRAMS = Path(sys.executable).parent
_PARENT = "/var/tmp"  # noqa: S108  # machines see nothing of /tmp; mkdtemp names what is below
_AIM, _COPIES_AIM = 1.4, 3


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
    best: dict[str, float] = {}
    following = cycle(chains())
    for _ in range(rounds):
        site.deploy(next(following))
        for name, command in _contenders(site).items():
            spent = _seconds(site, command)
            best[name] = min(best.get(name, spent), spent)
    ping = best["ansible -m ping"]
    sys.stdout.write(f"{len(site.hosts)} hosts; the best of {rounds} interleaved rounds\n")
    for name, spent in best.items():
        sys.stdout.write(f"  {name:<36} {spent:>7.2f} s {spent / ping:>7.2f} times the ping\n")
    ours, copies = best["rechain"], best["four copies and a handler"]
    sys.stdout.write(f"  the copies take {copies / ours:.2f} times as long as rechain (aim: {_COPIES_AIM}); ")
    sys.stdout.write(f"rechain takes {ours / ping:.2f} times the ping, {best['rechain, nothing to do'] / ping:.2f} ")
    sys.stdout.write(f"with nothing to do (aim: {_AIM})\n")
    sys.stdout.flush()


def _contenders(site: Site) -> dict[str, Sequence[str]]:
    """In this order: the second of a kind has nothing to change."""
    forks = ["-i", str(site.inventory), "--forks", str(len(site.hosts))]
    variables = {
        "rechain_environment": "bench",
        "rechain_hosts": list(site.hosts),
        "rechain_batch": len(site.hosts),
    }
    ours = ["ansible-playbook", *forks, "-e", json.dumps(variables), str(PLAYBOOKS / "install.yml")]
    copies = ["ansible-playbook", *forks, str(site.root / "copies.yml")]
    return {
        "ansible -m ping": ["ansible", *forks, "all", "-m", "ping"],
        "rechain": ours,
        "rechain, nothing to do": ours,
        "four copies and a handler": copies,
        "four copies, nothing to do": copies,
    }


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
