"""A search for key material wherever a run could leave it."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

MEMORY, TEMPORARY = Path("/dev/shm"), Path(tempfile.gettempdir())  # noqa: S108  # looked into, never written to


class Search:
    """Looks for key material, again and again, wherever a run could leave it.

    Args:
        needles: Texts that must not be found.
        excluded: Where keys belong.
    """

    def __init__(self, needles: Iterable[str], excluded: Path) -> None:
        self._needles = [needle.encode() for needle in needles]
        self._excluded = excluded
        self.found: set[str] = set()
        self.looks = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> Search:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join()
        self.look()

    def look(self) -> None:
        """Look once into files, command lines and environments."""
        places = [MEMORY, Path.home() / ".ansible", *TEMPORARY.glob("ansible*"), *TEMPORARY.glob("rechain*")]
        walks = (walk for place in places for walk in os.walk(place))  # passes over what is gone by then
        files = [Path(folder, name) for folder, _folders, names in walks for name in names]
        shown = [path for part in ("cmdline", "environ") for path in Path("/proc").glob(f"[0-9]*/{part}")]
        for path in [*files, *shown]:
            try:
                if path.is_file() and self._excluded not in path.parents:
                    self._search(path, path.read_bytes())
            except OSError:
                continue  # it is gone, or not ours to read
        self.looks += 1

    def _search(self, path: Path, content: bytes) -> None:
        if any(needle in content for needle in self._needles):
            self.found.add(str(path))

    def _go_on(self) -> None:
        while not self._end.wait(0.1):
            self.look()
