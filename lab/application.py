"""The external application: a pool of sessions that it keeps, and new logins all the time, from its own files.

Run as `python -m lab.application ORDERS`. SIGHUP recycles the pool: every session is closed and opened anew.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import FrameType

import psycopg

from lab.login import Entry, Identity, Journal, Kind, connect, log_in
from lab.program import Orders, ending, read_orders
from rechain.fleet import Endpoint

_QUERY_S = 0.5


class Pool:
    """One session for each endpoint, held open; a query now and then shows that it still works."""

    def __init__(self, identity: Identity, endpoints: tuple[Endpoint, ...], journal: Journal) -> None:
        self._identity = identity
        self._journal = journal
        self._sessions: dict[Endpoint, psycopg.Connection[tuple[object, ...]] | None] = dict.fromkeys(endpoints)

    def query(self) -> None:
        """Run a query in every session; one that is lost is opened again the next time."""
        for endpoint, session in list(self._sessions.items()):
            entry = self._entry(endpoint, Kind.QUERY)
            try:
                session = self._sessions[endpoint] = session or connect(self._identity, endpoint)  # noqa: PLW2901
                session.execute("select 1")
            except psycopg.Error as error:
                self._close(endpoint)
                entry = replace(entry, ok=False, error=str(error).strip())
            self._journal.write(entry)

    def recycle(self) -> None:
        """Close every session and open it anew, from the files as they are now."""
        for endpoint in self._sessions:
            self._close(endpoint)
        self.query()
        for endpoint in self._sessions:
            self._journal.write(self._entry(endpoint, Kind.RECYCLED))

    def _close(self, endpoint: Endpoint) -> None:
        session, self._sessions[endpoint] = self._sessions[endpoint], None
        if session is not None:
            session.close()

    def _entry(self, endpoint: Endpoint, kind: Kind) -> Entry:
        return Entry(int(time.time() * 1000), kind, self._identity.client, "", str(endpoint), True, None, 0)


def main(orders: Orders) -> None:
    """Keep the pool in this thread and log in from another, until told to end."""
    end, recycle = ending(orders.parent), threading.Event()

    def on_hangup(_number: int, _frame: FrameType | None) -> None:
        recycle.set()

    signal.signal(signal.SIGHUP, on_hangup)
    journal = Journal(Path(orders.journal))
    pool = Pool(orders.identities[0], orders.endpoints, journal)
    logins = threading.Thread(target=_log_in_all_the_time, args=(orders, journal, end))
    logins.start()
    while not end.is_set():
        if recycle.is_set():
            recycle.clear()
            pool.recycle()
        else:
            pool.query()
        recycle.wait(_QUERY_S)
    logins.join()


def _log_in_all_the_time(orders: Orders, journal: Journal, end: threading.Event) -> None:
    for endpoint in cycle(orders.endpoints):
        due = time.monotonic() + orders.interval_ms / 1000
        journal.write(log_in(orders.identities[0], endpoint))
        if end.wait(max(0.0, due - time.monotonic())):
            return


if __name__ == "__main__":
    main(read_orders(Path(sys.argv[1])))
