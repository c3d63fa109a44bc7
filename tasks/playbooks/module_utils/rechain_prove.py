"""Have a reader take its files, and see that it did: on the wire and in its log.

`pg_reload_conf()` and `pg_ctl reload` succeed even when the server can't load the new files and goes on with the old
ones, and the next restart is then fatal. So a reload counts for nothing until it is seen.

Runs on the hosts: standard library of Python 3.8 and the `openssl` program.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tasks.playbooks.module_utils.rechain_kinds import KINDS
    from tasks.playbooks.module_utils.rechain_pem import leaf_fingerprint
    from tasks.playbooks.module_utils.rechain_redact import redact
    from tasks.playbooks.module_utils.rechain_sets import Reader
    from tasks.playbooks.module_utils.rechain_wire import Endpoint, LogWatch, subjects
else:
    from ansible.module_utils.rechain_kinds import KINDS
    from ansible.module_utils.rechain_pem import leaf_fingerprint
    from ansible.module_utils.rechain_redact import redact
    from ansible.module_utils.rechain_sets import Reader
    from ansible.module_utils.rechain_wire import Endpoint, LogWatch, subjects

_POLL_S = 0.03
_SIGHUP_SEEN_S = 2.0
_SETTLE_S = 0.2
_LOG_LINES = 4
_OUTPUT_CHARS = 400


class Unproven(Exception):
    """A reader was not seen to use its files."""


class Limits:
    """Time limits in seconds.

    Attributes:
        reload_s: For one reload command.
        proof_s: For the proof after it.
        hold_s: For the wait for a moment in which nobody has a certificate open.
    """

    def __init__(self, reload_s: float, proof_s: float, hold_s: float) -> None:
        self.reload_s, self.proof_s, self.hold_s = reload_s, proof_s, hold_s


def taken_by(readers: Sequence[Reader], files: Mapping[str, bytes]) -> dict[str, str]:
    """What to remember of those who can't tell which files they have read: reader to a digest of the contents.

    No digest of a private key is kept anywhere: its certificate stands for it. Who reads its files at every connect,
    and who tells its bundle on the wire, need not be remembered; no service tells its revocation lists.
    """
    return {
        _name(one): _digest(one.files, files)
        for one in readers
        if one.reload and not _tells_all(one) and all(name in files for name in one.files.values())
    }


def _name(reader: Reader) -> str:
    """Two may be of one kind in one directory, and differ in whom they reload."""
    command = hashlib.sha256(str(reader.reload).encode("utf-8")).hexdigest()[:16]
    return f"{reader.label}: {', '.join(reader.files.values())}: {command}"


def _tells_all(reader: Reader) -> bool:
    kind = KINDS[reader.endpoint.kind] if reader.endpoint else None
    return kind is not None and kind.tells_bundle and ("crl" not in reader.files or kind.reads_pairs_alone)


def _digest(names: Mapping[str, str], files: Mapping[str, bytes]) -> str:
    public = {name: hashlib.sha256(files[name]).hexdigest() for part, name in names.items() if part != "key"}
    return hashlib.sha256(json.dumps(public, sort_keys=True).encode("utf-8")).hexdigest()


def is_in_use(reader: Reader, endpoint: Endpoint, files: Mapping[str, bytes]) -> bool:
    """Whether a service visibly serves the leaf and trusts the bundle of its files; true when it is not running."""
    served = endpoint.served()
    if served is None:
        return True
    return served == leaf_fingerprint(files[reader.files["cert"]]) and not _missing_names(reader, endpoint, files, None)


def reload_and_prove(
    reader: Reader,
    endpoint: Endpoint,
    files: Mapping[str, bytes],
    limits: Limits,
    bundle_before: bytes | None,
    *,
    has_new_bundle: bool,
) -> None:
    """Have a running service read its files, and wait until it is seen to use them.

    Args:
        reader: The service.
        endpoint: Where it answers.
        files: File name to content.
        limits: Time limits.
        bundle_before: The bundle that was there before; None when there was none.
        has_new_bundle: Whether its bundle may differ from the one that it read last.

    Raises:
        Unproven: It was not seen in time, or its log complains; quotes the log.
    """
    was_served = endpoint.served()
    wanted = leaf_fingerprint(files[reader.files["cert"]])
    names = _missing_names(reader, endpoint, files, bundle_before)
    log = LogWatch(reader.log)
    if has_new_bundle or names or not KINDS[endpoint.kind].reads_pairs_alone:
        run_reload(reader, limits.reload_s)
    _wait(lambda: _doubt(endpoint, wanted, names), log, limits.proof_s, reader.label)
    if was_served == wanted and not names:
        _let_it_finish(log)
    if log.complaints():
        raise Unproven(f"{reader.label}: {_quoted(log)}")


def start_and_prove(reader: Reader, endpoint: Endpoint, files: Mapping[str, bytes], limits: Limits) -> None:
    """Start a service that does not run, and wait until it serves its leaf.

    Raises:
        Unproven: It was not seen in time; quotes the log.
    """
    wanted, log = leaf_fingerprint(files[reader.files["cert"]]), LogWatch(reader.log)
    _run_command(reader.label, "restart", reader.restart, limits.reload_s)
    _wait(lambda: _doubt(endpoint, wanted, frozenset()), log, limits.proof_s, reader.label)


def reload_and_confirm(
    reader: Reader, endpoint: Endpoint, expected: frozenset[str | None], limits: Limits
) -> str | None:
    """Have a service read the files that were put back. Says what is wrong then, None when all is as before.

    A command that fails is wrong, whatever leaf is served: where bundles alone differ, the leaf proves nothing.
    """
    failed = reload_again(reader, limits)
    deadline = time.monotonic() + limits.proof_s
    while (served := endpoint.served()) not in expected:
        if time.monotonic() > deadline:
            return f"{reader.label} serves {_short(served)}"
        time.sleep(_POLL_S)
    return failed


def reload_again(reader: Reader, limits: Limits) -> str | None:
    """Have a reader read the files that were put back. Says what is wrong, None when nothing is."""
    try:
        run_reload(reader, limits.reload_s)
    except Unproven as error:
        return str(error)
    return None


def run_reload(reader: Reader, timeout_s: float) -> None:
    """Run a reader's reload command. Raises Unproven when it fails or does not end in time."""
    _run_command(reader.label, "reload", reader.reload, timeout_s)


def _run_command(label: str, what: str, command: str | None, timeout_s: float) -> None:
    if not command:
        return
    # A file and not a pipe: a daemon that the command starts would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
        )
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise Unproven(f"{label}: its {what} command did not end within {timeout_s:.0f} s") from None
        if status:
            output.seek(0)
            # Without keys before it is cut: Ansible writes the message to a file on the way.
            said = " ".join(redact(output.read().decode("utf-8", "replace")).split())[-_OUTPUT_CHARS:]
            raise Unproven(f"{label}: its {what} command ended with status {status}: {said or 'no output'}")


def _missing_names(
    reader: Reader, endpoint: Endpoint, files: Mapping[str, bytes], bundle_before: bytes | None
) -> frozenset[str]:
    """The bundle's CA names, when the service advertises others; empty when it has them, or tells none.

    HAProxy can be set to name others than it accepts: it must name the new ones only if it names those of before.
    """
    is_certain = KINDS[endpoint.kind].tells_bundle
    if not is_certain and bundle_before is None:
        return frozenset()
    advertised = endpoint.ca_names()
    if not is_certain and advertised != subjects(bundle_before or b""):
        return frozenset()
    wanted = subjects(files[reader.files["ca"]])
    return wanted if advertised and wanted and advertised != wanted else frozenset()


def _doubt(endpoint: Endpoint, wanted: str | None, names: frozenset[str]) -> str | None:
    served = endpoint.served()
    if served != wanted:
        return f"after the reload it serves {_short(served)}, not {_short(wanted)}"
    if names and endpoint.ca_names() != names:
        return "after the reload it does not name the CAs of the new bundle"
    return None


def _wait(doubt: Callable[[], str | None], log: LogWatch, limit_s: float, label: str) -> None:
    deadline = time.monotonic() + limit_s
    while found := doubt():
        if time.monotonic() > deadline or log.complaints():
            raise Unproven(f"{label}: {found}; {_quoted(log)}")
        time.sleep(_POLL_S)


def _let_it_finish(log: LogWatch) -> None:
    """Where nothing changes on the wire, give the service time to read its files, and to complain."""
    deadline = time.monotonic() + _SIGHUP_SEEN_S
    while log.is_known and not log.saw_reload() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    time.sleep(_SETTLE_S)


def _quoted(log: LogWatch) -> str:
    if not log.is_known:
        return "its log is not known (rechain_services: log)"
    time.sleep(_SETTLE_S)  # the lines of one complaint come one by one
    lines = log.complaints()[-_LOG_LINES:]
    return f"its log says: {' | '.join(lines)}" if lines else "its log says nothing about it"


def _short(fingerprint: str | None) -> str:
    return f"the leaf {fingerprint[:16]}…" if fingerprint else "no TLS"
