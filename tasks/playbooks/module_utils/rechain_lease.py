"""Switching a pair past those who are reading it.

libpq opens `sslcert`, then `sslkey`: a login that opens the certificate before the rename and the key after it holds
two halves, and fails. A write lease on the old certificate (fcntl(2), "Leases") closes that gap from both sides. Nobody
can open the certificate while the lease is held: a new login waits in open(2). Whoever had opened it before is given
time to open the old key. Then the rename happens, and the certificate that the waiting logins are about to get is
overwritten with the new one, which fits the key that they open next.

Where the system or the file system has no leases, or somebody keeps the certificate open, the rename simply happens. A
reader that opens the key first is not helped; libpq, Go and Python open the certificate first.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import ExitStack, contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

UNDER_WAY_S = 0.25
"""Between the two opens a login needs a tenth of a millisecond, and some ten when the host is busy."""
_RETRY_S = 0.0002


def switch_past_readers(rename: Callable[[], object], certs: Mapping[Path, bytes], limit_s: float) -> bool:
    """Switch from a set to another so that no reader gets the certificate of one and the key of the other.

    Args:
        rename: The switch, and nothing else.
        certs: Each certificate of the set in use, as a regular file that nobody needs afterwards, to its successor.
        limit_s: Longest wait, in seconds, for an instant in which nobody has these files open.

    Returns:
        Whether readers were held off. If not, the switch happened all the same.
    """
    deadline = time.monotonic() + limit_s
    with _unmoved_by_signals():
        while time.monotonic() < deadline:
            with ExitStack() as leases:
                try:
                    held = {leases.enter_context(_lease(cert)): content for cert, content in certs.items()}
                except BlockingIOError:
                    time.sleep(_RETRY_S)  # somebody reads one of them; nobody waits for the others meanwhile
                    continue
                except (AttributeError, OSError):
                    break
                time.sleep(UNDER_WAY_S)
                rename()
                _overwrite(held)
                return True
    time.sleep(UNDER_WAY_S)  # for a login that waited for one of several certificates and was let go
    rename()
    return False


@contextmanager
def _lease(path: Path) -> Iterator[int]:
    """A write lease on a file, with its descriptor; BlockingIOError when somebody has it open."""
    descriptor = os.open(str(path), os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield descriptor
    finally:
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        os.close(descriptor)


@contextmanager
def _unmoved_by_signals() -> Iterator[None]:
    """The kernel reports everybody who wants to open a leased file, by a signal that would end the process."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGIO, before)


def _overwrite(held: Mapping[int, bytes]) -> None:
    """A disk without room must not undo what was renamed: then only the logins that wait are lost."""
    for descriptor, content in held.items():
        with suppress(OSError):
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
