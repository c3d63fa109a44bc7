"""Observe an environment: what its repository says, with the inventory; the public part of every decision."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rechain.certs import Certs, ForeignCAs, Rotating, adopt, foreign_cas
from rechain.crl import Crl
from rechain.errors import InputError, TransitionRefused
from rechain.fleet import Fleet
from rechain.generation import Generation
from rechain.revocation import Revoked
from rechain.rotation import Rotation
from tasks.fleet.inventory import read_fleet
from tasks.repository.certs_yaml import read_certs
from tasks.repository.generations import CERTS_FILE, known_generations
from tasks.repository.layout import certs_paths, generation_folder
from tasks.repository.revocations import read_known_crls, read_revoked
from tasks.repository.rotation_yaml import read_rotation
from tasks.repository.settings import Settings, read_settings


@dataclass(frozen=True, slots=True)
class EnvironmentRef:
    """Which environment of which repository: what passes between tasks instead of any content.

    Attributes:
        root: Absolute path of the environment repository.
        environment: Name of the environment.
    """

    root: Path
    environment: str


@dataclass(frozen=True, slots=True)
class FleetState:
    """What is known of an environment before anything is decided.

    Attributes:
        ref: Which environment.
        settings: rechain.yml with its defaults.
        rotation: rotation.yml, or what adoption makes of the environment.
        certs: What certs.yml holds now.
        current: The current generation.
        next: The next generation, None at rest.
        foreign: CAs in deployed bundles that belong to no known generation.
        fleet: Hosts, services and clients.
        revoked: Certificates that were revoked; empty where no server reads revocation lists, so that nothing follows.
        crls: The revocation lists that are known; empty where no server reads any.
    """

    ref: EnvironmentRef
    settings: Settings
    rotation: Rotation
    certs: Certs
    current: Generation
    next: Generation | None
    foreign: ForeignCAs
    fleet: Fleet
    revoked: tuple[Revoked, ...] = ()
    crls: tuple[Crl, ...] = ()

    @property
    def rotating(self) -> Rotating:
        """The two generations of the rotation under way.

        Raises:
            TransitionRefused: No rotation is under way.
        """
        if self.next is None:
            raise TransitionRefused(
                self.ref.environment, "is at rest, there is no next generation", "issue one with `rechain generate`"
            )
        return Rotating(self.current, self.next, self.foreign, self.crls)


def observe(ref: EnvironmentRef, further_clients: Collection[str] = ()) -> FleetState:
    """Read the environment's public state.

    Args:
        ref: Which environment.
        further_clients: Clients without a leaf, which the inventory may name all the same: they are about to get one.

    Raises:
        InputError: The repository or the inventory can't be read, or the environment has no certificates yet.
    """
    rotation = read_rotation(ref.root, ref.environment)
    if rotation.current is None:
        raise TransitionRefused(
            ref.environment, "has no certificates yet", "make the first ones with `rechain generate` and roll them out"
        )
    certs = read_certs(certs_paths(ref.root, ref.environment)[0])
    kept = {
        number: read_certs(generation_folder(ref.root, ref.environment, number) / CERTS_FILE)
        for number in known_generations(ref.root, ref.environment)
    }
    generations = {number: adopt(held, number) for number, held in kept.items()}
    if rotation.next is not None and rotation.next not in generations:
        raise InputError(
            f"rechain/{ref.environment}/generation-{rotation.next}",
            "is missing, though rotation.yml names it as the next generation",
            "restore it from Git",
        )
    current = generations.get(rotation.current) or adopt(certs, rotation.current)
    upcoming = generations.get(rotation.next) if rotation.next else None
    names = current.clients if upcoming is None else upcoming.clients
    servers = current.servers if upcoming is None else upcoming.servers
    fleet = read_fleet(ref.root, ref.environment, list(dict.fromkeys((*names, *further_clients))), list(servers))
    return FleetState(
        ref=ref,
        settings=read_settings(ref.root),
        rotation=rotation,
        certs=certs,
        current=current,
        next=upcoming,
        foreign=foreign_cas(certs, [*generations.values(), current], kept),
        fleet=fleet,
        revoked=read_revoked(ref.root, ref.environment) if fleet.reads_crls else (),
        crls=read_known_crls(ref.root, ref.environment) if fleet.reads_crls else (),
    )


def now() -> datetime:
    """This instant, aware UTC."""
    return datetime.now(UTC)
