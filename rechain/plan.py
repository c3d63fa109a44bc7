"""The plan: which file on which host changes in which phase, from what to what, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from rechain.certificate import Certificate
from rechain.certs import Certs, ForeignCAs, Rotating, compose, foreign_issuers
from rechain.fleet import Fleet, Host
from rechain.phase import Phase, path
from rechain.prover import Proof
from rechain.report import Strategy

Fingerprints = tuple[str, ...]
_REASONS = {
    Phase.ISSUED: "trust and present the current generation alone",
    Phase.OVERLAP: "trust both generations before any leaf moves",
    Phase.SERVERS: "servers present the next generation, which clients trust already",
    Phase.CLIENTS: "clients present the next generation, which servers trust already",
    Phase.RETIRED: "nobody presents the current generation any more, so nobody needs to trust it",
}


class Place(NamedTuple):
    """A file on a host. A large fleet has tens of thousands, which are compared and looked up all the time."""

    host: str
    path: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file that changes.

    Attributes:
        place: Where.
        old: Fingerprints of the certificates or revocation lists in it, in order; empty when the file is new.
        new: Fingerprints after the change.
    """

    place: Place
    old: Fingerprints
    new: Fingerprints


@dataclass(frozen=True, slots=True)
class Step:
    """One phase's part of the plan.

    Attributes:
        phase: The resting point that it leads to.
        reason: Why it exists.
        changes: Files that change, by host.
        reloads: `host: command` of every reload that it takes.
    """

    phase: Phase
    reason: str
    changes: tuple[FileChange, ...]
    reloads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """Everything that a rotation will change, in order, and whom to tell.

    Attributes:
        environment: The fleet.
        strategy: Which one it is planned for.
        steps: One a phase; phases that change nothing are left out.
        tell: Owners of external clients, and what they must do.
        notes: What else the person who starts it must know.
    """

    environment: str
    strategy: Strategy
    steps: tuple[Step, ...]
    tell: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and the proof that it holds."""

    plan: RotationPlan
    proof: Proof


def plan(fleet: Fleet, rotating: Rotating, start: Phase, target: Phase, notes: Iterable[str] = ()) -> RotationPlan:
    """Plan a rotation from one resting point to another, in either direction."""
    stations = [(phase, intended_files(fleet, compose(rotating, phase))) for phase in (start, *path(start, target))]
    steps = [_step(fleet, phase, changes(before, after)) for (_, before), (phase, after) in pairwise(stations)]
    return RotationPlan(
        environment=fleet.environment,
        strategy=Strategy.MINIMAL_IMPACT,
        steps=tuple(step for step in steps if step.changes),
        tell=tuple(_advice(fleet, rotating.foreign)),
        notes=tuple(notes),
    )


def purpose(phase: Phase) -> str:
    """What a phase is for, as half a sentence."""
    return _REASONS[phase]


def changes(observed: Mapping[Place, Fingerprints], intended: Mapping[Place, Fingerprints]) -> tuple[FileChange, ...]:
    """The files that differ from what is intended; none for a converged fleet."""
    return tuple(
        FileChange(place, observed.get(place, ()), fingerprints)
        for place, fingerprints in sorted(intended.items())
        if observed.get(place) != fingerprints
    )


def intended_files(fleet: Fleet, certs: Certs) -> dict[Place, Fingerprints]:
    """What every certificate file of the fleet holds when certs.yml is rolled out; who has no leaf has no files yet."""
    held = _Held.of(certs)
    return {place: fingerprints for host in fleet.hosts for place, fingerprints in _files(host, held)}


@dataclass(frozen=True, slots=True)
class _Held:
    """What files hold, told once for all hosts: a client may be on hundreds of them."""

    servers: Mapping[str, Fingerprints]
    clients: Mapping[str, Fingerprints]
    server_chain: Fingerprints
    client_chain: Fingerprints
    crls: Fingerprints

    @classmethod
    def of(cls, certs: Certs) -> _Held:
        return cls(
            servers={name: _fingerprints((one.leaf, *one.intermediates)) for name, one in certs.servers.items()},
            clients={name: _fingerprints((one.leaf, *one.intermediates)) for name, one in certs.clients.items()},
            server_chain=_fingerprints(certs.server_chain.certificates),
            client_chain=_fingerprints(certs.client_chain.certificates),
            crls=tuple(crl.fingerprint for crl in certs.crls),
        )


def _files(host: Host, held: _Held) -> Iterable[tuple[Place, Fingerprints]]:
    for service in host.services if host.server_name in held.servers else ():
        yield Place(host.name, f"{service.cert_dir}/{service.cert}"), held.servers[host.server_name]
        yield Place(host.name, f"{service.cert_dir}/{service.ca}"), held.client_chain
        if service.crl:
            yield Place(host.name, f"{service.cert_dir}/{service.crl}"), held.crls
    for client in host.clients:
        if client.name in held.clients:
            yield Place(host.name, f"{client.cert_dir}/{client.cert}"), held.clients[client.name]
            yield Place(host.name, f"{client.cert_dir}/{client.ca}"), held.server_chain


def _fingerprints(certificates: Iterable[Certificate]) -> Fingerprints:
    return tuple(certificate.fingerprint for certificate in certificates)


def _step(fleet: Fleet, phase: Phase, changed: tuple[FileChange, ...]) -> Step:
    return Step(phase, _REASONS[phase], changed, tuple(reloads(fleet, changed)))


def reloads(fleet: Fleet, changed: Iterable[FileChange]) -> Iterable[str]:
    """`host: command` of every reload that some changes take."""
    touched = {change.place for change in changed}
    for host in fleet.hosts:
        for service in host.services:
            names = filter(None, (service.cert, service.ca, service.crl))
            if {Place(host.name, f"{service.cert_dir}/{name}") for name in names} & touched:
                yield f"{host.name}: {service.reload}"
        for client in host.clients:
            files = {Place(host.name, f"{client.cert_dir}/{name}") for name in (client.cert, client.ca)}
            if client.reload and files & touched:
                yield f"{host.name}: {client.reload}"


def _advice(fleet: Fleet, foreign: ForeignCAs) -> Iterable[str]:
    for authority in foreign_issuers(foreign):
        name = authority.common_name or authority.subject
        yield f"{name} (a foreign CA): its users must add the new server chain to sslrootcert when overlap is reached"
    for client in fleet.external_clients:
        yield (
            f"{client}: add the new server chain to sslrootcert when phase overlap is reached; "
            "install the new certificate and key, and recycle connection pools, when phase clients is reached"
        )
