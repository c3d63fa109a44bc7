"""A switch lets readers of the old pair finish, and gives those who come meanwhile the new pair, whole."""

from __future__ import annotations

import ast
import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tasks.playbooks.module_utils.rechain_lease import UNDER_WAY_S, switch_past_readers

HOST_CODE = Path(__file__).parents[2] / "tasks" / "playbooks"


class Pairs:
    """An old and a new pair, a link to the one in use, and logins that read through it."""

    def __init__(self, home: Path) -> None:
        self.read: list[tuple[str, str]] = []
        self._home = home
        self._current = home / "current"
        for name in ("old", "new"):
            (home / name).mkdir()
            for part in ("crt", "key"):
                (home / name / part).write_text(name, "ascii")
        self._current.symlink_to("old")
        self.old = home / "old" / "crt"

    def switch(self, limit_s: float = 5, *others: Path) -> bool:
        """Switch, and tell whether readers were held off."""
        next_one = self._home / "next"
        next_one.symlink_to("new")
        return switch_past_readers(
            lambda: next_one.replace(self._current), dict.fromkeys((self.old, *others), b"new"), limit_s
        )

    def log_in(self, between_s: float = 0) -> None:
        """Open the certificate, do something else, and open the key, as libpq does."""
        cert = (self._current / "crt").read_text("ascii")
        time.sleep(between_s)
        self.read.append((cert, (self._current / "key").read_text("ascii")))


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    """Two pairs on disk, the old one in use."""
    return Pairs(tmp_path)


@pytest.fixture
def later() -> Iterator[Callable[[float, Callable[[], object]], None]]:
    """Does something in another thread, so many seconds from now."""
    timers: list[threading.Timer] = []

    def start(delay_s: float, what: Callable[[], object]) -> None:
        timers.append(threading.Timer(delay_s, what))
        timers[-1].start()

    yield start
    for timer in timers:
        timer.join()


def test_nobody_reads(pairs: Pairs) -> None:
    """It switches, knows that it hit nobody, and the next login gets the new pair."""
    assert pairs.switch()
    pairs.log_in()
    assert pairs.read == [("new", "new")]


def test_a_login_that_has_opened_the_old_certificate_gets_the_old_key(
    pairs: Pairs, later: Callable[[float, Callable[[], object]], None]
) -> None:
    """It is between its two opens when the switch begins."""
    later(0, lambda: pairs.log_in(between_s=UNDER_WAY_S * 0.6))
    time.sleep(UNDER_WAY_S * 0.1)
    assert pairs.switch()
    assert pairs.read == [("old", "old")]


def test_a_login_that_comes_meanwhile_waits_and_gets_the_new_pair(
    pairs: Pairs, later: Callable[[float, Callable[[], object]], None]
) -> None:
    """It asked for the old certificate, by the link that led there, and waits in open(2) until the switch is done."""
    later(UNDER_WAY_S * 0.5, pairs.log_in)
    before = signal.getsignal(signal.SIGIO)
    assert pairs.switch()
    _wait_for(lambda: pairs.read)
    assert pairs.read == [("new", "new")]
    assert signal.getsignal(signal.SIGIO) == before


def test_logins_without_end_get_whole_pairs(pairs: Pairs, later: Callable[[float, Callable[[], object]], None]) -> None:
    """Readers that never pause do not keep the switch from happening, and none of them gets two halves."""
    over = threading.Event()

    def log_in_on_and_on() -> None:
        while not over.is_set():
            pairs.log_in(between_s=0.002)

    for _ in range(3):
        later(0, log_in_on_and_on)
    _wait_for(lambda: len(pairs.read) > 20)
    try:
        assert pairs.switch()
        switched = len(pairs.read)
        _wait_for(lambda: len(pairs.read) > switched + 20)
    finally:
        over.set()
    assert set(pairs.read) == {("old", "old"), ("new", "new")}


def test_somebody_who_keeps_the_certificate_open_does_not_stop_it(pairs: Pairs) -> None:
    """The switch happens when the time is up, and says that it could not hold readers off."""
    with pairs.old.open("rb"):
        assert not pairs.switch(limit_s=0.2)
    pairs.log_in()
    assert pairs.read == [("new", "new")]
    assert pairs.old.read_text("ascii") == "old"


def test_two_halves_go_to_nobody_when_one_of_two_certificates_is_kept_open(
    pairs: Pairs, later: Callable[[float, Callable[[], object]], None], tmp_path: Path
) -> None:
    """A login that waited for the other one is let go in time to read the old pair."""
    kept = tmp_path / "old" / "other.crt"
    kept.write_text("old", "ascii")
    over = threading.Event()

    def log_in_on_and_on() -> None:
        while not over.is_set():
            pairs.log_in(between_s=0.002)

    with kept.open("rb"):
        for _ in range(3):
            later(0, log_in_on_and_on)
        try:
            assert not pairs.switch(0.2, kept)
        finally:
            over.set()
    assert ("old", "old") in pairs.read
    assert set(pairs.read) <= {("old", "old"), ("new", "new")}


def test_a_full_disk_does_not_undo_the_switch(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits may be lost; what was renamed counts."""

    def refuse(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "pwrite", refuse)
    assert pairs.switch()
    pairs.log_in()
    assert pairs.read == [("new", "new")]


def test_where_there_are_no_leases_it_just_switches(pairs: Pairs) -> None:
    """A device has none, and stands for a file system that has none."""
    pairs.old.unlink()
    with suppress(PermissionError):
        os.mknod(pairs.old, 0o600 | 0o020000, os.makedev(1, 3))
    assert not pairs.switch()
    assert pairs.old.parent.with_name("current").readlink() == Path("new")


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("path", sorted(HOST_CODE.glob("*/*.py")), ids=lambda path: path.stem)
def test_what_runs_on_hosts_is_python_3_8(path: Path) -> None:
    """The grammar, at least: ansible-core 2.19 runs modules on Python 3.8."""
    ast.parse(path.read_text("utf-8"), feature_version=(3, 8))
