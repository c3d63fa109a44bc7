"""What must be true of a rotation's material before any handshake makes sense.

Each rule is a small function that yields refusals; adding a rule is adding a function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from rechain.certificate import Bundle, Certificate
from rechain.certs import Rotating, bundle
from rechain.fleet import Fleet
from rechain.generation import Side
from rechain.holdings import Step
from rechain.phase import Age, Phase, material
from rechain.refusal import Refusal


def unmet(fleet: Fleet, rotating: Rotating, steps: Iterable[Step], now: datetime | None) -> tuple[Refusal, ...]:
    """Every premise that does not hold.

    Args:
        fleet: The fleet.
        rotating: Both generations and the foreign CAs.
        steps: The steps to prove.
        now: Aware UTC instant that validity is judged at; None leaves validity to the handshakes.
    """
    phases = tuple(dict.fromkeys(phase for step in steps for phase in step))
    ages = tuple(dict.fromkeys(age for phase in phases for age in material(phase).bundles))
    return (
        *_missing_server_leaves(fleet, rotating, ages),
        *_missing_client_leaves(fleet, rotating, ages),
        *_other_roles(fleet, rotating),
        *_lost_foreign_cas(rotating, phases),
        *_shadowed_foreign_cas(rotating),
        *(_expired(fleet, rotating, ages, now) if now else ()),
    )


def _missing_server_leaves(fleet: Fleet, rotating: Rotating, ages: Iterable[Age]) -> Iterator[Refusal]:
    for age in ages:
        generation = rotating.generation(age)
        for host in fleet.hosts:
            if host.services and host.server_name not in generation.servers:
                yield Refusal(
                    f"host {host.name}: generation {generation.number} has no leaf for server {host.server_name}",
                    _fix_missing(age, "servers", host.server_name),
                    server=host.server_name,
                )


def _missing_client_leaves(fleet: Fleet, rotating: Rotating, ages: Iterable[Age]) -> Iterator[Refusal]:
    """An external client without a current leaf is new: it has no login yet that could break."""
    for age in ages:
        generation = rotating.generation(age)
        names = fleet.managed_clients if age is Age.CURRENT else (*fleet.managed_clients, *fleet.external_clients)
        for name in names:
            if name not in generation.clients:
                yield Refusal(
                    f"generation {generation.number} has no leaf for client {name}",
                    _fix_missing(age, "clients", name),
                    client=name,
                )


def _fix_missing(age: Age, key: str, name: str) -> str:
    if age is Age.CURRENT:
        return f"give {name} a leaf of the current generation first, with --strategy add-clients or config add-server"
    return f"add {name} to the chain spec's {key}, discard the next generation with `rechain rollback`, issue it again"


def _other_roles(fleet: Fleet, rotating: Rotating) -> Iterator[Refusal]:
    """A client's CN is its role: with another CN it would be refused after TLS, or be somebody else."""
    for name in (*fleet.managed_clients, *fleet.external_clients):
        old, new = rotating.current.clients.get(name), rotating.next.clients.get(name)
        if old and new and old.leaf.common_name != new.leaf.common_name:
            yield Refusal(
                f"client {name}: CN {old.leaf.common_name} becomes {new.leaf.common_name}, which is another role",
                "issue the next generation with the client's present CN",
                client=name,
            )


def _lost_foreign_cas(rotating: Rotating, phases: Iterable[Phase]) -> Iterator[Refusal]:
    for phase in phases:
        for side in Side:
            deployed = bundle(rotating, phase, side).fingerprints
            for authority in rotating.foreign.of(side).certificates:
                if authority.fingerprint not in deployed:
                    yield Refusal(
                        f"the {side} bundle of {phase} lacks foreign CA {authority.subject}, whose users log in today",
                        "report this defect; remove a foreign CA only by name",
                    )


def _shadowed_foreign_cas(rotating: Rotating) -> Iterator[Refusal]:
    """Of two CAs with one DN, OpenSSL follows one for a leaf without AKI, and the foreign users' may be such."""
    for side in Side:
        issued = {authority.subject: authority for authority in rotating.next.bundle(side).certificates}
        for foreign in rotating.foreign.of(side).certificates:
            namesake = issued.get(foreign.subject)
            if namesake and namesake.public_key != foreign.public_key:
                yield Refusal(
                    f"the next {side} chain has a CA with the DN of foreign CA {foreign.subject}, and hides it",
                    "give the chain spec's subject another CN, and issue the next generation again",
                )


def _expired(fleet: Fleet, rotating: Rotating, ages: Iterable[Age], now: datetime) -> Iterator[Refusal]:
    for age in ages:
        for owner, certificate in _judged_certificates(fleet, rotating, age):
            if not certificate.not_before <= now <= certificate.not_after:
                yield Refusal(f"{owner} {_validity(certificate, now)}", _fix_expired(age))


def _judged_certificates(fleet: Fleet, rotating: Rotating, age: Age) -> Iterator[tuple[str, Certificate]]:
    generation = rotating.generation(age)
    for side in Side:
        for authority in _without_renewed(generation.bundle(side)):
            yield f"generation {generation.number}: {side} CA {authority.subject}", authority
    servers = {host.server_name for host in fleet.hosts if host.services}
    clients = {*fleet.managed_clients, *fleet.external_clients}
    for side, names in ((Side.SERVER, servers), (Side.CLIENT, clients)):
        leaves = generation.leaves(side)
        for name in sorted(names & leaves.keys()):
            yield f"generation {generation.number}: leaf of {side} {name}", leaves[name].leaf


def _without_renewed(authorities: Bundle) -> Iterator[Certificate]:
    """The CAs of a bundle, without those that were renewed with the same name and key: OpenSSL takes the valid one."""
    latest = {(one.subject, one.public_key): one for one in sorted(authorities.certificates, key=_last_day)}
    return iter(latest.values())


def _last_day(certificate: Certificate) -> datetime:
    return certificate.not_after


def _validity(certificate: Certificate, now: datetime) -> str:
    if now > certificate.not_after:
        return f"expired at {certificate.not_after:%Y-%m-%d %H:%M} UTC"
    return f"is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC"


def _fix_expired(age: Age) -> str:
    if age is Age.CURRENT:
        return "nobody logs in with it any more: replace the chain with --strategy downtime"
    return "discard the next generation with `rechain rollback` and issue it again"
