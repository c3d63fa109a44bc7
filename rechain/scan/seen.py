"""What a scan saw of one environment, source by source, before anything is judged.

A source never drops what it can't read: a file that holds no certificate is a `Text` with a problem, an endpoint
that does not answer is a `Served` with a problem, a source that can't be asked at all is a `Blind` spot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from rechain.certificate import Certificate
from rechain.crl import Crl
from rechain.fleet import Endpoint, Fleet, ServiceKind
from rechain.phase import Phase


class Source(StrEnum):
    """Where a scan looks."""

    REPOSITORY = "repository"
    WIRE = "wire"
    HOSTS = "hosts"
    SESSIONS = "sessions"


class Use(StrEnum):
    """What a text of certificates is for."""

    SERVER_LEAF = "server leaf"
    CLIENT_LEAF = "client leaf"
    SERVER_BUNDLE = "server bundle"
    CLIENT_BUNDLE = "client bundle"


@dataclass(frozen=True, slots=True)
class Text:
    """One text that should hold certificates: a file on a host, or an entry of a file of the repository.

    Attributes:
        source: `repository` or `hosts`.
        location: File, and entry or host, as a person would name it.
        use: What it is for.
        name: Server or client that the leaf is for, or that trusts the bundle; None for the repository's bundles.
        certificates: What could be read, in order.
        problem: Why it can't be read whole; None when it can.
        generation: The generation's number in the repository's generation folders; None elsewhere.
    """

    source: Source
    location: str
    use: Use
    name: str | None
    certificates: tuple[Certificate, ...] = ()
    problem: str | None = None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """An endpoint and what speaks TLS there."""

    endpoint: Endpoint
    kind: ServiceKind = ServiceKind.POSTGRESQL

    @property
    def location(self) -> str:
        """How a person names it."""
        return f"{self.endpoint} ({self.endpoint.address})"


@dataclass(frozen=True, slots=True)
class Served:
    """What an endpoint serves.

    Attributes:
        listener: Which.
        chain: Leaf first, in the order sent; empty when nothing was seen.
        problem: Why nothing was seen, in words that name no location; None when something was.
    """

    listener: Listener
    chain: tuple[Certificate, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file of a set as it lies on its host.

    Attributes:
        path: Absolute path on the host.
        problem: Why it can't be read, or loaded by OpenSSL on the host; None when it can.
        mode: Permission bits, as in 0o600; None when there is no such file.
        owner: Name of the OS user that owns it; None when there is no such file.
        group: Name of its group; None when there is no such file.
        readable: Whether the set's owner may read it; None when that is not known.
    """

    path: str
    problem: str | None = None
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    readable: bool | None = None


@dataclass(frozen=True, slots=True)
class SetOnHost:
    """The three files that a service or a managed client reads, as they lie on the host.

    Attributes:
        reader: The service (`postgresql on 10.0.0.1:5432`) or client (`client app`), as a person names it.
        name: The host's server name, or the client's name.
        is_server: Whether a service reads it.
        endpoint: Where the service listens; None for a client.
        owner: OS user that the inventory names as owner.
        cert: Facts of leaf and intermediate; what it holds is `cert_text`.
        key: Facts of the private key. Its content never leaves the host.
        ca: Facts of the bundle; what it holds is `ca_text`.
        cert_text: Certificates of the leaf's file.
        ca_text: Certificates of the bundle.
        pair_problem: Why key and leaf are no pair, as OpenSSL on the host says; None when they are one.
        crls: Revocation lists in files beside them, by path.
        kind: What the service is; None for a client, or when that is not known.
    """

    reader: str
    name: str
    is_server: bool
    endpoint: Endpoint | None
    owner: str
    cert: FileFacts
    key: FileFacts
    ca: FileFacts
    cert_text: Text
    ca_text: Text
    pair_problem: str | None = None
    crls: tuple[CrlFile, ...] = ()
    kind: ServiceKind | None = None


@dataclass(frozen=True, slots=True)
class CrlFile:
    """A file of revocation lists on a host.

    Attributes:
        path: Absolute path on the host.
        crls: What it holds, in order.
        problem: Why it can't be read whole; None when it can.
    """

    path: str
    crls: tuple[Crl, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class HostSeen:
    """What lies on one host.

    Attributes:
        host: Inventory name.
        sets: The sets of its services and managed clients.
        clock_ahead_s: Seconds that its clock is ahead of the scanner's; negative when behind; None when unknown.
        problem: Why it was not seen; None when it was.
    """

    host: str
    sets: tuple[SetOnHost, ...] = ()
    clock_ahead_s: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class InUse:
    """A live session's client certificate.

    Attributes:
        endpoint: Where.
        user: The role.
        address: Where it comes from.
        serial: Serial number of its certificate.
        issuer_dn: Its issuer, as PostgreSQL writes it, cut to 63 bytes.
    """

    endpoint: Endpoint
    user: str
    address: str
    serial: int
    issuer_dn: str


@dataclass(frozen=True, slots=True)
class Blind:
    """A source, or a part of one, that could not be asked.

    Attributes:
        source: Which.
        location: What was not seen.
        problem: Why, in one line.
    """

    source: Source
    location: str
    problem: str


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a scan saw of one environment.

    Attributes:
        environment: Its name.
        at: When, aware UTC.
        sources: Which sources were asked.
        fleet: The inventory; None when only the repository was asked, or it can't be read.
        phase: The resting phase; None when nothing was ever deployed, or it is unknown.
        current: Number of the current generation; None when there is none.
        next: Number of the next generation; None at rest.
        texts: The repository's entries.
        served: The wire.
        hosts: The hosts.
        sessions: Client certificates in use.
        blind: What could not be asked.
    """

    environment: str
    at: datetime
    sources: frozenset[Source] = frozenset(Source)
    fleet: Fleet | None = None
    phase: Phase | None = None
    current: int | None = None
    next: int | None = None
    texts: tuple[Text, ...] = ()
    served: tuple[Served, ...] = ()
    hosts: tuple[HostSeen, ...] = ()
    sessions: tuple[InUse, ...] = ()
    blind: tuple[Blind, ...] = field(default=())

    @property
    def sets(self) -> Iterator[tuple[HostSeen, SetOnHost]]:
        """Every set on every host."""
        return ((host, each) for host in self.hosts for each in host.sets)


def listeners(fleet: Fleet) -> tuple[Listener, ...]:
    """Every endpoint of a fleet with its kind."""
    return tuple(
        Listener(endpoint, service.kind)
        for host in fleet.hosts
        for service in host.services
        if (endpoint := host.endpoint(service))
    )
