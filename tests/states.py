"""Every state of a step, walked through one by one: what the prover must agree with.

Written from the design's tables, not from the code under test; every pair meets by a mutual handshake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product

from rechain.certs import Rotating, bundle_of
from rechain.fleet import Fleet
from rechain.generation import PrivateKeys, Side
from rechain.handshake import handshake
from rechain.phase import Age, Phase

Material = tuple[Rotating, Mapping[int, PrivateKeys]]
Step = tuple[Phase, Phase]
Set = tuple[str, str]  # kind and owner: ("server", "db1"), ("client", "postgres@db1"), ("external", "batch")
Files = tuple[Age, tuple[Age, ...]]  # the leaf's generation and the bundle's


def brute_force(fleet: Fleet, made: Material, step: Step) -> set[tuple[str, str]]:
    """Visit every state of a step and let every pair meet by a mutual handshake."""
    by_identity = MaterialKey(*made)
    sets = list(all_sets(fleet))
    choices = [external_files(step) if kind == "external" else managed_files(step, kind) for kind, _ in sets]
    refused = set()
    for state in product(*choices):
        files = dict(zip(sets, state, strict=True))
        refused |= set(refused_in(files, by_identity))
    return refused


def all_sets(fleet: Fleet) -> Iterator[Set]:
    """Everything that changes by itself."""
    for host in fleet.hosts:
        yield from (("server", host.server_name) for _ in host.services)
        yield from (("client", f"{client.name}@{host.name}") for client in host.clients)
    yield from (("external", name) for name in fleet.external_clients)


def managed_files(step: Step, kind: str) -> list[Files]:
    """What certs.yml deploys on either end of a step, read from the design's table of phases."""
    both, current, following = (Age.NEXT, Age.CURRENT), (Age.CURRENT,), (Age.NEXT,)
    table: dict[Phase, tuple[tuple[Age, ...], Age, Age]] = {
        Phase.ISSUED: (current, Age.CURRENT, Age.CURRENT),
        Phase.OVERLAP: (both, Age.CURRENT, Age.CURRENT),
        Phase.SERVERS: (both, Age.NEXT, Age.CURRENT),
        Phase.CLIENTS: (both, Age.NEXT, Age.NEXT),
        Phase.RETIRED: (following, Age.NEXT, Age.NEXT),
    }
    rows = [table[phase] for phase in step]
    return sorted({(server if kind == "server" else client, bundles) for bundles, server, client in rows})


def external_files(step: Step) -> list[Files]:
    """What an owner may have installed, as far as the gates around a step let them."""
    bundles: list[tuple[Age, ...]] = [(Age.NEXT, Age.CURRENT), (Age.CURRENT, Age.NEXT)]
    leaves = [Age.CURRENT, Age.NEXT]
    if Phase.ISSUED in step:  # `external-trust` is not confirmed
        bundles, leaves = [*bundles, (Age.CURRENT,)], [Age.CURRENT]
    if Phase.RETIRED in step:  # the gate `clients` was passed
        bundles, leaves = [*bundles, (Age.NEXT,)], [Age.NEXT]
    return list(product(leaves, bundles))


def refused_in(files: Mapping[Set, Files], made: MaterialKey) -> Iterator[tuple[str, str]]:
    """The pairs that a state refuses."""
    servers = [(name, held) for (kind, name), held in files.items() if kind == "server"]
    clients = [(name.split("@")[0], held) for (kind, name), held in files.items() if kind != "server"]
    for server, server_files in servers:
        for name, client_files in clients:
            if not logs_in(made, name, client_files, server, server_files):
                yield name, server


class MaterialKey:
    """Material that a cache tells apart by identity: `material` makes each once."""

    def __init__(self, rotating: Rotating, keys: Mapping[int, PrivateKeys]) -> None:
        self.rotating, self.keys = rotating, keys

    def __hash__(self) -> int:
        return id(self.rotating)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MaterialKey) and self.rotating is other.rotating


@cache
def logs_in(made: MaterialKey, client: str, client_files: Files, server: str, server_files: Files) -> bool:
    """Whether one pair's mutual handshake passes."""
    old_or_new = made.rotating.generation
    server_side, client_side = old_or_new(server_files[0]), old_or_new(client_files[0])
    return handshake(
        server_chain_pem=server_side.servers[server].pem,
        server_key_pem=made.keys[server_side.number].servers[server],
        client_bundle_pem=bundle_of(made.rotating, server_files[1], Side.CLIENT).pem,
        client_chain_pem=client_side.clients[client].pem,
        client_key_pem=made.keys[client_side.number].clients[client],
        server_bundle_pem=bundle_of(made.rotating, client_files[1], Side.SERVER).pem,
        server_name=server,
    ).is_accepted
