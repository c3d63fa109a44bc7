"""`python -m benchmarks.prove`: what plan and proof of a whole rotation cost, from a small fleet to a large one.

Each fleet has as many servers as clients, every client on every server's host, every pair in every state of four steps.
So files on hosts grow with the square of the leaves: the proof is told a leaf, the plan a file.
Each size runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric import ec

from rechain.certs import ForeignCAs, Rotating
from rechain.fleet import Fleet, Host, ManagedClient, Service, ServiceKind
from rechain.issue import Issued, issue, key_types
from rechain.judge import HandshakeJudge
from rechain.phase import Phase
from rechain.plan import plan
from rechain.prover import prove
from rechain.spec import ChainSpec, parse_spec

_SIZES = (25, 50, 100, 200)
_SECONDS, _MIB = 10, 300


def main() -> None:
    """Measure and print, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prove", description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(_SIZES), help="servers, and as many clients")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.stdout.write(json.dumps(_measure(options.one)))
        return
    sys.stdout.write(
        "servers x clients   plan     proof    memory   proof a leaf, plan a file, of the smallest fleet's\n"
    )
    smallest: tuple[float, float] | None = None
    for size in options.sizes:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.prove", "--one", str(size)], capture_output=True, text=True, check=True
        )
        told = json.loads(done.stdout)
        leaf, file = told["proof"] / size, told["plan"] / size**2
        smallest = smallest or (leaf, file)
        sys.stdout.write(
            f"{size:>7} x {size:<7} {told['plan']:>6.2f} s {told['proof']:>6.2f} s {told['mib']:>6.0f} MiB"
        )
        sys.stdout.write(f" {leaf / smallest[0]:>6.2f} {file / smallest[1]:>6.2f}")
        sys.stdout.write(
            f"   ({told['pairs']} pairs, {told['judgements']} judgements, {2 * size * (size + 1)} files)\n"
        )
    sys.stdout.write(f"aim at 200 x 200: under {_SECONDS} s and {_MIB} MiB, growth linear in leaves\n")


def _measure(size: int) -> dict[str, float]:
    spec = _spec(size)
    current, following = _issue(spec, 1), _issue(spec, 2)
    rotating = Rotating(current.generation, following.generation, ForeignCAs())
    fleet, before = _fleet(size), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    plan(fleet, rotating, Phase.ISSUED, Phase.RETIRED)
    planned = time.perf_counter()
    proof = prove(fleet, rotating, list(pairwise(Phase)), HandshakeJudge({1: current.keys, 2: following.keys}))
    proven = time.perf_counter()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "plan": planned - started,
        "proof": proven - planned,
        "mib": most / 1024,
        "before": before / 1024,
        "pairs": proof.pairs,
        "judgements": proof.judgements,
    }


def _spec(size: int) -> ChainSpec:
    servers = {name: [name] for name in _servers(size)}
    document = {
        "subject": {"O": "Bench", "CN": "postgres"},
        "key": "ecdsa-p256",
        "intermediates": [{"name": "server", "servers": servers}, {"name": "client", "clients": list(_clients(size))}],
    }
    return parse_spec(document, "bench", lambda _name: {})


def _issue(spec: ChainSpec, number: int) -> Issued:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in key_types(spec)]
    return issue(spec, number, now=datetime.now(UTC).replace(microsecond=0), keys=keys)


def _fleet(size: int) -> Fleet:
    clients = tuple(
        ManagedClient(name, f"/home/{name}", name, "postgresql.crt", "postgresql.key", "root.crt", None)
        for name in _clients(size)
    )
    return Fleet("bench", tuple(_host(name, clients) for name in _servers(size)), ())


def _host(name: str, clients: tuple[ManagedClient, ...]) -> Host:
    files = {"cert": "server.crt", "key": "server.key", "ca": "root.crt", "reload": "r", "restart": "s", "log": None}
    service = Service(ServiceKind.POSTGRESQL, name, 5432, "/pki", "postgres", **files)  # type: ignore[arg-type]  # by name
    return Host(name, name, name, is_local=False, services=(service,), clients=clients)


def _servers(size: int) -> tuple[str, ...]:
    return tuple(f"db{number}.bench" for number in range(size))


def _clients(size: int) -> tuple[str, ...]:
    return tuple(f"app{number}" for number in range(size))


if __name__ == "__main__":
    main()
