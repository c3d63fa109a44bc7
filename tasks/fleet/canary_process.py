"""The canary's own process: new logins all the time, undisturbed by what the run is busy with.

It is started by `tasks.fleet.canary` and imports no Prefect. It ends with the run that started it, however that
ends: the run's end closes a pipe, and the process has another parent then. (PR_SET_PDEATHSIG would not do: it fires
when the *thread* that started the process ends.)

As root it forks one watcher for each owner of client files, so that files are read with the owner's permissions.
"""

from __future__ import annotations

import os
import pwd
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import cycle, islice

from rechain.canary import Attempt, Unwatched, attempt_line, event_line, unwatched_line
from rechain.login import Verdict
from tasks.fleet.libpq import attempt
from tasks.fleet.watch import Watch, Watching, from_json

_TICK_S = 0.2
THREADS = 16
_READY = b"."


def main() -> int:
    """Read the order from standard input, watch until it is closed, and say `watching` on standard output."""
    order = from_json(sys.stdin.buffer.readline().decode())
    recording = os.open(order.recording, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    stop_read, stop_write = os.pipe()
    ready_read, ready_write = os.pipe()
    watchers = [
        _fork_watcher(order, watches, owner, (recording, stop_read, ready_write), stop_write)
        for owner, watches in _by_owner(order.watches).items()
    ]
    os.close(ready_write)
    if _all_ready(ready_read, len(watchers)):
        _write(recording, event_line("watching", datetime.now(UTC)))
        os.write(sys.stdout.fileno(), b"watching\n")
        _until_the_run_ends(order, watchers)
    os.close(stop_write)
    healthy = _ended(watchers, order.timeout_s + 1)
    _write(recording, event_line("stopped", datetime.now(UTC)))
    return 0 if healthy else 1


def _by_owner(watches: Sequence[Watch]) -> Mapping[str | None, tuple[Watch, ...]]:
    """The watches of each user to become; None stands for staying who one is."""
    owners = {watch: _to_become(watch.owner) for watch in watches}
    return {
        owner: tuple(watch for watch in watches if owners[watch] == owner) for owner in dict.fromkeys(owners.values())
    }


def _to_become(owner: str | None) -> str | None:
    if os.geteuid() or owner is None:
        return None
    try:
        return owner if pwd.getpwnam(owner).pw_uid else None
    except KeyError:
        return None


def _fork_watcher(
    order: Watching, watches: Sequence[Watch], owner: str | None, pipes: tuple[int, int, int], stop_write: int
) -> int:
    """Start a watcher. Forked, not executed: the owner may be unable to enter the directory of this program."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.close(stop_write)
        if owner:
            _become(pwd.getpwnam(owner))
        _watch(order, watches, *pipes)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise
    finally:
        os._exit(status)


def _become(user: pwd.struct_passwd) -> None:
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ["HOME"] = user.pw_dir


def _watch(order: Watching, watches: Sequence[Watch], recording: int, stop: int, ready: int) -> None:
    with ThreadPoolExecutor(max_workers=min(THREADS, len(watches))) as pool:
        first = list(pool.map(lambda watch: (watch, _log_in(order, watch)), watches))
        for watch, login in first:
            if login.failed:
                _write(recording, unwatched_line(_unwatched(watch, login), login.at))
        os.write(ready, _READY)
        able = [watch for watch, login in first if not login.failed]
        _Round(order, able, recording, pool).go(stop)


class _Round:
    """Logins in turn: each client on a beat of its own, going round its hosts and endpoints."""

    def __init__(self, order: Watching, watches: Sequence[Watch], recording: int, pool: ThreadPoolExecutor) -> None:
        self._order = order
        self._recording = recording
        self._pool = pool
        self._interval_s = order.interval_ms / 1000
        self._turns = _turns(watches)
        now = time.monotonic()
        count = len(self._turns) or 1
        self._due = {client: now + self._interval_s * place / count for place, client in enumerate(self._turns)}
        self._under_way: dict[Watch, Future[None]] = {}

    def go(self, stop: int) -> None:
        """Log in until the other end of the pipe is closed."""
        while not select.select([stop], [], [], self._pause_s())[0]:
            self._settle()
            now = time.monotonic()
            for client in [client for client, due in self._due.items() if due <= now]:
                # After a standstill of the whole machine the beat goes on, it does not catch up.
                self._due[client] = max(self._due[client], now - self._interval_s) + self._interval_s
                self._next_login(client)

    def _pause_s(self) -> float:
        return max(min(self._due.values(), default=time.monotonic() + _TICK_S) - time.monotonic(), 0)

    def _settle(self) -> None:
        for watch in [watch for watch, login in self._under_way.items() if login.done()]:
            self._under_way.pop(watch).result()

    def _next_login(self, client: str) -> None:
        """Start the client's next login that is not still under way: one dead endpoint must not stop the others."""
        turn, count = self._turns[client]
        free = next((watch for watch in islice(turn, count) if watch not in self._under_way), None)
        if free:
            self._under_way[free] = self._pool.submit(self._record, free)

    def _record(self, watch: Watch) -> None:
        _write(self._recording, attempt_line(_log_in(self._order, watch)))


def _turns(watches: Sequence[Watch]) -> dict[str, tuple[Iterator[Watch], int]]:
    """An endless round of each client's watches, and how many they are."""
    clients = dict.fromkeys(watch.client for watch in watches)
    own = {client: [watch for watch in watches if watch.client == client] for client in clients}
    return {client: (cycle(those), len(those)) for client, those in own.items()}


def _log_in(order: Watching, watch: Watch) -> Attempt:
    at, started = datetime.now(UTC), time.monotonic()
    answer = attempt(watch.endpoint, watch.client, watch.paths(), order.database, order.timeout_s)
    ms = round((time.monotonic() - started) * 1000)
    return Attempt(at, watch.client, watch.host, str(watch.endpoint), answer.verdict, answer.error, ms)


def _unwatched(watch: Watch, login: Attempt) -> Unwatched:
    known = login.verdict is Verdict.CERTIFICATE_ACCEPTED
    reason = f"{login.verdict}: {login.error}" if not known else f"is no role to log in with: {login.error}"
    return Unwatched(watch.client, watch.host, str(watch.endpoint), reason)


def _write(recording: int, line: str) -> None:
    os.write(recording, line.encode() + b"\n")  # one write: lines of several threads and processes don't mix


def _all_ready(ready: int, count: int) -> bool:
    """Wait until every watcher has tried everything once; False when one of them ended instead."""
    seen = 0
    while seen < count:
        said = os.read(ready, count)
        if not said:
            return False
        seen += len(said)
    return True


def _until_the_run_ends(order: Watching, watchers: Sequence[int]) -> None:
    """Wait until the run closes the pipe or is no longer there, or a watcher breaks."""
    while os.getppid() == order.parent and not _broken(watchers):
        if select.select([sys.stdin], [], [], _TICK_S)[0]:
            return


def _broken(watchers: Sequence[int]) -> bool:
    return any(os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) for pid in watchers)


def _ended(watchers: Sequence[int], patience_s: float) -> bool:
    """Wait for the watchers to finish the logins under way; whether all of them ended well."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and not all(_has_ended(pid) for pid in watchers):
        time.sleep(_TICK_S / 10)
    for pid in watchers:
        if not _has_ended(pid):
            os.kill(pid, signal.SIGKILL)
    statuses = [os.waitpid(pid, 0)[1] for pid in watchers]
    return not any(statuses)


def _has_ended(pid: int) -> bool:
    return bool(os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))


if __name__ == "__main__":
    sys.exit(main())
