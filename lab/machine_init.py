"""The first process of a machine: makes its root, then buries what died. Run as `python -m lab.machine_init`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SPACE = "256m"
_SHM = "64m"
_EMPTY = ("run", "tmp", "var/tmp", "root", "home", "mnt")
"""What of this machine is not to be seen from the other one."""


def main(name: str, directory: Path, programs: Sequence[Path]) -> None:
    """Never returns while the machine runs; SIGTERM ends it, and with it all of its processes."""
    socket.sethostname(name)
    _run("ip", "link", "set", "lo", "up")
    _enter(_make_root(directory, programs), directory)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    (directory / "booted").touch()
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            signal.sigtimedwait([signal.SIGCHLD], 1)


def _make_root(directory: Path, programs: Sequence[Path]) -> Path:
    """An overlay on this machine's root that writes into memory, with what every system mounts."""
    space, root = directory / "space", directory / "root"
    for path in (space, root):
        path.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={_SPACE}", "tmpfs", str(space))
    for part in ("upper", "work"):
        (space / part).mkdir()
    layers = f"lowerdir=/,upperdir={space}/upper,workdir={space}/work"
    _run("mount", "-t", "overlay", "-o", layers, "overlay", str(root))
    _run("mount", "-t", "proc", "proc", str(root / "proc"))
    _run("mount", "--bind", "/dev", str(root / "dev"))
    _run("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620,gid=5", "devpts", str(root / "dev/pts"))
    _run("mount", "-t", "tmpfs", "-o", f"size={_SHM}", "tmpfs", str(root / "dev/shm"))
    for empty in _EMPTY:
        mode = "1777" if empty.endswith("tmp") else "755"
        _run("mount", "-t", "tmpfs", "-o", f"size={_SPACE},mode={mode}", "tmpfs", str(root / empty))
    (root / "run/sshd").mkdir()
    for path, options in ((directory, "rw"), *((each, "ro") for each in programs)):
        shared = root / path.relative_to("/")
        shared.mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", "-o", options, str(path), str(shared))
    return root


def _enter(root: Path, directory: Path) -> None:
    """Make it the root, without a way back."""
    old = root / "mnt" / "old"
    old.mkdir()
    os.chdir(root)
    _run("pivot_root", ".", "mnt/old")
    os.chdir("/")
    _run("umount", "--lazy", "/mnt/old")
    Path("/mnt/old").rmdir()
    if not directory.is_dir():
        sys.exit(f"{directory} is not shared")


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [Path(each) for each in sys.argv[3:]])
