"""Programs that believe in another time: libfaketime, preloaded into them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def faketime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, where every user may load it."""
    try:
        found = next(file for file in files("libfaketime") or () if file.name == "libfaketime.so.1")
    except (PackageNotFoundError, StopIteration):
        pytest.skip("libfaketime has no build for this platform, so no clock can be shifted")
    folder = tmp_path_factory.mktemp("faketime")
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o055)
    return Path(shutil.copy(str(found.locate()), folder / "libfaketime.so.1"))


def environment_at(library: Path, moment: datetime) -> Mapping[str, str]:
    """The variables that make a program begin at a moment; its clock goes on from there."""
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"@{moment:%Y-%m-%d %H:%M:%S}",
        "TZ": "UTC",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@contextmanager
def variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Have this process's environment hold variables, for the programs that it starts meanwhile."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
