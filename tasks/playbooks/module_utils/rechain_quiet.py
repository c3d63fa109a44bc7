"""Waiting for an instant in which nobody is between two opens of a set.

libpq opens `sslcert`, then `sslkey`: a login that opens the certificate just before the rename and the key just after
it holds two halves. Nothing can be done for it, so the rename waits until no certificate was opened for a moment.
Where inotify does not exist the rename simply happens.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_IN_OPEN = 0x20
_GAP_S = 0.005  # libpq opens the key less than 1 ms after the certificate


def wait_until_quiet(files: Sequence[Path], limit_s: float) -> bool:
    """Return as soon as none of the files was opened for 5 ms, or when the limit is over.

    Args:
        files: The certificate files that readers open first.
        limit_s: Longest wait in seconds; 0 does not wait at all.

    Returns:
        Whether a quiet moment was seen.
    """
    deadline = time.monotonic() + limit_s
    with _watching(files) as descriptor:
        if descriptor is None or not limit_s:
            return False
        while select.select([descriptor], [], [], _GAP_S)[0]:
            if time.monotonic() > deadline:
                return False
            os.read(descriptor, 65536)
        return True


@contextmanager
def _watching(files: Sequence[Path]) -> Iterator[int | None]:
    """A descriptor that becomes readable when one of the files is opened; None where inotify is missing."""
    descriptor = _inotify(files)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _inotify(files: Sequence[Path]) -> int | None:
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if descriptor < 0:
            return None
        watches = [libc.inotify_add_watch(descriptor, os.fsencode(str(path.resolve())), _IN_OPEN) for path in files]
        if all(watch >= 0 for watch in watches):
            return descriptor
        os.close(descriptor)
    return None
