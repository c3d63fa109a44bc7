"""One PostgreSQL server of the lab: made, started, reloaded and stopped with PostgreSQL's own programs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg

from lab.account import Account
from lab.errors import LabError
from lab.installation import Installation, PostgresqlNotFound, find_postgresql, usable_by

__all__ = ["SUPERUSER", "Account", "Installation", "PostgresqlNotFound", "Server", "find_postgresql", "usable_by"]

SUPERUSER = "postgres"
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """One PostgreSQL server of the lab: data, socket and log lie in its own directory.

    Attributes:
        installation: The PostgreSQL it runs.
        account: The OS user it runs as.
        directory: Its directory; the account can enter it.
        address: The loopback address it listens on.
        port: The TCP port it listens on.
    """

    installation: Installation
    account: Account
    directory: Path
    address: str
    port: int

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """Its log, through restarts."""
        return self.directory / "postgresql.log"

    @property
    def socket(self) -> Path:
        """The directory of its Unix socket, closed to all but the account and root."""
        return self.directory / "run"

    @property
    def reload_command(self) -> str:
        """The shell command that makes it read its files again."""
        return self.account.command(self._pg_ctl("reload"))

    @property
    def restart_command(self) -> str:
        """The shell command that restarts it."""
        return self.account.command(self._pg_ctl("restart", "-m", "fast", "-l", str(self.log)))

    def make_directory(self) -> None:
        """Make its directory and the socket's, owned by the account."""
        for path in (self.directory, self.socket):
            path.mkdir(parents=True, exist_ok=True)
        self.account.own(self.directory, 0o755)
        self.account.own(self.socket, 0o700)

    def initdb(self) -> None:
        """Make an empty cluster with the superuser `postgres`. Raises LabError."""
        self.make_directory()
        options = [
            "--auth=trust",
            "--no-sync",
            "--wal-segsize=1",
            "--encoding=UTF8",
            "--locale=C",
            f"--username={SUPERUSER}",
        ]
        self._run([self.installation.program("initdb"), *options, "-D", str(self.data)])

    def copy_from(self, conninfo: str) -> None:
        """Become a standby's copy of the server that the connection string names. Raises LabError."""
        self.make_directory()
        options = ["--checkpoint=fast", "--wal-method=stream", "--no-sync", "--no-password"]
        self._run([self.installation.program("pg_basebackup"), *options, "-d", conninfo, "-D", str(self.data)])
        self._write("standby.signal", [])

    def configure(self, settings: Mapping[str, str], hba: Sequence[str], ident: Sequence[str] = ()) -> None:
        """Write this server's settings, pg_hba.conf and pg_ident.conf; a running server needs `reload` or `restart`."""
        own = {**self._settings(), **settings}
        lines = [f"{name} = {_quoted(value)}" for name, value in own.items()]
        self._write("lab.conf", lines)
        self._write("pg_hba.conf", hba)
        self._write("pg_ident.conf", ident)
        main = self.data / "postgresql.conf"
        if "include 'lab.conf'" not in main.read_text("utf-8"):
            with main.open("a", encoding="utf-8") as file:
                file.write("include 'lab.conf'\n")

    def start(self, timeout_s: float = _START_S) -> None:
        """Start it and wait until it accepts connections. Raises LabError with the end of its log."""
        self._act("start", "-l", str(self.log), timeout_s=timeout_s)

    def stop(self, mode: Literal["fast", "immediate"] = "fast", timeout_s: float = _START_S) -> None:
        """Stop it and wait; immediately when a fast shutdown does not end in time. No error when it does not run."""
        if not self.is_running():
            return
        result = self._try("stop", "-m", mode, timeout_s=timeout_s)
        if result.returncode and self.is_running():
            self._act("stop", "-m", "immediate", timeout_s=timeout_s)

    def restart(self, timeout_s: float = _START_S) -> None:
        """Restart it and wait until it accepts connections. Raises LabError."""
        self._act("restart", "-m", "fast", "-l", str(self.log), timeout_s=timeout_s)

    def reload(self) -> None:
        """Tell it to read its files again; whether it could is only in its log. Raises LabError."""
        self._act("reload")

    def promote(self) -> None:
        """Make a standby a primary, and wait until it is. Raises LabError."""
        self._act("promote")

    def is_running(self) -> bool:
        """Whether its postmaster lives."""
        return self.data.is_dir() and self._try("status").returncode == 0

    def pid(self) -> int | None:
        """Its postmaster's pid, None when it does not run."""
        if not self.is_running():
            return None
        return int((self.data / "postmaster.pid").read_text("ascii").split("\n", 1)[0])

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """Connect as superuser through the socket, past TLS: the lab's own way in."""
        return psycopg.connect(
            host=str(self.socket), port=self.port, user=SUPERUSER, dbname=database, autocommit=True, connect_timeout=10
        )

    def _settings(self) -> dict[str, str]:
        return {
            "listen_addresses": self.address,
            "port": str(self.port),
            "unix_socket_directories": str(self.socket),
            "unix_socket_permissions": "0700",
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": "100",
            "log_destination": "stderr",
            "logging_collector": "off",
            "log_connections": "on",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            "log_timezone": "GMT",
            "timezone": "GMT",
        }

    def _write(self, name: str, lines: Sequence[str]) -> None:
        path = self.data / name
        path.write_text("\n".join(lines) + "\n", "utf-8")
        self.account.own(path, 0o600)

    def _pg_ctl(self, action: str, *options: str) -> list[str]:
        return [self.installation.program("pg_ctl"), action, "-s", "-D", str(self.data), *options]

    def _try(self, action: str, *options: str, timeout_s: float = _START_S) -> subprocess.CompletedProcess[str]:
        wait = [] if action in ("reload", "status") else ["-w", "-t", str(int(timeout_s))]
        return self.account.run(self._pg_ctl(action, *options, *wait), cwd=self.directory, timeout_s=timeout_s + 10)

    def _act(self, action: str, *options: str, timeout_s: float = _START_S) -> None:
        result = self._try(action, *options, timeout_s=timeout_s)
        if result.returncode:
            raise LabError(
                self.address, f"pg_ctl {action}: {result.stderr.strip()}", f"its log ends: {self._log_end()}"
            )

    def _run(self, arguments: Sequence[str]) -> None:
        result = self.account.run(arguments, cwd=self.directory)
        if result.returncode:
            raise LabError(self.address, f"{Path(arguments[0]).name}: {result.stderr.strip()}", "see the message")

    def _log_end(self) -> str:
        if not self.log.exists():
            return "(no log)"
        return " | ".join(self.log.read_text("utf-8", "replace").splitlines()[-5:])


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
