"""Whether a host's clock lets it use certificates: one that is behind refuses what was issued today.

Runs on the hosts: standard library of Python 3.8 and the `openssl` program.
"""

from __future__ import annotations

import ssl
import subprocess
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from tasks.playbooks.module_utils.rechain_pem import Refused, certificates
    from tasks.playbooks.module_utils.rechain_sets import CertSet
else:
    from ansible.module_utils.rechain_pem import Refused, certificates

_TIMEOUT_S = 10
_DAY_S = 86400.0


def require_fitting_clock(sets: Iterable[CertSet], asked: float) -> None:
    """Refuse certificates that the worker's clock and the host's judge differently. Nothing was touched.

    One that has ended by both, or begins later by both, is no matter of clocks: a chain that has expired is replaced
    like any other, and an owner may publish a CA ahead.

    Args:
        sets: What is to be installed.
        asked: The worker's clock, seconds since 1970; 0 when it is not known.

    Raises:
        Refused: Says by how much the clocks differ.
    """
    here = time.time()
    for label, pem in _each(sets):
        start, end = _dates(pem)
        if here < start and (not asked or asked >= start):
            raise Refused(f"{label}: not valid yet by this host's clock, {_told(here, asked or start)}; set the clock")
        if asked and here > end >= asked:
            raise Refused(f"{label}: has ended by this host's clock, {_told(here, asked)}; set the clock")


def _each(sets: Iterable[CertSet]) -> Iterable[tuple[str, str]]:
    seen = set()
    for wanted in sets:
        for reader in wanted.readers:
            for part in ("cert", "ca"):
                text = wanted.files[reader.files[part]].decode("ascii", "replace")
                for pem in certificates(text, reader.label):
                    if pem not in seen:
                        seen.add(pem)
                        yield reader.label, pem


def _dates(pem: str) -> tuple[float, float]:
    """Beginning and end, seconds since 1970. Raises Refused."""
    command = ["openssl", "x509", "-noout", "-startdate", "-enddate"]
    try:
        ended = subprocess.run(command, input=pem.encode("ascii"), capture_output=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise Refused(f"openssl can't read a certificate's dates: {type(error).__name__}") from None
    found = dict(line.split("=", 1) for line in ended.stdout.decode("ascii", "replace").splitlines() if "=" in line)
    return ssl.cert_time_to_seconds(found["notBefore"]), ssl.cert_time_to_seconds(found["notAfter"])


def _told(here: float, there: float) -> str:
    away = abs(here - there)
    amount = f"{away / _DAY_S:.1f} days" if away > _DAY_S else f"{away / 60:.0f} minutes"
    return f"which is {amount} {'behind' if here < there else 'ahead'}"
