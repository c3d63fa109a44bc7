"""Switching a set at an instant in which nobody is between the two opens of a pair.

libpq opens `sslcert`, then `sslkey`: a login that opens the certificate before the rename and the key after it holds
two halves, and fails. inotify shows who is between the two, so the rename waits for an instant in which nobody is. A
login that slips in all the same, in the microseconds between the look and the rename, is seen right afterwards: the
old set is put back for as long as it needs, which is safe because a phase is safe with any hosts updated. Where inotify
does not exist the rename simply happens.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_IN_OPEN, _IN_CLOSE_NOWRITE = 0x20, 0x10
_MASK = _IN_OPEN | _IN_CLOSE_NOWRITE  # a close between two opens keeps the kernel from reporting them as one
_EVENT = struct.Struct("iIII")
_LOOK_S = 0.1  # whoever was between the two opens when the look began is through, on a busy host too
_GAP_S = 0.002  # what libpq needs between the two opens, several times over
_WAIT_S = 0.001
_ABANDONED_S = 0.5  # a reader that opens a certificate and no key, such as a monitor


class Opens:
    """Who is between the opens of certificate and key.

    Args:
        descriptor: An inotify instance.
        pairs: Certificate and key of each reader, as paths of real files.
    """

    def __init__(self, descriptor: int, pairs: Sequence[tuple[Path, Path]]) -> None:
        self._descriptor = descriptor
        self._certs = {_watch(descriptor, cert): number for number, (cert, _key) in enumerate(pairs)}
        self._keys = {_watch(descriptor, key): number for number, (_cert, key) in enumerate(pairs)}
        self._latest = 0.0
        self._between: dict[int, list[float]] = {number: [] for number in range(len(pairs))}

    def look(self, timeout_s: float = 0) -> bool:
        """Take note of what was opened, waiting for it so long. Returns whether something was."""
        if not select.select([self._descriptor], [], [], timeout_s)[0]:
            return False
        events, offset = os.read(self._descriptor, 65536), 0
        while offset < len(events):
            watch, mask, _cookie, length = _EVENT.unpack_from(events, offset)
            offset += _EVENT.size + length
            if mask & _IN_OPEN:
                self._note(watch)
        return True

    def look_for(self, duration_s: float) -> None:
        """Take note of all that is opened in a while."""
        end = time.monotonic() + duration_s
        while (left := end - time.monotonic()) > 0:
            self.look(left)

    def somebody(self) -> bool:
        """Whether a reader is between its two opens; one that never opens a key is forgotten after a while."""
        oldest = time.monotonic() - _ABANDONED_S
        self._between = {number: [at for at in opened if at > oldest] for number, opened in self._between.items()}
        return any(self._between.values())

    def maybe_somebody(self) -> bool:
        """Whether a reader is, or could be: the kernel reports two opens that follow each other at once as one."""
        return self.somebody() or time.monotonic() - self._latest < _GAP_S

    def _note(self, watch: int) -> None:
        if watch in self._certs:
            self._latest = time.monotonic()
            self._between[self._certs[watch]].append(self._latest)
        elif watch in self._keys:
            del self._between[self._keys[watch]][:1]


def switch_between_readers(
    old: Sequence[tuple[Path, Path]],
    new: Sequence[tuple[Path, Path]],
    forward: Callable[[], Callable[[], None]],
    back: Callable[[], Callable[[], None]],
    limit_s: float,
) -> bool:
    """Switch from an old set to a new one when nobody is between the two opens of a pair.

    Args:
        old: Certificate and key of each pair of the set in use, as paths of real files.
        new: The same of the set to come.
        forward: Prepares the switch to the new set; what it returns is the rename alone.
        back: Prepares the switch to the old set.
        limit_s: Longest wait in seconds; then the switch happens all the same.

    Returns:
        Whether the switch is known to have hit nobody.
    """
    deadline = time.monotonic() + limit_s
    with _watching(old, new) as opens:
        if opens is None:
            forward()()
            return False
        before, after = opens
        before.look_for(_LOOK_S)
        while True:
            go, undo = forward(), back()
            calm = _wait_for_calm(before, deadline)
            go()
            before.look()
            if not calm or not before.somebody():
                return calm
            after.look()
            if after.somebody() or time.monotonic() > deadline:
                return False  # somebody is half way through the new set by now
            undo()


def _wait_for_calm(opens: Opens, deadline: float) -> bool:
    """Return right after a look at which nobody was between two opens; false when the time is up."""
    while opens.look() or opens.maybe_somebody():
        if time.monotonic() > deadline:
            return False
        opens.look(_WAIT_S)
    return True


@contextmanager
def _watching(
    old: Sequence[tuple[Path, Path]], new: Sequence[tuple[Path, Path]]
) -> Iterator[tuple[Opens, Opens] | None]:
    """Both sets under watch; None where inotify is missing."""
    descriptors: list[int] = []
    opens: tuple[Opens, Opens] | None = None
    with suppress(AttributeError, OSError):
        descriptors += [_inotify()]
        descriptors += [_inotify()]
        opens = Opens(descriptors[0], old), Opens(descriptors[1], new)
    try:
        yield opens
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _inotify() -> int:
    descriptor = int(ctypes.CDLL(None, use_errno=True).inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    return descriptor


def _watch(descriptor: int, path: Path) -> int:
    watch = int(ctypes.CDLL(None, use_errno=True).inotify_add_watch(descriptor, os.fsencode(str(path)), _MASK))
    if watch < 0:
        raise OSError(ctypes.get_errno(), "inotify", str(path))
    return watch
