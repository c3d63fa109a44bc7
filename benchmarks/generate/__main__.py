"""`python -m benchmarks.generate`: measure what issuing a chain costs, and print the ratios.

The bare loop and rechain are measured from where their work begins, so that Python's start is not compared; a row of
its own shows rechain with its start and imports. The other programs are measured whole, with their descendants.

chainsmith makes RSA 4096 keys whatever its spec says, so it is compared at RSA 4096, with all others at the same; the
aims are judged at RSA 2048. It is GPL: installed into a virtual environment of its own, and run as a program only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import yaml

from benchmarks.generate.measure import Contender, Cost, interleaved, median, table

_PROJECT = Path(__file__).parents[2]
_CAS = 3
_CHAINSMITH = "chainsmith==0.2.5"
_AIM_CPU, _AIM_SPEEDUP = 1.15, 1.6


def main() -> None:
    """Measure and print."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="rechain-bench-") as directory:
        work = Path(directory)
        if options.leaves:
            _many_leaves(work, options.leaves, options.workers)
            return
        if options.rounds:
            _aims(work, options.rounds, options.workers)
        if options.chainsmith_rounds:
            _beside_chainsmith(work, options.chainsmith_rounds, options.workers)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="rounds at RSA 2048 (15); 0 for none")
    parser.add_argument("--chainsmith-rounds", type=int, default=1, help="rounds at RSA 4096, minutes each; 0 for none")
    parser.add_argument("--workers", type=int, default=2, help="key processes, as many as there are cores (2)")
    parser.add_argument("--leaves", type=int, default=0, help="only issue this many leaves, once")
    return parser.parse_args()


def _aims(work: Path, rounds: int, workers: int) -> None:
    spec, keys = _spec(work, servers=10, clients=20, bits=2048)
    one, many = _rechain(spec, 1), _rechain(spec, workers)
    contenders = [_bare(2048, keys), many, one, _openssl(spec, 2048), *_ceiling(keys, workers)]
    costs = interleaved(contenders, rounds)
    _show(table("RSA 2048, 10 servers, 20 clients, 33 keys", costs, contenders[0].name))
    cpu = median(costs[many.name]).cpu_s / median(costs[contenders[0].name]).cpu_s
    speedup = median(costs[one.name]).wall_s / median(costs[many.name]).wall_s
    _show(f"  CPU {cpu:.2f} times the bare loop's (aim: at most {_AIM_CPU}); ")
    _show(f"{speedup:.2f} times faster with {workers} workers than with one (aim: at least {_AIM_SPEEDUP})\n\n")


def _beside_chainsmith(work: Path, rounds: int, workers: int) -> None:
    spec, keys = _spec(work, servers=10, clients=20, bits=4096)
    contenders = [_bare(4096, keys), _rechain(spec, workers), _openssl(spec, 4096), *_chainsmith(work, spec)]
    costs = interleaved(contenders, rounds)
    _show(table("RSA 4096, the only key that chainsmith makes; same spec", costs, contenders[0].name))


def _many_leaves(work: Path, leaves: int, workers: int) -> None:
    spec, keys = _spec(work, servers=leaves // 11, clients=leaves - leaves // 11, bits=2048)
    contenders = [_bare(2048, keys), _rechain(spec, workers)]
    costs: dict[str, list[Cost]] = interleaved(contenders, 1)
    _show(table(f"RSA 2048, {leaves} leaves", costs, contenders[0].name))


def _spec(work: Path, *, servers: int, clients: int, bits: int) -> tuple[Path, int]:
    """A spec that all contenders read, and the number of keys that its chain takes."""
    usages = {"keyUsages": ["digitalSignature", "keyEncipherment", "dataEncipherment"]}
    named = {f"db{number}.example.com": [f"10.0.{number // 250}.{number % 250 + 1}"] for number in range(servers)}
    roles = [f"application{number}" for number in range(clients)]
    document = {
        "subject": {"C": "NL", "ST": "Utrecht", "L": "Blaricum", "O": "Company", "OU": "Databases", "CN": "postgres"},
        "intermediates": [
            {"name": "server", "extendedKeyUsages": ["serverAuth"], **usages, "servers": named},
            {"name": "client", "extendedKeyUsages": ["clientAuth"], **usages, "clients": roles},
        ],
        "key": f"rsa-{bits}",
    }
    path = work / f"chainsmith_{bits}.yml"
    path.write_text(yaml.safe_dump(document))
    return path, servers + clients + _CAS


def _bare(bits: int, keys: int) -> Contender:
    return Contender("bare key loop", _python("bare_loop", str(bits), str(keys)), _PROJECT)


def _rechain(spec: Path, workers: int) -> Contender:
    name = f"rechain, {workers} worker{'s' * (workers > 1)}"
    return Contender(name, _python("issue_once", str(spec), str(workers)), _PROJECT, f"{name}, with imports")


def _openssl(spec: Path, bits: int) -> Contender:
    return Contender("openssl loop", _python("openssl_loop", str(spec), str(bits)), _PROJECT)


def _ceiling(keys: int, workers: int) -> list[Contender]:
    """As many bare loops at once as there are workers, each with its share: what this machine's cores give now."""
    if workers == 1:
        return []
    share = " ".join(_python("bare_loop", "2048", str(round(keys / workers))))
    return [
        Contender(f"{workers} bare loops at once", ("sh", "-c", f"{share} >/dev/null & " * workers + "wait"), _PROJECT)
    ]


def _chainsmith(work: Path, spec: Path) -> list[Contender]:
    """Chainsmith from the package index, as a program; without it when it can't be installed."""
    environment = work / "chainsmith"
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")
    pip = [python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run([*pip, "PyYAML"], check=True, timeout=300)
        # It pins a PyYAML that newer Pythons can't build.
        subprocess.run([*pip, "--no-deps", _CHAINSMITH], check=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        _show(f"chainsmith is not measured: {error}\n")
        return []
    out, program = work / "out", environment / "bin" / "chainsmith"
    run = f"rm -rf {out} && mkdir {out} && {program} -c {spec} -t {out} -C {out}/certs -p {out}/keys"
    return [Contender(_CHAINSMITH, ("sh", "-c", run), work)]


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"benchmarks.generate.{module}", *arguments)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
