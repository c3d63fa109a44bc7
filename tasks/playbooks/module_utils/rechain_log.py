"""What a service wrote into its log about certificates since a mark.

The log is the only place where a reload that failed shows, and where clients that rechain does not know are refused.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

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
_PROCESS = re.compile(r"\[(\d+)\]")
_RECEIVED = re.compile(r"connection received: host=(\S+)")
_LONGEST_READ = 64 * 2**20
_MOST_ALERTS = 200
_LONGEST_ALERT = 1000


def mark(path: str) -> dict[str, Any]:
    """Remember the end of a log on this machine. A log that is not there yet starts at its beginning.

    Returns:
        `path`, `inode` (None when there is none yet) and `offset` in bytes; or `path` and the `reason` why not.
    """
    try:
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            return {"path": path, "inode": status.st_ino, "offset": status.st_size}
    except FileNotFoundError:
        if Path(path).parent.is_dir():
            return {"path": path, "inode": None, "offset": 0}
        return {"path": path, "reason": "no such directory here"}
    except OSError as error:
        return {"path": path, "reason": error.strerror or str(error)}


def alerts_since(position: Mapping[str, Any]) -> dict[str, Any]:
    """The lines about certificates that were written since a mark, each with the server's DETAIL and who it was.

    Follows a log that was renamed and begun anew. Lines that are gone (truncated, deleted, compressed) make it
    unreadable unless what is left holds alerts: those are bad news enough. Idempotent, safe to retry.

    Returns:
        `path` and `alerts`, the latest ones; or `path` and the `reason` why it can't be read.
    """
    path, lost = position["path"], []  # type: tuple[str, list[str]]
    try:
        lines = [line for text in _pieces(position, lost) for line in text.splitlines()]
    except OSError as error:
        return {"path": path, "reason": error.strerror or str(error)}
    alerts = [alert[:_LONGEST_ALERT] for alert in _alerts(lines)][-_MOST_ALERTS:]
    return {"path": path, "reason": lost[0]} if lost and not alerts else {"path": path, "alerts": alerts}


def _pieces(position: Mapping[str, Any], lost: list[str]) -> Iterator[str]:
    """The text since the mark, from one file or, after a rotation, from several; adds to `lost` what is gone."""
    path, inode, offset = Path(position["path"]), position["inode"], position["offset"]
    present = path.stat() if path.exists() else None
    if inode is None:
        if present:
            yield _read(path, 0, lost)
    elif present and present.st_ino == inode:
        if present.st_size < offset:
            lost.append("it was truncated since the mark, so lines may be lost")
        yield _read(path, offset if present.st_size >= offset else 0, lost)
    else:
        yield from _rotated(path, inode, offset, lost)


def _rotated(path: Path, inode: int, offset: int, lost: list[str]) -> Iterator[str]:
    """The rest of the old file, under whatever name it has now, then every file begun since."""
    neighbours = {entry: entry.stat() for entry in path.parent.iterdir() if entry.is_file()}
    old = next((entry for entry, status in neighbours.items() if status.st_ino == inode), None)
    if old is None:
        lost.append("it was rotated since the mark and the old file is gone, so lines may be lost")
    else:
        yield _read(old, offset, lost)
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
    addresses: dict[str, str] = {}
    for line in lines:
        process, received, detail = _PROCESS.search(line), _RECEIVED.search(line), _DETAIL.search(line)
        if process and received:
            addresses[process[1]] = received[1]
        elif pending and detail:
            pending = f"{pending}: {detail[1]}"
        elif _ALERT.search(line):
            if pending:
                yield pending
            address = addresses.get(process[1]) if process else None
            pending = f"{line.strip()} (from {address})" if address else line.strip()
    if pending:
        yield pending
