"""The switch waits for readers that are between certificate and key, and only for those."""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.playbooks.module_utils.rechain_quiet import switch_between_readers

HOST_CODE = Path(__file__).parents[2] / "tasks" / "playbooks"


class Pairs:
    """An old and a new pair, and a switch between them that takes down what happens."""

    def __init__(self, home: Path) -> None:
        self.steps: list[str] = []
        self.when_switched: Callable[[], object] = lambda: None
        self.old, self.new = self._pair(home / "old"), self._pair(home / "new")

    @staticmethod
    def _pair(directory: Path) -> tuple[Path, Path]:
        directory.mkdir()
        for name in ("crt", "key"):
            (directory / name).touch()
        return directory / "crt", directory / "key"

    def switch(self, limit_s: float = 5) -> bool:
        """Switch, and tell whether it is known to have hit nobody."""
        return switch_between_readers([self.old], [self.new], lambda: self._go, lambda: self._back, limit_s)

    def _go(self) -> None:
        self.steps.append("forward")
        self.when_switched()

    def _back(self) -> None:
        self.steps.append("back")
        self.old[1].read_bytes()  # the reader gets the other half of what it began with


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    """Two pairs on disk."""
    return Pairs(tmp_path)


@pytest.fixture
def reader(pairs: Pairs) -> Iterator[Callable[[float, float], None]]:
    """Starts a login: opens the certificate after some seconds, and the key some seconds later."""
    threads: list[threading.Thread] = []

    def log_in(start_s: float, gap_s: float) -> None:
        def work() -> None:
            time.sleep(start_s)
            pairs.old[0].read_bytes()
            time.sleep(gap_s)
            pairs.steps.append("key")
            pairs.old[1].read_bytes()

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield log_in
    for thread in threads:
        thread.join()


def test_nobody_reads(pairs: Pairs) -> None:
    """It switches at once, and knows that it hit nobody."""
    started = time.monotonic()
    assert pairs.switch()
    assert pairs.steps == ["forward"]
    assert time.monotonic() - started < 2


def test_a_login_between_its_two_opens_is_let_through(pairs: Pairs, reader: Callable[[float, float], None]) -> None:
    """The rename waits until the key was opened."""
    reader(0.05, 0.3)
    assert pairs.switch()
    assert pairs.steps == ["key", "forward"]


def test_a_login_that_was_between_them_before_anybody_looked_is_let_through(pairs: Pairs) -> None:
    """Its first open went unseen; what it does next does not end the look early."""
    certificate = pairs.old[0].open("rb")

    def go_on() -> None:
        certificate.close()
        time.sleep(0.04)
        pairs.steps.append("key")
        pairs.old[1].read_bytes()

    threading.Timer(0.02, go_on).start()
    assert pairs.switch()
    assert pairs.steps == ["key", "forward"]


def test_a_reader_that_wants_no_key_does_not_hold_it_up_for_long(pairs: Pairs) -> None:
    """A monitor opens the certificate alone."""
    threading.Timer(0.05, pairs.old[0].read_bytes).start()
    started = time.monotonic()
    assert pairs.switch()
    assert 0.4 < time.monotonic() - started < 3


def test_a_login_that_slips_in_gets_its_other_half(pairs: Pairs) -> None:
    """It opens the old certificate just before the rename: the old pair comes back for its key."""

    def slip_in() -> None:
        pairs.when_switched = lambda: None
        pairs.old[0].read_bytes()

    pairs.when_switched = slip_in
    assert pairs.switch()
    assert pairs.steps == ["forward", "back", "forward"]


def test_it_does_not_go_back_where_that_would_hit_another(pairs: Pairs) -> None:
    """Somebody is between the opens of the new pair already."""
    pairs.when_switched = lambda: (pairs.old[0].read_bytes(), pairs.new[0].read_bytes())
    assert not pairs.switch()
    assert pairs.steps == ["forward"]


def test_it_switches_when_the_time_is_up(pairs: Pairs) -> None:
    """Readers without end must not stop a rotation."""
    over = threading.Event()

    def read_on() -> None:
        while not over.is_set():
            pairs.old[0].read_bytes()

    thread = threading.Thread(target=read_on)
    thread.start()
    try:
        assert not pairs.switch(limit_s=0.3)
    finally:
        over.set()
        thread.join()
    assert pairs.steps == ["forward"]


def test_without_inotify_it_just_switches(pairs: Pairs) -> None:
    """Files that can't be watched stand for a system that can't watch."""
    pairs.old[0].unlink()
    assert not pairs.switch()
    assert pairs.steps == ["forward"]


@pytest.mark.parametrize("path", sorted(HOST_CODE.glob("*/*.py")), ids=lambda path: path.stem)
def test_what_runs_on_hosts_is_python_3_8(path: Path) -> None:
    """The grammar, at least: ansible-core 2.19 runs modules on Python 3.8."""
    ast.parse(path.read_text("utf-8"), feature_version=(3, 8))
