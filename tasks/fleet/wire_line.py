"""The line in which endpoints wait to be looked at: one for a process, however many shards it works on."""

from __future__ import annotations

import asyncio
import resource
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE_S = 0.3
_PLACES = 200
_MOST_OPEN = 1000
_RESERVED_FILES = 100


class Line:
    """A bounded number of places, and the event loop in which those who have one are looked at.

    Shards that each had places of their own would start thousands of handshakes at once, whose time limits run out
    before the processor comes to them: of 10,000 endpoints that were alive, four in ten were told as silent.

    Attributes:
        places: What is being looked at, without those that have kept silent for a moment.
        opened: What has a connection, with the silent ones: as many as there are files to open, and not so many that
            slow ones run out of time when they wake up together.
    """

    def __init__(self, places: int = _PLACES) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.places = asyncio.Semaphore(places)
        self.opened = asyncio.Semaphore(max(places, min(_MOST_OPEN, soft - _RESERVED_FILES)))
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="wire", daemon=True).start()

    def run(self, looks: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the line's event loop; it is cancelled when the caller is interrupted."""
        future = asyncio.run_coroutine_threadsafe(looks, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()


@cache
def line_of_this_process() -> Line:
    """The line that all shards of a process share."""
    return Line()


class Place:
    """A place in line, left once: at the end, or after a moment of silence, so that others come to their turn."""

    def __init__(self, line: Line, loop: asyncio.AbstractEventLoop, longest_s: float) -> None:
        self._line: Line | None = line
        self._patience = loop.call_later(min(_PATIENCE_S, longest_s), self.leave)

    def leave(self) -> None:
        """Leave it to the next in line."""
        self._patience.cancel()
        if self._line:
            self._line.places.release()
            self._line = None
