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
_TOLERATED_S = 300.0
"""Certificates are valid from five minutes before they were issued."""


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
            off = _off(here, asked or start)
            raise Refused(f"{label}: not valid yet by this host's clock, which is {off}; set the clock")
        if asked and here > end >= asked:
            raise Refused(f"{label}: has ended by this host's clock, which is {_off(here, asked)}; set the clock")


def wrong_clock(asked: float) -> str:
    """What is to be told of a clock that is wrong, whatever it means for today's certificates; empty for a right one.

    One that runs ahead refuses nothing until a certificate ends, and then refuses it too early.

    Args:
        asked: The worker's clock just before, seconds since 1970; 0 when it is not known.
    """
    here = time.time()
    return f"its clock is {_off(here, asked)}; set it" if asked and abs(here - asked) > _TOLERATED_S else ""


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


def _off(here: float, there: float) -> str:
    away = abs(here - there)
    amount = f"{away / _DAY_S:.1f} days" if away > _DAY_S / 2 else f"{away / 60:.0f} minutes"
    return f"{amount} {'behind' if here < there else 'ahead'}"
