"""What a service proves about the files it has read: on the wire, and in its log.

Runs on the hosts: standard library of Python 3.8 and the `openssl` program.
"""

from __future__ import annotations

import glob
import hashlib
import re
import socket
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasks.playbooks.module_utils.rechain_kinds import KINDS
else:
    from ansible.module_utils.rechain_kinds import KINDS

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # PostgreSQL documentation, "SSL Session Encryption"
_TIMEOUT_S = 5.0
_NAMES = re.compile(
    r"^Acceptable client certificate CA names\n(.*?)^(?:Client Certificate Types|Requested|---)", re.M | re.S
)
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.S)
_COMPLAINT = re.compile(
    r"SSL configuration was not reloaded"
    r"|could not load (?:server certificate|private key|root certificate|SSL)"
    r"|could not access private key file"
    r"|private key file .* (?:has group or world access|must be owned)"
)
# What a walreceiver's libpq says of its client files, in the same words, is not about the server's.
_OF_WALRECEIVER = "could not connect to the primary server"
_RELOADED = "received SIGHUP"
_NAME_FORMAT = ["-nameopt", "RFC2253"]


class Endpoint:
    """Where a service answers.

    Attributes:
        kind: One of KINDS.
        address: Address to connect to.
        port: TCP port.
        server_name: The name to ask for (SNI).
    """

    def __init__(self, kind: str, address: str, port: int, server_name: str) -> None:
        self.kind, self.address, self.port, self.server_name = kind, address, port, server_name

    def __str__(self) -> str:
        return f"{self.kind} {self.address}:{self.port}"

    def served(self) -> str | None:
        """The fingerprint of the leaf that it serves; None when nothing there speaks TLS."""
        try:
            with socket.create_connection((self.address, self.port), _TIMEOUT_S) as plain:
                if KINDS[self.kind].asks_first:
                    plain.sendall(_SSL_REQUEST)
                    if plain.recv(1) != b"S":
                        return None
                return _leaf(plain, self.server_name)
        except OSError:
            return self._served_to_openssl()

    def ca_names(self) -> frozenset[str]:
        """The names of the CAs whose clients it accepts, as far as it tells."""
        found = _NAMES.search(self._openssl())
        return frozenset(found.group(1).splitlines()) if found else frozenset()

    def _served_to_openssl(self) -> str | None:
        """A server that insists on a client certificate ends Python's handshake, but openssl still shows its leaf."""
        found = _PEM.search(self._openssl())
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found.group())).hexdigest() if found else None

    def _openssl(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        first = ["-starttls", "postgres"] if KINDS[self.kind].asks_first else []
        name = ["-servername", self.server_name]
        return _run(["openssl", "s_client", "-connect", f"{address}:{self.port}", *first, *name, *_NAME_FORMAT])


def subjects(bundle: bytes) -> frozenset[str]:
    """The subjects of a bundle's certificates, written as `Endpoint.ca_names` writes them."""
    blocks = _PEM.findall(bundle.decode("ascii", "replace"))
    outputs = (_run(["openssl", "x509", "-noout", "-subject", *_NAME_FORMAT], block) for block in blocks)
    return frozenset(output.strip()[len("subject=") :].strip() for output in outputs if output.startswith("subject="))


class LogWatch:
    """A service's log from this moment on, through rotation.

    Args:
        pattern: Path of the log, maybe with wildcards; None when unknown.
    """

    def __init__(self, pattern: str | None) -> None:
        self._pattern = pattern
        self._seen = {path: (path.stat().st_ino, path.stat().st_size) for path in self._paths()}

    @property
    def is_known(self) -> bool:
        """Whether there is a log to read."""
        return bool(self._paths())

    def complaints(self) -> list[str]:
        """New lines that say that the service could not take its files."""
        return [line.strip() for line in self._lines() if _COMPLAINT.search(line) and _OF_WALRECEIVER not in line]

    def saw_reload(self) -> bool:
        """Whether PostgreSQL wrote that it was told to reload; only with `log_min_messages` as shipped, in English."""
        return any(_RELOADED in line for line in self._lines())

    def _paths(self) -> list[Path]:
        return [Path(name) for name in glob.glob(self._pattern)] if self._pattern else []  # noqa: PTH207

    def _lines(self) -> list[str]:
        found: list[str] = []
        for path in self._paths():
            with suppress(OSError), path.open("rb") as file:
                file.seek(self._offset(path, self._seen))
                found += file.read().decode("utf-8", "replace").splitlines()
        return found

    @staticmethod
    def _offset(path: Path, seen: Mapping[Path, tuple[int, int]]) -> int:
        inode, size = seen.get(path, (0, 0))
        status = path.stat()
        return size if status.st_ino == inode and status.st_size >= size else 0


def _leaf(plain: socket.socket, server_name: str) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(plain, server_hostname=server_name) as tls:
        der = tls.getpeercert(binary_form=True)
        with suppress(OSError, ValueError):
            tls.settimeout(1)
            tls.unwrap()  # PostgreSQL logs an error for every peer that just hangs up
    return hashlib.sha256(der).hexdigest() if der else None


def _run(arguments: list[str], given: str = "") -> str:
    with suppress(OSError, subprocess.TimeoutExpired):
        ended = subprocess.run(
            arguments, input=given.encode("ascii"), capture_output=True, timeout=_TIMEOUT_S, check=False
        )
        return ended.stdout.decode("utf-8", "replace")
    return ""
