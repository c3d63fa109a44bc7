"""Other programs that look at endpoints: `openssl s_client`, and nmap's script ssl-cert."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from benchmarks.scan.endpoints import PORT, Place

_LIMIT_S = 120
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def openssl_loop(places: Sequence[Place]) -> dict[str, Any]:
    """One `openssl s_client -starttls postgres` after the other."""
    begin, cpu = time.perf_counter(), _children_cpu_s()
    found = {}
    for place in places:
        command = ["openssl", "s_client", "-connect", f"{place.address}:{PORT}", "-starttls", "postgres"]
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False).stdout
        pem = _PEM.search(said)
        if pem:
            found[place.address] = _fingerprint(pem[0])
    return {"cpu_s": _children_cpu_s() - cpu, "wall_s": time.perf_counter() - begin, "found": found}


def nmap(places: Sequence[Place]) -> dict[str, Any] | None:
    """`nmap --script ssl-cert` over all endpoints; None where nmap is not installed.

    Left to itself it takes hosts in small groups, and waits minutes for the silent one in each: it gets large groups
    and a time limit. One as short as ours ends its scripts before they have come to their turn.
    """
    program = shutil.which("nmap")
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as directory:
        targets, answer = Path(directory, "targets"), Path(directory, "answer.xml")
        targets.write_text("\n".join(place.address for place in places))
        begin, cpu = time.perf_counter(), _children_cpu_s()
        command = [program, "-n", "-Pn", "-sT", "-T4", "-p", str(PORT), "--script", "ssl-cert"]
        limits = ["--min-hostgroup", "1024", "--script-timeout", f"{_LIMIT_S}s"]
        subprocess.run(
            [*command, *limits, "-iL", str(targets), "-oX", str(answer)], capture_output=True, check=True, timeout=3000
        )
        cost = {"cpu_s": _children_cpu_s() - cpu, "wall_s": time.perf_counter() - begin}
        return {**cost, "found": dict(_in_answer(answer))}


def _in_answer(path: Path) -> list[tuple[str, str]]:
    found = []
    for host in ElementTree.parse(path).getroot().iter("host"):  # noqa: S314  # nmap's own file
        address = host.find("address")
        for element in host.iter("elem"):
            if element.get("key") == "pem" and address is not None and element.text:
                found.append((str(address.get("addr")), _fingerprint(element.text.encode())))
    return found


def _fingerprint(pem: bytes) -> str:
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()


def _children_cpu_s() -> float:
    times = os.times()
    return times.children_user + times.children_system
