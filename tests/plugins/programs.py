"""PgBouncer, HAProxy and etcd on this machine, with the files of a site's host."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.account import scrubbed
from lab.addresses import free_addresses
from rechain.certificate import read_leaf_chain
from rechain.fleet import Endpoint, ServiceKind
from rechain.login import ClientFiles, Verdict
from tasks.fleet.login import log_in
from tasks.fleet.wire import WireUnreadable, served
from tests.plugins.authority import write_files
from tests.plugins.site import CLIENT, HOST, Generation, Site

PLACE = "place"
"""The inventory host of the program; it serves the leaf of HOST."""
_START_S = 15

_PGBOUNCER_INI = """\
[databases]
[pgbouncer]
listen_addr = {address}
listen_port = {port}
unix_socket_dir =
auth_type = cert
auth_file = {run}/users.txt
admin_users = {client}
client_tls_sslmode = verify-full
client_tls_cert_file = {pki}/server.crt
client_tls_key_file = {pki}/server.key
client_tls_ca_file = {pki}/root.crt
"""
_HAPROXY_CFG = """\
global
    stats socket {run}/admin.sock mode 600 level admin
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
frontend site
    bind {address}:{port} ssl crt {pki}/site.pem ca-file {pki}/root.crt verify required
    http-request return status 200 content-type text/plain string taken
"""
_ETCD = (
    *("etcd", "--name", "one", "--data-dir", "{run}/data", "--log-level", "warn", "--client-cert-auth"),
    *("--listen-client-urls", "https://{address}:{port}", "--advertise-client-urls", "https://{address}:{port}"),
    *("--listen-peer-urls", "http://{address}:{peers}", "--initial-advertise-peer-urls", "http://{address}:{peers}"),
    *("--initial-cluster", "one=http://{address}:{peers}", "--cert-file", "{pki}/server.crt"),
    *("--key-file", "{pki}/server.key", "--trusted-ca-file", "{pki}/root.crt"),
)
_CONFIGURED = {
    ServiceKind.PGBOUNCER: (_PGBOUNCER_INI, "pgbouncer.ini", ("pgbouncer", "-q")),
    ServiceKind.HAPROXY: (_HAPROXY_CFG, "haproxy.cfg", ("haproxy", "-W", "-f")),
}
_FILES: dict[ServiceKind, dict[str, str]] = {ServiceKind.HAPROXY: {"cert": "site.pem", "key": "site.pem.key"}}


@dataclass(slots=True)
class Program:
    """A program that runs.

    Attributes:
        made: The site that it belongs to.
        kind: What it is.
        address: Where it listens.
        port: Its port.
        pid: Of its process; the master's with HAProxy.
    """

    made: Site
    kind: ServiceKind
    address: str
    port: int
    pid: int = 0

    @property
    def endpoint(self) -> Endpoint:
        """Where it is reached."""
        return Endpoint(PLACE, HOST, self.address, self.port)

    @property
    def run(self) -> Path:
        """Its own directory."""
        return self.made.home / "hosts" / PLACE / "run"

    @property
    def pki(self) -> Path:
        """Its `cert_dir`."""
        return self.made.home / "hosts" / PLACE / "pki"

    @property
    def names(self) -> dict[str, str]:
        """Part of its files to file name."""
        return {"cert": "server.crt", "key": "server.key", "ca": "root.crt", **_FILES.get(self.kind, {})}

    def texts(self, generation: Generation) -> dict[str, str]:
        """Its files of a generation."""
        return dict(zip(self.names.values(), generation.server_texts.values(), strict=True))

    def found(self) -> dict[str, str]:
        """Its files as they lie there."""
        return {name: (self.pki / name).read_text("ascii") for name in self.names.values()}

    def take_by(self, reload: str, **given: object) -> None:
        """Have the inventory reload it by this command."""
        service = {"kind": str(self.kind), "address": self.address, "port": self.port, "cert_dir": str(self.pki)}
        service |= {**self.names, "owner": self.made.account.name, "reload": reload}
        self.made.hosts[PLACE] = self.made.variables(
            PLACE, rechain_server_name=HOST, rechain_services=[service], rechain_proof_timeout=3, **given
        )

    def fingerprint(self) -> str:
        """What it serves now."""
        return served(self.endpoint, kind=self.kind)[0].fingerprint

    def accepts(self, client: Generation, server: Generation) -> bool:
        """Whether it takes the client of one generation, who trusts the servers of another."""
        texts = (client.client.chain_pem, client.client.key_pem, server.authority.server_bundle)
        files = write_files(self.made.home / "hosts" / PLACE / "client", *texts)
        if self.kind is ServiceKind.PGBOUNCER:
            login = log_in(self.endpoint, client=CLIENT, generation=None, files=files, database="pgbouncer")
            return login.verdict is Verdict.LOGGED_IN
        return self._answers(files)

    def wait(self) -> None:
        """Wait until it serves the leaf that lies there."""
        deadline = time.monotonic() + _START_S
        while self._serves() != read_leaf_chain(self.found()[self.names["cert"]], "").leaf.fingerprint:
            assert time.monotonic() < deadline, (self.run / "output").read_text()
            time.sleep(0.05)

    def command(self) -> list[str]:
        """What starts it in the foreground, its configuration written."""
        given = {"address": self.address, "port": self.port, "run": self.run, "pki": self.pki, "client": CLIENT}
        if self.kind is ServiceKind.ETCD:
            return [part.format(**given, peers=self.port + 1) for part in _ETCD]
        text, name, command = _CONFIGURED[self.kind]
        (self.run / name).write_text(text.format(**given))
        (self.run / "users.txt").write_text(f'"{CLIENT}" ""\n')
        return [*command, str(self.run / name)]

    def _serves(self) -> str | None:
        try:
            return self.fingerprint()
        except WireUnreadable:
            return None

    def _answers(self, files: ClientFiles) -> bool:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(files.ca)
        context.load_cert_chain(files.cert, files.key)
        try:
            plain = socket.create_connection((self.address, self.port), 5)
            with context.wrap_socket(plain, server_hostname=HOST) as tls:
                tls.sendall(f"GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
                return b" 200 " in tls.recv(4096)
        except ssl.SSLError:
            return False


@contextmanager
def running(made: Site, kind: ServiceKind) -> Iterator[Program]:
    """Start one with the files of the old generation on a host of its own, and end it afterwards."""
    if not shutil.which(kind):
        pytest.skip(f"{kind} is not installed here")
    addresses, account = free_addresses(1), made.account
    program = Program(made, kind, addresses.hosts[0], addresses.port)
    program.run.mkdir(parents=True)
    account.own(program.run, 0o755)
    made.put(program.pki, program.texts(made.old))
    as_them = {} if account.is_self else {"user": account.uid, "group": account.gid, "extra_groups": []}
    with (program.run / "output").open("wb") as output:
        process = subprocess.Popen(
            program.command(), cwd=program.run, env=scrubbed(os.environ), stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, **as_them,  # type: ignore[call-overload]  # three keyword arguments
        )  # fmt: skip
    program.pid = process.pid
    try:
        program.wait()
        yield program
    finally:
        process.terminate()
        process.wait(20)


def overlap(old: Generation, new: Generation) -> dict[str, dict[str, str]]:
    """What certs.yml holds when servers trust both generations, and leaves are still the old."""
    chain = new.authority.client_bundle + old.authority.client_bundle
    return {**old.certs, "client": {**old.certs["client"], "chain": chain}}
