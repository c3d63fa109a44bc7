"""What the lab's own long-running programs share: they are told by a file, and end with their parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from lab.account import scrubbed
from lab.errors import LabError
from lab.login import Identity
from lab.processes import Process, find
from rechain.fleet import Endpoint

_TICK_S = 0.2


@dataclass(frozen=True, slots=True)
class Orders:
    """What a program is told.

    Attributes:
        identities: Who logs in, from which files.
        endpoints: Where.
        journal: Where it writes what happened.
        interval_ms: Milliseconds between the starts of two logins.
        parent: It ends when this is no longer its parent; 0 lets it live on.
        stores: Where the members of etcd answer.
    """

    identities: tuple[Identity, ...]
    endpoints: tuple[Endpoint, ...]
    journal: str
    interval_ms: int
    parent: int
    stores: tuple[Endpoint, ...] = ()


def launch(module: str, orders: Orders) -> Process:
    """Start `python -m MODULE` with its orders in a file beside its journal. Raises LabError."""
    journal = Path(orders.journal)
    told, errors = journal.with_suffix(".json"), journal.with_suffix(".err")
    told.write_text(json.dumps(asdict(orders)), "utf-8")
    with errors.open("a", encoding="utf-8") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", module, str(told)],
            cwd=journal.parent,
            env=scrubbed(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # an interrupt typed at the terminal is for the one who launched it
        )
    _children.append(child)
    started = find(child.pid)
    if started is None:
        raise LabError(module, "ended at once", f"see {errors}")
    return started


def read_orders(path: Path) -> Orders:
    """Read back what `launch` wrote."""
    told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    told["identities"] = tuple(Identity(**fields) for fields in told["identities"])
    for kind in ("endpoints", "stores"):
        told[kind] = tuple(Endpoint(**fields) for fields in told[kind])
    return Orders(**told)


def ending(parent: int) -> threading.Event:
    """An event that is set when the program should end: SIGTERM, SIGINT, or its parent is gone."""
    end = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        end.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if parent:
        threading.Thread(target=_watch_parent, args=(parent, end), daemon=True).start()
    return end


def finish(process: Process) -> None:
    """End a program that `launch` started, here or in a process that is gone."""
    process.end()
    _children[:] = [child for child in _children if child.poll() is None]


# Kept until they have ended: Python warns about a child that is forgotten while it runs.
_children: list[subprocess.Popen[bytes]] = []


def _watch_parent(parent: int, end: threading.Event) -> None:
    # A death signal (prctl) would follow the thread that launched it, and Prefect's threads come and go.
    while os.getppid() == parent and not end.wait(_TICK_S):
        pass
    end.set()
