"""`python -m benchmarks.files`: what `rechain lint` costs for thousands of PEM files, in ratios.

The bare load reads each file and parses its certificate; the inventory also takes what any list of certificates shows
(both names, serial, dates, fingerprint). rechain reads, parses and judges by every policy. `openssl x509 -checkend` is
one process a file, run on a sample and multiplied, which is said.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from benchmarks.scan.endpoints import of_kind, write_endpoints
from tasks.lint import lint_files

_SAMPLE, _AIM = 200, 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.files", description=__doc__)
    parser.add_argument("--files", type=int, default=10000, help="how many (10000)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (3)")
    parser.add_argument("--keys", nargs="+", choices=["rsa", "p256"], default=["rsa", "p256"])
    options = parser.parse_args()
    for key in options.keys:
        with tempfile.TemporaryDirectory(prefix="rechain-bench-") as name:
            _compare(Path(name), key, options.files, options.rounds)


def _compare(directory: Path, key: str, count: int, rounds: int) -> None:
    paths = _write(directory, key, count)
    ways: dict[str, Callable[[Sequence[Path]], int]] = {"bare load": _load, "inventory": _inventory, "rechain": _lint}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            best[name] = min(best[name], _seconds(way, paths))
    best[f"openssl x509 -checkend ({_SAMPLE}, multiplied)"] = _openssl(paths[:_SAMPLE]) * len(paths) / _SAMPLE
    _show(f"{key}, {len(paths)} files; the best of {rounds} interleaved rounds\n")
    for name, spent in best.items():
        _show(f"  {name:<45} {spent:>8.2f} s {spent / best['bare load']:>9.2f} times the bare load\n")
    _show(f"  rechain: {best['rechain'] / best['bare load']:.2f} times the bare load (aim: at most {_AIM}), ")
    _show(f"{best['rechain'] / best['inventory']:.2f} times the inventory\n\n")


def _write(directory: Path, key: str, count: int) -> list[Path]:
    """Files with one certificate each; the benchmark of the wire makes them."""
    places = write_endpoints(directory, count + count // 40, key)
    paths = [directory / f"{place.address}.pem" for place in of_kind(places, "live")][:count]
    for path in paths:
        text = path.read_text()
        path.write_text(text[: text.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----\n")
    return paths


def _load(paths: Sequence[Path]) -> int:
    now = datetime.now(UTC)
    return sum(x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc > now for path in paths)


def _inventory(paths: Sequence[Path]) -> int:
    rows = []
    for path in paths:
        one = x509.load_pem_x509_certificate(path.read_bytes())
        dates = (one.not_valid_before_utc, one.not_valid_after_utc)
        names = (one.subject.rfc4514_string(), one.issuer.rfc4514_string())
        rows.append((*names, one.serial_number, *dates, one.fingerprint(hashes.SHA256()).hex()))
    return len(rows)


def _lint(paths: Sequence[Path]) -> int:
    findings = lint_files(paths)
    if any(finding.policy in ("readable", "expired") for finding in findings):
        raise SystemExit("a sound file was not read")
    return len(paths)


def _seconds(way: Callable[[Sequence[Path]], int], paths: Sequence[Path]) -> float:
    begin = time.process_time()
    if way(paths) != len(paths):
        raise SystemExit("not every file was read")
    return time.process_time() - begin


def _openssl(paths: Sequence[Path]) -> float:
    begin = time.perf_counter()
    for path in paths:
        subprocess.run(
            ["openssl", "x509", "-checkend", "86400", "-noout", "-in", path], capture_output=True, check=True
        )
    return time.perf_counter() - begin


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
