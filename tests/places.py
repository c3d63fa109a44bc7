"""The places in which a program can leave something behind: read once afterwards, or again and again while it runs."""

from __future__ import annotations

import json
import stat
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any

MEMORY = Path("/dev/shm")  # noqa: S108  # looked into, and a needle planted
TEMPORARY = Path(tempfile.gettempdir())
KEY_DIRECTORIES = "rechain-keys-*"
_OURS = ("ansible*", "rechain*", "tmp*", "runner*")
_OTHERS = ("PostgreSQL.*", "pytest-of-*")
_PERIOD_S = 0.2
_LARGEST = 64 * 2**20
_PAGE = 200
_PAUSES_S = (1, 2, 4, 8)

Content = tuple[str, bytes]
"""Where it was read, and what was there."""


def files(*roots: Path, since: float = 0.0, without: Callable[[Path], bool] = lambda _path: False) -> Iterator[Content]:
    """Every file below some directories that was changed since a moment; what vanishes meanwhile is passed over."""
    for root in roots:
        for path in _below(root, without):
            try:
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and status.st_ctime >= since and status.st_size <= _LARGEST:
                    yield str(path), path.read_bytes()
            except OSError:
                continue


def shared(directory: Path) -> tuple[Path, ...]:
    """What lies in a directory that everybody shares, without the memory of servers and the tests' own directories."""
    return tuple(path for path in _entries(directory) if not any(path.match(each) for each in _OTHERS))


def git_objects(root: Path) -> Content:
    """Every object of a clone, of whatever branch or of none, as its plain content."""
    command = ["git", "-C", str(root), "cat-file", "--batch", "--batch-all-objects"]
    return "git", subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def prefect_answers(api: str) -> Iterator[Content]:
    """What Prefect's API tells of runs, their states, logs, artifacts and events."""
    for kind in ("flow_runs", "task_runs", "logs", "artifacts"):
        for page in count():
            answer = ask(f"{api}/{kind}/filter", {"limit": _PAGE, "offset": page * _PAGE})
            yield f"{api}/{kind}", json.dumps(answer).encode()
            if len(answer) < _PAGE:
                break
    events = ask(f"{api}/events/filter", {"filter": {"order": "ASC"}, "limit": 50})
    while True:
        yield f"{api}/events", json.dumps(events).encode()
        if not events.get("next_page"):
            break
        with urllib.request.urlopen(events["next_page"], timeout=60) as answer:  # noqa: S310  # our own server
            events = json.loads(answer.read())


def ask(url: str, body: object) -> Any:
    """One question to Prefect's API, asked again when it answers 503, as Prefect's own client does."""
    request = urllib.request.Request(  # noqa: S310  # our own server
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    for pause_s in (*_PAUSES_S, None):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                text = answer.read()
            return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE or pause_s is None:
                raise
            time.sleep(pause_s)
    return None


@dataclass
class Watch:
    """Keeps whatever is to be seen while programs run: files in memory and in temporary places, and processes.

    It knows no key, since some are made while it watches: what it keeps is searched afterwards.

    Attributes:
        since: Files that were last changed before this moment are not looked at.
        homes: Further directories to look into.
        seen: Place to what was there.
        modes: Mode bits of every directory for keys in use.
        looks: How often it has looked.
    """

    since: float
    homes: Iterable[Path] = ()
    seen: dict[str, set[Content]] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    looks: int = 0
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._go_on)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join()

    def in_use(self) -> set[Content]:
        """Key files of the directories that are there for them."""
        return {content for content in self.seen.get("keys in use", ()) if _is_key_file(content[0])}

    def found(self) -> Mapping[str, set[Content]]:
        """What was seen, by place; what else lies in a directory for keys in use was left there by ansible-runner."""
        runners = {content for content in self.seen.get("keys in use", ()) if not _is_key_file(content[0])}
        others = {place: contents for place, contents in self.seen.items() if place != "keys in use"}
        return {**others, "ansible-runner's files": runners}

    def _go_on(self) -> None:
        while not self._end.wait(_PERIOD_S):
            self._look()

    def _look(self) -> None:
        memory = shared(MEMORY)  # listed once: what appears between two lists would be in the wrong one
        keys = [path for path in memory if path.match(KEY_DIRECTORIES)]
        for path in keys:
            self._note_mode(path)
        self._keep("keys in use", files(*keys, since=self.since))
        self._keep("memory meanwhile", files(*(path for path in memory if path not in keys), since=self.since))
        temporary = [path for path in _entries(TEMPORARY) if any(path.match(each) for each in _OURS)]
        self._keep("temporary files meanwhile", files(*temporary, *self.homes, since=self.since))
        for what in ("cmdline", "environ"):
            self._keep(f"processes' {what}", _processes(what))
        self.looks += 1

    def _keep(self, place: str, contents: Iterable[Content]) -> None:
        self.seen.setdefault(place, set()).update(contents)

    def _note_mode(self, path: Path) -> None:
        try:
            self.modes[str(path)] = stat.S_IMODE(path.lstat().st_mode)
        except FileNotFoundError:
            return


def _is_key_file(path: str) -> bool:
    """A client's key as it is read, and as it is before the rename that puts it there."""
    return Path(path).name in ("postgresql.key", "postgresql.new")


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []  # it is gone, or not ours to read


def _below(root: Path, without: Callable[[Path], bool]) -> Iterator[Path]:
    """The files of a directory, or the file itself; links are not followed."""
    if root.is_symlink() or without(root):
        return
    if not root.is_dir():
        yield root
        return
    for path in _entries(root):
        yield from _below(path, without)


def _processes(what: str) -> Iterator[Content]:
    for path in Path("/proc").glob(f"[0-9]*/{what}"):
        try:
            yield what, path.read_bytes()
        except OSError:
            continue  # it is gone, or not ours to read
