"""The OS user that the lab's servers run as: PostgreSQL refuses root."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

_UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """An OS user that servers and managed clients run as.

    Attributes:
        name: Its login name.
        uid: Its user id.
        gid: Its group id.
    """

    name: str
    uid: int
    gid: int

    @property
    def is_self(self) -> bool:
        """Whether this process already runs as it."""
        return os.geteuid() == self.uid

    def run(
        self, arguments: Sequence[str], *, cwd: Path | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, without the caller's PG* variables and terminal. Does not raise for its status.

        Raises:
            LabError: It did not end in time.
        """
        try:
            return subprocess.run(  # type: ignore[call-overload,no-any-return]  # the switch is three keyword arguments
                self._there(arguments, cwd),
                cwd=cwd or "/",
                env=scrubbed(os.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
                **self._switch(),
            )
        except subprocess.TimeoutExpired:
            raise LabError(
                arguments[0], f"did not end within {timeout_s:.0f} s", "is the machine overloaded?"
            ) from None

    def command(self, arguments: Sequence[str]) -> str:
        """The shell command that runs a program as this user, whoever of root and this user types it."""
        return shlex.join([*self._prefix(), *arguments])

    def can_run(self, program: Path) -> bool:
        """Whether this user may enter the program's directory and run it with its libraries."""
        try:
            return self.run([str(program), "--version"]).returncode == 0
        except OSError:
            return False

    def own(self, path: Path, mode: int) -> None:
        """Give a file or directory to this user, with this mode."""
        if not self.is_self:
            os.chown(path, self.uid, self.gid)
        path.chmod(mode)

    def _there(self, arguments: Sequence[str], _cwd: Path | None) -> Sequence[str]:
        """The command that runs a program where this user is: here."""
        return arguments

    def _switch(self) -> dict[str, object]:
        return {} if self.is_self else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def _prefix(self) -> list[str]:
        if self.is_self:
            return []
        if runuser := shutil.which("runuser"):
            return [runuser, "-u", self.name, "--"]
        setpriv = shutil.which("setpriv") or "setpriv"
        return [setpriv, f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--"]


def unprivileged_account() -> Account:
    """The user that servers run as: oneself, or as root `postgres` if it exists, else `nobody`."""
    if os.geteuid():
        return _account(pwd.getpwuid(os.geteuid()))
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in _UNPRIVILEGED:
        if name in known:
            return _account(known[name])
    raise LabError("this machine", "root has no user `postgres` or `nobody` to run PostgreSQL as", "run as a user")


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without libpq's variables, in which programs speak English."""
    kept = {name: value for name, value in environment.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
