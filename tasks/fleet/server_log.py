"""What a server wrote into its log about certificates since a mark.

The log is the only place where a reload that failed shows, and where clients that rechain does not know are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.fleet.connection import Unreadable

# The words of PostgreSQL and, in any language of lc_messages, OpenSSL's reasons, which are never translated.
_ALERT = re.compile(
    r"""SSL\ configuration\ was\ not\ reloaded
    | could\ not\ (load|read|access|initialize)\ .*(certificate|private\ key|SSL)
    | private\ key\ file\ .*\ (has\ group|must\ be)
    | requires\ a\ valid\ client\ certificate
    | certificate\ verify\ failed | unknown\ ca | bad\ certificate | unsupported\ certificate
    | certificate\ (expired|revoked|unknown|required) | key\ values\ mismatch | decrypt\ error""",
    re.VERBOSE | re.IGNORECASE,
)
_DETAIL = re.compile(r"(?:DETAIL:\s+|^\s+(?=Failed certificate data))(.*certificate.*)", re.IGNORECASE)
_LONGEST_READ = 64 * 2**20


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A place in a log.

    Attributes:
        path: Absolute path of the log.
        inode: Which file it was; None when there was none yet.
        offset: How many bytes of it are older than the mark.
    """

    path: str
    inode: int | None
    offset: int


def mark(path: str) -> LogPosition | Unreadable:
    """Remember the end of a log on this machine. A log that is not there yet starts at its beginning."""
    try:
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            return LogPosition(path, status.st_ino, status.st_size)
    except FileNotFoundError:
        return LogPosition(path, None, 0) if Path(path).parent.is_dir() else Unreadable(path, "no such directory here")
    except OSError as error:
        return Unreadable(path, error.strerror or str(error))


def alerts_since(position: LogPosition) -> tuple[str, ...] | Unreadable:
    """The lines about certificates that were written since a mark, each with the server's DETAIL.

    Follows a log that was renamed and begun anew. Lines that are gone (truncated, deleted, compressed) make it
    unreadable unless what is left holds alerts: those are bad news enough. Idempotent, safe to retry.
    """
    lost: list[str] = []
    try:
        lines = [line for text in _pieces(position, lost) for line in text.splitlines()]
    except OSError as error:
        return Unreadable(position.path, error.strerror or str(error))
    alerts = tuple(_alerts(lines))
    return Unreadable(position.path, lost[0]) if lost and not alerts else alerts


def _pieces(position: LogPosition, lost: list[str]) -> Iterator[str]:
    """The text since the mark, from one file or, after a rotation, from several; adds to `lost` what is gone."""
    path = Path(position.path)
    present = path.stat() if path.exists() else None
    if position.inode is None:
        if present:
            yield _read(path, 0, lost)
    elif present and present.st_ino == position.inode:
        if present.st_size < position.offset:
            lost.append("it was truncated since the mark, so lines may be lost")
        yield _read(path, position.offset if present.st_size >= position.offset else 0, lost)
    else:
        yield from _rotated(position, path, lost)


def _rotated(position: LogPosition, path: Path, lost: list[str]) -> Iterator[str]:
    """The rest of the old file, under whatever name it has now, then every file begun since."""
    neighbours = {entry: entry.stat() for entry in path.parent.iterdir() if entry.is_file()}
    old = next((entry for entry, status in neighbours.items() if status.st_ino == position.inode), None)
    if old is None:
        lost.append("it was rotated since the mark and the old file is gone, so lines may be lost")
    else:
        yield _read(old, position.offset, lost)
    own = [entry for entry in neighbours if entry.name.startswith(path.name) and entry != old]
    since = neighbours[old].st_mtime if old else 0.0
    for entry in sorted(own, key=lambda entry: neighbours[entry].st_mtime):
        if entry == path or (old and neighbours[entry].st_mtime >= since):
            yield _read(entry, 0, lost)


def _read(path: Path, offset: int, lost: list[str]) -> str:
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        if end - offset > _LONGEST_READ:
            lost.append(f"it grew by {end - offset} bytes since the mark, more than is read at once")
            offset = end - _LONGEST_READ
        file.seek(offset)
        return file.read(_LONGEST_READ).decode("utf-8", "replace")


def _alerts(lines: Iterable[str]) -> Iterator[str]:
    """Alerts, each with the DETAIL lines that follow it: from PostgreSQL 16 on reason, subject and serial."""
    pending: str | None = None
    for line in lines:
        detail = _DETAIL.search(line)
        if pending and detail:
            pending = f"{pending}: {detail[1]}"
        elif _ALERT.search(line):
            if pending:
                yield pending
            pending = line.strip()
    if pending:
        yield pending
