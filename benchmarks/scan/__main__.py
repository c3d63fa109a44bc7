"""`python -m benchmarks.scan`: what a scan of the wire costs, in ratios to others that look at the same endpoints.

One responder on this machine serves all endpoints, 1 % of which are dead and 1 % silent. CPU is that of the looking
process alone. The certificates found are asserted: exactly those that are served. `openssl s_client` is run on a
sample and its cost multiplied, which is said.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.scan.contenders import live_fingerprints
from benchmarks.scan.endpoints import read_endpoints, write_endpoints
from benchmarks.scan.others import nmap, openssl_loop
from benchmarks.scan.prefect_server import prefect_server

_SAMPLE = 100
_AIM_CPU, _AIM_RATE, _AIM_RSS, _AIM_FLOW = 1.5, 1000, 100, 20


def main() -> None:
    """Measure and print."""
    options = _options()
    for key in options.keys:
        for count in options.endpoints:
            with tempfile.TemporaryDirectory(prefix="rechain-bench-") as name:
                directory = Path(name)
                write_endpoints(directory, count, key)
                with _responder(directory):
                    _compare(directory, key, count, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description=__doc__)
    parser.add_argument("--endpoints", type=int, nargs="+", default=[1000, 10000], help="how many (1000 10000)")
    parser.add_argument("--keys", nargs="+", choices=["rsa", "p256"], default=["rsa", "p256"], help="key types (both)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="interleaved rounds of rechain and the bare handshake (3)"
    )
    parser.add_argument("--no-nmap", action="store_true", help="leave nmap out, which takes minutes")
    parser.add_argument("--flow", action="store_true", help="also measure the flow, on a Prefect server of its own")
    return parser.parse_args()


@contextmanager
def _responder(directory: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.scan.responder", str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise SystemExit("the responder did not start")
        try:
            yield
        finally:
            process.terminate()


def _compare(directory: Path, key: str, count: int, options: argparse.Namespace) -> None:
    live = live_fingerprints(directory)
    places = read_endpoints(directory)
    bare, ours = _best_of(options.rounds, directory, "bare", "rechain")
    _require(ours["found"], live, "rechain")
    sample = [place for place in places if place.kind == "live"][:_SAMPLE]
    loop = openssl_loop(sample)
    _require(loop["found"], {place.address: place.fingerprint for place in sample}, "openssl")
    factor = count / len(sample)
    rows = {
        "bare handshake in memory, both sides": bare,
        "rechain": ours,
        f"openssl s_client ({_SAMPLE}, multiplied)": {name: loop[name] * factor for name in ("cpu_s", "wall_s")},
    }
    if not options.no_nmap:
        other = nmap(places)
        if other is None:
            _show("nmap is not installed, so it is left out\n")
        else:
            _require(other["found"], live, "nmap")
            rows["nmap --script ssl-cert"] = other
    if options.flow:
        rows["rechain in a flow"] = _in_a_flow(directory, live, ours)
    _print(f"{key}, {count} endpoints, {len(live)} of them alive", rows, bare, len(live))


def _best_of(rounds: int, directory: Path, *ways: str) -> list[dict[str, Any]]:
    """Each way's best round by CPU, interleaved: a machine that others use is at times slower."""
    measured = [[_run(way, directory) for way in ways] for _ in range(rounds)]
    return [min(of_one_way, key=lambda one: float(one["cpu_s"])) for of_one_way in zip(*measured, strict=True)]


def _print(title: str, rows: dict[str, dict[str, Any]], bare: dict[str, Any], live: int) -> None:
    _show(f"{title}\n  {'':<38} {'CPU s':>8} {'wall s':>8} {'CPU ratio':>10} {'alive/CPU s':>12} {'MiB':>6}\n")
    for name, row in rows.items():
        memory = f"{row['rss_mib']:>6.0f}" if "rss_mib" in row else f"{'':>6}"
        rate = live / row["cpu_s"]
        _show(f"  {name:<38} {row['cpu_s']:>8.2f} {row['wall_s']:>8.2f} {row['cpu_s'] / bare['cpu_s']:>10.2f} ")
        _show(f"{rate:>12.0f} {memory}\n")
    ours = rows["rechain"]
    _show(
        f"  CPU {ours['cpu_s'] / bare['cpu_s']:.2f} times the bare handshake's, both sides (aim: at most {_AIM_CPU}); "
    )
    _show(f"{ours['cpu_s'] / bare['client_cpu_s']:.2f} times its client's share alone\n")
    _show(f"  {live / ours['cpu_s']:.0f} endpoints a second on a core (aim: at least {_AIM_RATE}); ")
    _show(f"{ours['rss_mib']:.0f} MiB (aim: at most {_AIM_RSS})\n\n")


def _in_a_flow(directory: Path, live: Mapping[str, str], ours: dict[str, Any]) -> dict[str, Any]:
    """The flow, which asks a Prefect server that is already there, as it is for a nightly run."""
    with prefect_server() as variables:
        flow = _run("flow", directory, variables)
    _require(flow["found"], live, "flow")
    more = (flow["wall_s"] / ours["wall_s"] - 1) * 100
    _show(f"the flow takes {more:.0f} % longer on the clock (aim: at most {_AIM_FLOW} %)\n")
    return flow


def _run(way: str, directory: Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scan.contenders", way, str(directory)]
    environment = {**os.environ, **(variables or {})}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=3000, env=environment)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _require(found: object, wanted: object, who: str) -> None:
    if found != wanted:
        raise SystemExit(f"{who} did not find exactly the certificates that are served")


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
