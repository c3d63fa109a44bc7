"""What a service wrote into its log about certificates since a mark.

The log is the only place where a reload that failed shows, and where clients that rechain does not know are refused.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import deque
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, BinaryIO

# The words of PostgreSQL and, in any language of lc_messages, OpenSSL's reasons, which are never translated; and those
# of Go's crypto/tls, which etcd is written with.
_ALERT = re.compile(
    r"""SSL\ configuration\ was\ not\ reloaded
    | could\ not\ (load|read|access|initialize)\ .*(certificate|private\ key|SSL)
    | private\ key\ file\ .*\ (has\ group|must\ be)
    | requires\ a\ valid\ client\ certificate
    | certificate\ verify\ failed | unknown\ ca | bad\ certificate | unsupported\ certificate
    | certificate\ (expired|revoked|unknown|required) | key\ values\ mismatch | decrypt\ error
    | tls:\ (expired|revoked|unknown)\ certificate | tls:\ certificate\ required | tls:\ error\ decrypting""",
    re.VERBOSE | re.IGNORECASE,
)
_DETAIL = re.compile(r"(?:DETAIL:\s+|^\s+(?=Failed certificate data))(.*certificate.*)", re.IGNORECASE)
_REVOKED = re.compile(r"certificate revoked.*serial number (\d+)", re.IGNORECASE)
_PROCESS = re.compile(r"\[(\d+)\]")
_RECEIVED = re.compile(r"connection received: host=(\S+)")
# What a line that means anything to us holds, in any case: the others, nearly all, cost one look.
_TELLING = (
    b"certificate",
    b"connection received",
    b"private key",
    b"ssl configuration",
    b"could not",
    b"unknown ca",
    b"key values",
    b"decrypt",
    b"tls:",
)
_LONGEST_READ = 2**30
_BLOCK = _LONGEST_LINE = 2**16
_MOST_ALERTS = 200
_TAIL_BYTES = 256
_LONGEST_ALERT = 1000


def mark(path: str) -> dict[str, Any]:
    """Remember the end of a log on this machine. A log that is not there yet starts at its beginning.

    Args:
        path: Of the log; with wildcards, as `log_filename` has them, the file that was written last.

    Returns:
        `path`, `inode` (None when there is none yet), `offset` in bytes and `tail`, a digest of what stands before it;
        or `path` and the `reason` why not.
    """
    try:
        newest = max(_matching(path), key=lambda one: one.stat().st_mtime, default=None)
        if newest is None and not Path(path).parent.is_dir():
            return {"path": path, "reason": "no such directory here"}
        if newest is None:
            return {"path": path, "inode": None, "offset": 0, "tail": ""}
        with newest.open("rb") as file:
            status = os.fstat(file.fileno())
            tail = _tail(file, status.st_size)
            return {"path": path, "inode": status.st_ino, "offset": status.st_size, "tail": tail}
    except OSError as error:
        return {"path": path, "reason": error.strerror or str(error)}


def alerts_since(position: Mapping[str, Any]) -> dict[str, Any]:
    """The lines about certificates that were written since a mark, each with the server's DETAIL and who it was.

    Follows a log that was renamed and begun anew. Lines that are gone (truncated, deleted, compressed) make it
    unreadable unless what is left holds alerts: those are bad news enough. Idempotent, safe to retry.

    Args:
        position: A mark; with `revoked`, serial numbers in decimal whose refusal is what is wanted.

    Returns:
        `path` and `alerts`, the latest ones; or `path` and the `reason` why it can't be read.
    """
    path, lost = position["path"], []  # type: tuple[str, list[str]]
    try:
        lines = (line for piece in _pieces(position, lost) for line in piece)
        revoked = {str(serial) for serial in position.get("revoked") or ()}
        told = (alert[: 2 * _LONGEST_ALERT] for alert in _alerts(lines) if not _is_wanted(alert, revoked))
        alerts = list(deque(told, _MOST_ALERTS))
    except OSError as error:
        return {"path": path, "reason": error.strerror or str(error)}
    return {"path": path, "reason": lost[0]} if lost and not alerts else {"path": path, "alerts": alerts}


def _is_wanted(alert: str, revoked: set[str]) -> bool:
    """Whether it is the refusal of a certificate that is revoked: PostgreSQL says whose from version 16 on."""
    serial = _REVOKED.search(alert)
    return serial is not None and serial[1] in revoked


def _matching(path: str) -> list[Path]:
    return [Path(name) for name in glob.glob(path)] if glob.has_magic(path) else [Path(path)][: Path(path).exists()]  # noqa: PTH207


def _pieces(position: Mapping[str, Any], lost: list[str]) -> Iterator[Iterator[str]]:
    """The lines since the mark, of one file or, after a rotation, of several; adds to `lost` what is gone."""
    path, inode = position["path"], position["inode"]
    present = {entry: entry.stat() for entry in _matching(path)}
    if inode is None:
        if not present:
            lost.append("it is still not there: is `log` the right path?")
        for entry in present:
            yield _read(entry, 0, lost)
        return
    marked = next((entry for entry, status in present.items() if status.st_ino == inode), None)
    if marked is None or len(present) > 1:
        yield from _rotated(position, lost)
    else:
        yield _rest(marked, position, lost)


def _rest(file: Path, position: Mapping[str, Any], lost: list[str]) -> Iterator[str]:
    """The lines written after the mark; of a file that was emptied since (`copytruncate`) all of them.

    It may have grown past the mark again by now, so what stood before the mark is compared.
    """
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        is_same = size >= position["offset"] and _tail(opened, position["offset"]) == position["tail"]
    if not is_same:
        lost.append("it was truncated since the mark, so lines may be lost")
    return _read(file, position["offset"] if is_same else 0, lost)


def _tail(file: BinaryIO, offset: int) -> str:
    """A digest of what stands right before an offset."""
    start = max(0, offset - _TAIL_BYTES)
    file.seek(start)
    return hashlib.sha256(file.read(offset - start)).hexdigest()


def _rotated(position: Mapping[str, Any], lost: list[str]) -> Iterator[Iterator[str]]:
    """The rest of the old file, under whatever name it has now, then every file begun since."""
    path, inode = position["path"], position["inode"]
    neighbours = {entry: entry.stat() for entry in Path(path).parent.iterdir() if entry.is_file()}
    old = next((entry for entry, status in neighbours.items() if status.st_ino == inode), None)
    if old is None:
        lost.append("it was rotated since the mark and the old file is gone, so lines may be lost")
    else:
        yield _rest(old, position, lost)
    current = set(_matching(path))
    own = [
        entry
        for entry in neighbours
        if entry != old and (entry in current or (not glob.has_magic(path) and entry.name.startswith(Path(path).name)))
    ]
    since = neighbours[old].st_mtime if old else 0.0
    for entry in sorted(own, key=lambda entry: neighbours[entry].st_mtime):
        is_named = not glob.has_magic(path) and entry in current
        if is_named or (old and neighbours[entry].st_mtime >= since):
            yield _read(entry, 0, lost)


def _read(path: Path, offset: int, lost: list[str]) -> Iterator[str]:
    """The telling lines from an offset up to where the file ends now, one by one: a log may be larger than memory."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        if end - offset > _LONGEST_READ:
            lost.append(f"it grew by {end - offset} bytes since the mark, more than is read at once")
            offset = end - _LONGEST_READ
        file.seek(offset)
        while offset < end and (block := file.read(_BLOCK) + file.readline(_LONGEST_LINE)):
            offset += len(block)
            if _is_telling(block):
                yield from (line.decode("utf-8", "replace") for line in block.splitlines() if _is_telling(line))


def _is_telling(text: bytes) -> bool:
    text = text.lower()
    return any(words in text for words in _TELLING)


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
            address, said = addresses.get(process[1]) if process else None, line.strip()[:_LONGEST_ALERT]
            pending = f"{said} (from {address})" if address else said
    if pending:
        yield pending
