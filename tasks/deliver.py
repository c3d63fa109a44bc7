"""Make a delivery for an external client: one archive, encrypted with GPG; no plaintext touches a disk."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rechain.delivery import delivery
from rechain.delivery_readme import Connection
from rechain.errors import InputError, RepositoryError
from rechain.phase import Phase
from rechain.way import ways
from tasks.access import deployed_phase
from tasks.repository.certs_yaml import read_keys
from tasks.repository.deployment import public_key_of
from tasks.repository.files import rename_durably
from tasks.repository.intent import pending
from tasks.repository.layout import certs_paths
from tasks.repository.programs import find_program
from tasks.repository.vault import read_vault
from tasks.state import EnvironmentRef, FleetState, observe

PASSPHRASE_VARIABLE = "RECHAIN_DELIVERY_PASSPHRASE_FILE"  # noqa: S105  # a variable's name
_LIMIT_S = 60.0
_LONGEST_PASSPHRASE = 1024


def deliver(ref: EnvironmentRef, client: str, target: Path, *, database: str | None = None) -> Path:
    """Write the delivery of a client: what the present phase holds for it.

    Side effect: `target`, by rename. Safe to retry; an archive that is there is not overwritten.

    Args:
        ref: Which environment.
        client: The client.
        target: Where the archive goes.
        database: Database of the examples; that of `verify.database` when None.

    Returns:
        The archive's path.

    Raises:
        InputError: There is no such client, its key is not ours, or the archive exists.
    """
    if pending(ref.root, ref.environment):
        raise InputError(
            ref.environment, "certs.yml and its vault are being replaced", "run the command that does it to its end"
        )
    state = observe(ref)
    if client not in state.certs.clients:
        known = ", ".join(sorted(state.certs.clients))
        raise InputError(ref.environment, f"has no client {client!r}", f"clients there are: {known}")
    _refuse_revoked(state, client)
    _refuse_existing(target)
    passphrase = _passphrase()
    vault = certs_paths(ref.root, ref.environment)[1]
    key = read_keys(read_vault(vault), str(vault)).clients.get(client)
    if key is None:
        raise InputError(str(vault), f"has no key of {client}", "its owner holds it, who needs no delivery from here")
    if public_key_of(key, f"{vault}: {client}") != state.certs.clients[client].leaf.public_key:
        raise InputError(str(vault), f"the key of {client} does not fit its certificate", "restore the pair from Git")
    reached = ways(state.fleet, state.certs.servers)
    connection = Connection(client, database or state.settings.verify.database, reached)
    phase: Phase | None = deployed_phase(state) if state.next else None
    is_replaced = phase is Phase.RETIRED and state.rotation.phase is Phase.ISSUED
    files = delivery(
        state.certs.clients[client],
        key,
        state.certs.server_chain,
        connection,
        phase=phase,
        is_replaced=is_replaced,
        passphrase=passphrase,
    )
    _write(target, _encrypted(_archive(client, files), passphrase))
    return target


def _refuse_revoked(state: FleetState, client: str) -> None:
    serial = state.certs.clients[client].leaf.serial
    if any(one.serial == serial for one in state.revoked):
        environment = state.ref.environment
        raise InputError(
            f"{client} of {environment}",
            f"its certificate, serial {serial:x}, is revoked",
            f"give it a new one: rechain refresh {environment} --strategy add-clients --client {shlex.quote(client)}",
        )


def _refuse_existing(target: Path) -> None:
    try:
        exists = target.exists()
    except OSError as error:
        raise InputError(str(target), f"can't be written: {error.strerror}", "name another with --output") from None
    if exists:
        raise InputError(str(target), "exists already", "remove it, or name another with --output")


def _archive(client: str, files: Mapping[str, bytes]) -> bytes:
    """A gzipped tar, in memory; the files that hold a key are closed to others."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{client}/{name}")
            entry.size, entry.mtime = len(content), int(time.time())
            entry.mode = 0o600 if name.endswith((".key", ".pk8", ".p12")) else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _encrypted(content: bytes, passphrase: str) -> bytes:
    """Encrypt with GPG's symmetric mode (AES-256), through pipes, with a home that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rechain-gpg-") as home:
        reading, writing = os.pipe()
        os.write(writing, passphrase.encode())
        os.close(writing)
        options = ["--batch", "--no-tty", "--quiet", "--homedir", home, "--pinentry-mode", "loopback"]
        options += ["--passphrase-fd", str(reading), "--cipher-algo", "AES256", "--symmetric", "--output", "-"]
        try:
            done = subprocess.run(
                [find_program("gpg"), *options],
                input=content,
                capture_output=True,
                pass_fds=[reading],
                timeout=_LIMIT_S,
                check=False,
            )
        finally:
            os.close(reading)
            _end_agent(home)
    if done.returncode:
        said = (done.stderr.decode(errors="replace").strip() or "it said nothing").splitlines()[0]
        raise RepositoryError("gpg", f"ended with code {done.returncode}: {said}", "try it by hand")
    return done.stdout


def _end_agent(home: str) -> None:
    """GPG leaves a program behind for each home."""
    subprocess.run(
        [find_program("gpgconf"), "--homedir", home, "--kill", "all"],
        capture_output=True,
        timeout=_LIMIT_S,
        check=False,
    )


def _passphrase() -> str:
    """The archive's passphrase: the first line of a file, or of what a script prints, as Ansible has it for vaults."""
    value = os.environ.get(PASSPHRASE_VARIABLE)
    fix = f"export {PASSPHRASE_VARIABLE}=FILE, a file or a script"
    if not value:
        raise InputError(PASSPHRASE_VARIABLE, "is not set, and a delivery is encrypted", fix)
    path = Path(value).expanduser().absolute()
    if not path.is_file():
        raise InputError(PASSPHRASE_VARIABLE, f"{path} is not a file", fix)
    lines = _said(path, fix).splitlines()
    passphrase = lines[0].strip() if lines else ""
    if not passphrase:
        raise InputError(PASSPHRASE_VARIABLE, f"{path} gives no passphrase", "write one into its first line")
    if len(passphrase.encode()) > _LONGEST_PASSPHRASE:
        raise InputError(PASSPHRASE_VARIABLE, f"{path} gives more than {_LONGEST_PASSPHRASE} bytes", "shorten it")
    return passphrase


def _said(path: Path, fix: str) -> str:
    """What a file holds, or a script prints; nothing of it is in an error."""
    try:
        if not os.access(path, os.X_OK):
            return path.read_text("utf-8")
        done = subprocess.run([str(path)], capture_output=True, timeout=_LIMIT_S, check=False)
        return done.stdout.decode() if done.returncode == 0 else ""
    except UnicodeDecodeError:
        raise InputError(PASSPHRASE_VARIABLE, f"{path} gives no UTF-8 text", fix) from None
    except OSError as error:
        what = f"{path} can't be {'run' if os.access(path, os.X_OK) else 'read'}: {error.strerror}"
        raise InputError(PASSPHRASE_VARIABLE, what, f"{fix}; a plain file is not executable") from None
    except subprocess.TimeoutExpired:
        raise InputError(PASSPHRASE_VARIABLE, f"{path} did not end within {_LIMIT_S:.0f} s", fix) from None


def _write(target: Path, content: bytes) -> None:
    staged = target.with_name(f".{target.name}.new")
    try:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - pathlib opens no descriptors
            file.write(content)
        rename_durably(staged, target)
    except OSError as error:
        with suppress(OSError):
            staged.unlink()
        raise InputError(str(target), f"can't be written: {error.strerror}", "name another with --output") from None
