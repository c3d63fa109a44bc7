"""What the owner of an external client does with a delivery: unpack it, and log in from Java and by psql."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

_PROGRAM = Path(__file__).parents[1] / "clients" / "LogIn.java"
_DRIVER = Path("/usr/share/java/postgresql.jar")  # where Debian and Ubuntu have it
_PSQL = "select current_user, client_serial, pg_is_in_recovery() from pg_stat_ssl where pid = pg_backend_pid()"
_LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class Session:
    """What a server says of a login: who, by which certificate, and whether it takes writes; else the error."""

    user: str = ""
    serial: int = 0
    is_standby: bool = False
    error: str = ""


@dataclass(frozen=True)
class Delivered:
    """A delivery that was unpacked."""

    directory: Path
    client: str
    passphrase: str

    @property
    def readme(self) -> str:
        """What the owner reads."""
        return (self.directory / "README.txt").read_text("utf-8")

    @property
    def now(self) -> str:
        """What the README says is to be done now."""
        return self.readme.split("WHAT TO DO NOW", 1)[1].split("A refresh of the chain", 1)[0]

    def entry(self, label: str) -> str:
        """The service entry of a way to the database."""
        return re.split(r"\n\n", self.readme[self.readme.index(f"[{self.client}-{label}]") :], maxsplit=1)[0]

    def jdbc_addresses(self) -> list[str]:
        """Every JDBC address, the passphrase filled in."""
        lines = [line for line in self.readme.splitlines() if line.startswith("jdbc:postgresql:")]
        return [line.replace("PASSPHRASE", quote(self.passphrase, safe="")) for line in lines]


def unpack(archive: Path, client: str, passphrase: str, home: Path) -> Delivered:
    """Decrypt and unpack, as the command that made the archive says."""
    home.mkdir(mode=0o700)
    command = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback", "--passphrase", passphrase]
    plain = subprocess.run([*command, "--decrypt", str(archive)], capture_output=True, timeout=60, check=True).stdout
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], timeout=60, check=True)
    subprocess.run(["tar", "xz", "-C", str(home)], input=plain, timeout=60, check=True)
    return Delivered(home / client, client, passphrase)


@dataclass(frozen=True)
class Java:
    """A Java program with pgjdbc; it knows the names of a hosts file alone."""

    program: str

    def log_in(self, delivered: Delivered, hosts: Mapping[str, str]) -> list[Session]:
        """Log in by every JDBC address of a delivery, from its folder."""
        names = delivered.directory / "hosts"
        names.write_text("".join(f"{address} {name}\n" for name, address in hosts.items()), "utf-8")
        command = [self.program, "-XX:TieredStopAtLevel=1", f"-Djdk.net.hosts.file={names}", "-cp", str(_DRIVER)]
        addresses = delivered.jdbc_addresses()
        done = subprocess.run(
            [*command, str(_PROGRAM)],
            input="\n".join(addresses) + "\n",
            cwd=delivered.directory,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=True,
        )
        answers = done.stdout.splitlines()
        assert len(answers) == len(addresses), done.stdout + done.stderr
        return [_session(answer, " ") for answer in answers]


@dataclass(frozen=True)
class Psql:
    """The program psql; it knows addresses by the service file alone."""

    program: str

    def log_in(self, delivered: Delivered, label: str, addresses: Sequence[str]) -> Session:
        """Log in by a service entry of a delivery, from its folder."""
        services = delivered.directory / "service.conf"
        services.write_text(f"{delivered.entry(label)}\nhostaddr={','.join(addresses)}\n", "utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        done = subprocess.run(
            [self.program, "-XAtq", f"service={delivered.client}-{label}", "-c", _PSQL],
            env={**kept, "PGSERVICEFILE": str(services)},
            cwd=delivered.directory,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        return _session(done.stdout.strip(), "|") if done.returncode == 0 else Session(error=done.stderr)


def _session(answer: str, separator: str) -> Session:
    match answer.split(separator):
        case [user, serial, standby] if serial.isdigit():
            return Session(user, int(serial), standby.startswith("t"))
    return Session(error=answer)


@pytest.fixture
def java() -> Java:
    """A JDK, which runs a program from its source, and pgjdbc; `.ci/run` installs both."""
    program = shutil.which("java")
    if program is None or shutil.which("javac") is None or not _DRIVER.exists():
        pytest.skip("no JDK or no pgjdbc here: `apt-get install default-jdk-headless libpostgresql-jdbc-java`")
    return Java(program)


@pytest.fixture
def psql() -> Psql:
    """The psql of this machine; `.ci/run` installs it."""
    program = shutil.which("psql")
    if program is None:
        pytest.skip("no psql here: `apt-get install postgresql-client`")
    return Psql(program)
