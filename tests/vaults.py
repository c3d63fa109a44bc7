"""What the vaults of a fleet's repository hold, opened with `ansible-vault view`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lab.fleet import Lab
from tests.needles import keys_in


def vaulted_keys(lab: Lab) -> dict[str, str]:
    """Every private key of every vault of the repository, by place."""
    vaults = [path for path in lab.repository.root.rglob("*.vault.yml") if ".git" not in path.parts]
    shown = [_view(lab, path) for path in vaults]
    return {f"{path.parent.name}/{path.name} {i}": key for path, text in shown for i, key in enumerate(keys_in(text))}


def _view(lab: Lab, path: Path) -> tuple[Path, str]:
    password = str(lab.repository.password_file)
    arguments = [
        str(Path(sys.executable).with_name("ansible-vault")), "view", str(path),
        "--vault-id", password, "--vault-id", f"rechain-ca@{password}",
    ]  # fmt: skip
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "PAGER": "cat"}
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60, env=environment)
    return path, done.stdout
