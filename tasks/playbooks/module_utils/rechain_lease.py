"""Switching a pair past those who are reading it.

libpq opens `sslcert`, then `sslkey`: a login that opens the certificate before the rename and the key after it holds
two halves, and fails. A write lease on the old certificate (fcntl(2), "Leases") closes that gap from both sides. Nobody
can open the certificate while the lease is held: a new login waits in open(2). Whoever had opened it before is given
time to open the old key. Then the rename happens, and the certificate that the waiting logins are about to get is
overwritten with the new one, which fits the key that they open next.

Where the system or the file system has no leases, or somebody keeps the certificate open, the rename simply happens.

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
    with ExitStack() as leases:
        try:
            deadline = time.monotonic() + limit_s
            held = {leases.enter_context(_lease(cert, deadline)): content for cert, content in certs.items()}
        except (AttributeError, OSError):
            leases.close()
            rename()
            return False
        time.sleep(UNDER_WAY_S)
        rename()
        for descriptor, content in held.items():
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, content, 0)
    return True


@contextmanager
def _lease(path: Path, deadline: float) -> Iterator[int]:
    """A write lease on a file, with its descriptor; OSError when somebody has it open until the deadline."""
    signals = signal.signal(signal.SIGIO, signal.SIG_IGN)  # the kernel reports everybody who wants in
    descriptor = os.open(str(path), os.O_RDWR | os.O_NOFOLLOW)
    try:
        _take(descriptor, deadline)
        yield descriptor
    finally:
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        os.close(descriptor)
        signal.signal(signal.SIGIO, signals)


def _take(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
        else:
            return
