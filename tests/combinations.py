"""Combinations of chains, bundles and names that PostgreSQL and the prover must judge alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from rechain.certificate import Bundle, merge
from rechain.handshake import Outcome, handshake
from tests.chains import CLIENT_AUTH, SERVER_AUTH, Chain, Shape, make, make_chain

SERVER = "db1.example"
CLIENT = "applicatie"


@dataclass(frozen=True, slots=True)
class Combination:
    """The six files of a server and a client that meet, and the name that the client connects to."""

    title: str
    server_chain: str
    server_key: str
    client_bundle: str
    client_chain: str
    client_key: str
    server_bundle: str
    server_name: str = SERVER

    def judged(self) -> Outcome:
        """The prover's verdict."""
        return handshake(
            server_chain_pem=self.server_chain,
            server_key_pem=self.server_key,
            client_bundle_pem=self.client_bundle,
            client_chain_pem=self.client_chain,
            client_key_pem=self.client_key,
            server_bundle_pem=self.server_bundle,
            server_name=self.server_name,
        )


def combinations() -> Iterator[Combination]:
    """All of them; every one has a server leaf of its own, by which its reload is seen on the wire."""
    yield from _overlaps()
    yield from _one_generation()
    yield from _faults()
    yield from _incomplete()
    yield from _names()
    yield from _files()


def _overlaps() -> Iterator[Combination]:
    """AKI kept or missing, DNs the same or not, either order of both generations, each generation's leaf."""
    flags = (True, False)
    for aki, same_dns, next_first, server_next, client_next in product(flags, repeat=5):
        chains = _two(Shape(aki=aki, same_dns=same_dns))
        ordered = tuple(reversed(chains)) if next_first else chains
        yield _meet(
            f"{'AKI' if aki else 'no AKI'}, {'same' if same_dns else 'different'} DNs, "
            f"bundle {'next, current' if next_first else 'current, next'}, "
            f"server {_age(server_next)}, client {_age(client_next)}",
            chains[server_next],
            chains[client_next],
            merge(*(chain.generation.client_bundle for chain in ordered)),
            merge(*(chain.generation.server_bundle for chain in ordered)),
        )


def _one_generation() -> Iterator[Combination]:
    """A leaf of one generation before the bundle of the other, DNs the same or not."""
    for same_dns, server_trusts, client_trusts in product((True, False), repeat=3):
        chains = _two(Shape(same_dns=same_dns))
        yield _meet(
            f"{'same' if same_dns else 'different'} DNs, leaves current, server trusts {_age(server_trusts)} only, "
            f"client trusts {_age(client_trusts)} only",
            chains[0],
            chains[0],
            chains[server_trusts].generation.client_bundle,
            chains[client_trusts].generation.server_bundle,
        )


def _faults() -> Iterator[Combination]:
    """One generation with wrong or absent extended key usages, or with an expired part."""
    shapes = {
        "well-formed": Shape(),
        "server leaf with clientAuth only": Shape(server_usages=CLIENT_AUTH),
        "server leaf without EKU": Shape(server_usages=None),
        "client leaf with serverAuth only": Shape(client_usages=SERVER_AUTH),
        "client leaf with both EKUs": Shape(client_usages=SERVER_AUTH + CLIENT_AUTH),
        "client leaf without EKU": Shape(client_usages=None),
        "server intermediate with clientAuth only": Shape(server_ca_usages=CLIENT_AUTH),
        "client intermediate with serverAuth only": Shape(client_ca_usages=SERVER_AUTH),
        "intermediates without EKU": Shape(server_ca_usages=None, client_ca_usages=None),
    }
    parts = ("root", "server_ca", "client_ca", "server", "client")
    shapes |= {f"expired {part}": Shape(expired=frozenset({part})) for part in parts}
    for title, shape in shapes.items():
        yield _alone(title, shape)


def _incomplete() -> Iterator[Combination]:
    """Bundles without a root, leaves without their intermediate."""
    for aki in (True, False):
        label = "AKI" if aki else "no AKI"
        yield _alone(f"{label}, server bundle without root", Shape(aki=aki), server_bundle=_without_root)
        yield _alone(f"{label}, client bundle without root", Shape(aki=aki), client_bundle=_without_root)
    yield _alone("bundles of the root alone", server_bundle=_root, client_bundle=_root)
    yield _bare(_alone("leaves alone, intermediates in the opposite bundles"))
    yield _bare(_alone("leaves alone, nowhere an intermediate", server_bundle=_root, client_bundle=_root))
    yield _bare(_alone("leaves alone, the server's own bundle completes", server_bundle=_root, client_bundle=_whole))
    yield _bare(_alone("leaves alone, the client's own bundle completes", server_bundle=_whole, client_bundle=_root))
    yield _alone("foreign CAs before our own", server_bundle=_after_foreign, client_bundle=_after_foreign)


def _names() -> Iterator[Combination]:
    yield replace(_alone("another server name"), server_name="db2.example")
    yield _alone("server name in the CN alone", Shape(subject_alternative_names=False))
    other = replace(_alone("another name, in the CN alone", Shape(subject_alternative_names=False)))
    yield replace(other, server_name="db2.example")


def _files() -> Iterator[Combination]:
    """Files that can't be loaded."""
    plain = _alone("server bundle without a newline between two PEMs")
    yield replace(plain, server_bundle=_joined(plain.server_bundle))
    plain = _alone("client bundle without a newline between two PEMs")
    yield replace(plain, client_bundle=_joined(plain.client_bundle))
    plain, other = _alone("server key of another leaf"), _alone("")
    yield replace(plain, server_key=other.server_key)
    plain, other = _alone("client key of another leaf"), _alone("")
    yield replace(plain, client_key=other.client_key)


def _two(shape: Shape) -> tuple[Chain, Chain]:
    return _chain(1, shape), _chain(2, shape)


def _chain(number: int, shape: Shape) -> Chain:
    return make_chain(number, [SERVER], [CLIENT], shape)


def _server_cas(chain: Chain) -> Bundle:
    return chain.generation.server_bundle


def _client_cas(chain: Chain) -> Bundle:
    return chain.generation.client_bundle


def _root(chain: Chain) -> Bundle:
    return Bundle((chain.root.certificate,))


def _whole(chain: Chain) -> Bundle:
    return merge(chain.generation.server_bundle, chain.generation.client_bundle)


def _without_root(chain: Chain) -> Bundle:
    return Bundle((chain.server_ca.certificate, chain.client_ca.certificate))


def _after_foreign(chain: Chain) -> Bundle:
    return merge(Bundle((make("an organisation's own", ca=True).certificate,)), _whole(chain))


def _alone(
    title: str,
    shape: Shape | None = None,
    *,
    server_bundle: Callable[[Chain], Bundle] = _server_cas,
    client_bundle: Callable[[Chain], Bundle] = _client_cas,
) -> Combination:
    chain = _chain(1, shape or Shape())
    return _meet(title, chain, chain, client_bundle(chain), server_bundle(chain))


def _meet(title: str, server: Chain, client: Chain, client_bundle: Bundle, server_bundle: Bundle) -> Combination:
    return Combination(
        title=title,
        server_chain=server.generation.servers[SERVER].pem,
        server_key=server.keys.servers[SERVER],
        client_bundle=client_bundle.pem,
        client_chain=client.generation.clients[CLIENT].pem,
        client_key=client.keys.clients[CLIENT],
        server_bundle=server_bundle.pem,
    )


def _bare(combination: Combination) -> Combination:
    """The same, with leaves that are presented alone."""
    return replace(
        combination,
        server_chain=_first(combination.server_chain),
        client_chain=_first(combination.client_chain),
    )


def _first(pem: str) -> str:
    end = "-----END CERTIFICATE-----\n"
    return pem[: pem.index(end) + len(end)]


def _joined(pem: str) -> str:
    return pem.replace("-----END CERTIFICATE-----\n-----BEGIN", "-----END CERTIFICATE----------BEGIN")


def _age(is_next: bool) -> str:
    return "next" if is_next else "current"
