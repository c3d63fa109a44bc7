"""A digest of all that Ansible reads of an inventory, so that it is read again only when a file of it has changed.

`ansible-inventory` takes a second of a core, and a rotation asks for the fleet some forty times.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

_BESIDE_PLAYBOOKS = ("ansible.cfg", "group_vars", "host_vars")
_PLUGIN = re.compile(rb"^\s*[\"']?plugin[\"']?\s*:", re.MULTILINE)
_SETTINGS = "ANSIBLE_"


def inventory_digest(inventory: Path, root: Path) -> str | None:
    """The digest of an inventory as it is now.

    Args:
        inventory: What `-i` takes: a file beside its folders of variables, or a folder.
        root: The environment repository, whose ansible.cfg and variables count too.

    Returns:
        SHA-256 of names and contents; None when the answer may change though no file does (a script, or a plugin that
        asks somebody else), and when a file can't be read, which is for Ansible to explain.
    """
    try:
        return _digest(inventory, root)
    except OSError:
        return None


def _digest(inventory: Path, root: Path) -> str | None:
    folder = inventory.parent if inventory.is_file() else inventory
    digest = hashlib.sha256(f"{inventory.name}\0{_settings()}".encode())
    for place in (folder, *(root / name for name in _BESIDE_PLAYBOOKS)):
        for path in _files(place):
            content = path.read_bytes()
            if place == folder and (os.access(path, os.X_OK) or _PLUGIN.search(content)):
                return None
            digest.update(f"\0{path.relative_to(place)}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    for folder, folders, names in os.walk(place, followlinks=True):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def _settings() -> str:
    return "\0".join(f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(_SETTINGS))
