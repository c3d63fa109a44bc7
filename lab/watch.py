"""An independent watcher: logs in as every client, from the files on disk, whatever happens to rechain.

Run as `python -m lab.watch ORDERS`. It never retries and hides no failure.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle, pairwise, product
from pathlib import Path

from lab.login import Entry, Journal, Kind, log_in, read_journal
from lab.program import Orders, ending, read_orders
from lab.store import ask_store

_THREADS = 4
Visit = Callable[[], Entry]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a watcher saw.

    Attributes:
        attempted: Logins tried.
        failures: Those that failed, each with the moment and the error.
        longest_gap_ms: The longest time between two good logins of one client.
        clients: The clients that logged in.
    """

    attempted: int
    failures: tuple[Entry, ...]
    longest_gap_ms: int
    clients: frozenset[str]

    @property
    def failed(self) -> int:
        """How many logins failed."""
        return len(self.failures)


def summarise(journal: Path, since_ms: int = 0, until_ms: int | None = None) -> Summary:
    """Sum up a journal, or the part of it that began in an interval (milliseconds since the epoch)."""
    logins = [
        entry
        for entry in read_journal(journal)
        if entry.kind is Kind.LOGIN and since_ms <= entry.at_ms and (until_ms is None or entry.at_ms < until_ms)
    ]
    return Summary(
        attempted=len(logins),
        failures=tuple(entry for entry in logins if not entry.ok),
        longest_gap_ms=_longest_gap(logins),
        clients=frozenset(entry.client for entry in logins if entry.ok),
    )


def main(orders: Orders) -> None:
    """Log in as everybody in turn, until told to end."""
    end = ending(orders.parent)
    journal = Journal(Path(orders.journal))
    turns = _Turns(orders)
    threads = [threading.Thread(target=_take_turns, args=(turns, journal, end)) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _Turns:
    """Who logs in where next, and when; shared by the threads."""

    def __init__(self, orders: Orders) -> None:
        logins = [partial(log_in, *pair) for pair in product(orders.identities, orders.endpoints)]
        asking = [partial(ask_store, one, orders.stores) for one in orders.identities if orders.stores]
        self._visits = cycle([*logins, *asking])
        self._interval_s = orders.interval_ms / 1000
        self._due = time.monotonic()
        self._lock = threading.Lock()

    def next(self) -> tuple[float, Visit]:
        """The next turn; turns that slow logins made late are left out, not caught up."""
        with self._lock:
            self._due = max(self._due + self._interval_s, time.monotonic())
            return self._due, next(self._visits)


def _take_turns(turns: _Turns, journal: Journal, end: threading.Event) -> None:
    while True:
        due, visit = turns.next()
        if end.wait(max(0.0, due - time.monotonic())):
            return
        journal.write(visit())


def _longest_gap(logins: Iterable[Entry]) -> int:
    good: dict[str, list[int]] = defaultdict(list)
    for entry in logins:
        if entry.ok:
            good[entry.client].append(entry.at_ms)
    return max(_gaps(good.values()), default=0)


def _gaps(moments: Iterable[list[int]]) -> Iterator[int]:
    for each in moments:
        yield from (later - earlier for earlier, later in pairwise(each))


if __name__ == "__main__":
    main(read_orders(Path(sys.argv[1])))
