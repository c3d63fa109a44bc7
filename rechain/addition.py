"""New client leaves beside those that exist: what is issued, and the proof that nobody present is disturbed.

Where the key of the client intermediate is ours, it signs; the servers' bundle stays as it is. Where it is not (an
environment that chainsmith made, or CA keys that are not kept), a further client root and intermediate are made, and
the servers trust them as well. Either way nothing that exists is issued again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rechain.certificate import Bundle, Certificate, LeafChain, from_x509, merge
from rechain.errors import ProofRefused
from rechain.generation import Generation, PrivateKeys, Side
from rechain.issue import Authority, PrivateKey, issue_intermediate, issue_leaf, issue_root, pem
from rechain.judge import Judge
from rechain.spec import ChainSpec, KeyType
from rechain.x509_parts import public_key_digest

ROOT, INTERMEDIATE = "client-root", "client"
"""Names of a further client chain's keys among a generation's CA keys; `client` is always the one that signs."""


@dataclass(frozen=True, slots=True, repr=False)
class Added:
    """A generation with further clients, and what was made for it. Its text form shows no key.

    Attributes:
        generation: The generation, the new clients in it.
        keys: Private keys of the new clients alone.
        ca_keys: Keys of a further client root and intermediate; empty when the present intermediate signed.
    """

    generation: Generation
    keys: PrivateKeys
    ca_keys: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Added(generation {self.generation.number}, {self.keys!r})"


def find_authority(generation: Generation, ca_keys: Mapping[str, str]) -> Authority | None:
    """The client CA of a generation whose key is ours, able to sign leaves; None when there is none."""
    if INTERMEDIATE not in ca_keys:
        return None
    key = load_pem_private_key(ca_keys[INTERMEDIATE].encode(), None)
    digest = public_key_digest(key.public_key())
    for certificate in generation.client_bundle.certificates:
        if certificate.is_ca and certificate.public_key == digest:
            return Authority(x509.load_pem_x509_certificate(certificate.pem.encode()), key)  # type: ignore[arg-type]
    return None


def key_types(spec: ChainSpec, names: Collection[str], *, with_authority: bool) -> tuple[KeyType, ...]:
    """The keys that `add` takes, in the order in which it uses them.

    Args:
        spec: The chain spec.
        names: The new clients.
        with_authority: Whether a further root and intermediate are to be made.
    """
    authorities = (spec.root_key, spec.client.key) if with_authority else ()
    return (*authorities, *(spec.client.key for _ in names))


def add(
    spec: ChainSpec,
    generation: Generation,
    names: Sequence[str],
    authority: Authority | None,
    deployed: Bundle,
    *,
    now: datetime,
    keys: Sequence[PrivateKey],
) -> Added:
    """Issue leaves for new clients of a generation.

    Args:
        spec: Tells subject, usages and lifetimes.
        generation: What exists; none of it is issued again.
        names: The new clients.
        authority: The client intermediate, when its key is ours; None has a further root and intermediate made.
        deployed: The servers' bundle, which may hold CAs above nobody any more.
        now: Aware UTC instant.
        keys: One private key for each of `key_types`.
    """
    supply = iter(keys)
    bundle = generation.client_bundle
    ca_keys: dict[str, str] = {}
    if authority is None:
        pair, held = (next(supply), next(supply)), merge(bundle, deployed)
        authority, further, ca_keys = _further_chain(spec, held, generation.number, now, pair)
        bundle = merge(bundle, further)
    issuer = from_x509(authority.certificate)
    made = {name: next(supply) for name in names}
    leaves = {
        name: LeafChain(issue_leaf(spec, Side.CLIENT, name, authority, now=now, key=key), (issuer,))
        for name, key in made.items()
    }
    return Added(
        generation=replace(generation, client_bundle=bundle, clients={**generation.clients, **leaves}),
        keys=PrivateKeys(clients={name: pem(key) for name, key in made.items()}),
        ca_keys=ca_keys,
    )


def _further_chain(
    spec: ChainSpec, held: Bundle, number: int, now: datetime, keys: tuple[PrivateKey, PrivateKey]
) -> tuple[Authority, Bundle, dict[str, str]]:
    """A client root and intermediate with DNs of their own: equal DNs in one bundle would hide one of the two."""
    (root_key, key), taken = keys, {one.subject for one in held.certificates}
    common_name = f"{spec.subject.common_name} added clients"
    for turn in count(2):
        named = replace(spec, subject=spec.subject.renamed(common_name))
        root = issue_root(named, number, now=now, key=root_key)
        if from_x509(root.certificate).subject not in taken:
            break
        common_name = f"{spec.subject.common_name} added clients {turn}"
    authority = issue_intermediate(named, Side.CLIENT, number, root, now=now, key=key)
    bundle = Bundle((from_x509(authority.certificate), from_x509(root.certificate)))
    return authority, bundle, {ROOT: pem(root_key), INTERMEDIATE: pem(key)}


@dataclass(frozen=True, slots=True)
class AdditionProof:
    """That new clients disturb nobody.

    Attributes:
        bundle: The servers' bundle as it will be.
        judgements: How many leaves were judged before a bundle.
    """

    bundle: Bundle
    judgements: int


def prove_addition(before: Generation, added: Added, deployed: Bundle, judge: Judge) -> AdditionProof:
    """Prove that every client logs in whichever of two client bundles a server holds, the new ones with the second.

    Servers' leaves and clients' bundles do not change, so only clients' leaves are judged.

    Args:
        before: The generation without the new clients.
        added: With them.
        deployed: The servers' bundle as it is.
        judge: Says whether a server accepts a leaf.

    Raises:
        ProofRefused: A present client would be disturbed, or a new one refused.
    """
    judgements = 0
    widened = merge(deployed, added.generation.client_bundle)
    bundles = {"with the new clients' CAs": widened}
    if widened != deployed:
        bundles["as it is"] = deployed
    for held, bundle in bundles.items():
        clients = before.clients if bundle is deployed else added.generation.clients
        judgements += len(clients)
        for name, chain in clients.items():
            reason = judge.client_leaf(name, chain, bundle)
            if reason:
                raise ProofRefused(
                    f"client {name}",
                    f"a server whose bundle is {held} refuses its leaf: {reason}",
                    "nothing was touched; mend the present chain, or replace it with --strategy minimal-impact",
                )
    return AdditionProof(widened, judgements)


def first_end(generation: Generation) -> Certificate:
    """The certificate of a generation that ends first: adding clients does not move that day."""
    leaves = (chain.leaf for chain in (*generation.servers.values(), *generation.clients.values()))
    authorities = (*generation.server_bundle.certificates, *generation.client_bundle.certificates)
    return min((*leaves, *authorities), key=lambda certificate: certificate.not_after)
