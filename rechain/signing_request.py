"""Certificates that are asked of an outside CA: which ones, and the signing request (PKCS#10) of each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from rechain.generation import PrivateKeys, Side
from rechain.issue import PrivateKey, alternative_names, pem
from rechain.spec import ChainSpec, IntermediateSpec, KeyType, digest
from rechain.usages import CA_KEY_USAGES, extended_key_usage, key_usage
from rechain.x509_parts import public_key_digest


@dataclass(frozen=True, slots=True)
class Wanted:
    """One certificate that is asked for.

    Attributes:
        side: Server or client.
        name: The leaf's name; None for the intermediate CA of the side.
    """

    side: Side
    name: str | None

    @property
    def file(self) -> str:
        """Name of its signing request's file; the prefix keeps an intermediate apart from a leaf of any name."""
        return f"intermediate-{self.side}.csr" if self.name is None else f"{self.side}-{self.name}.csr"

    def __str__(self) -> str:
        return f"{self.side} intermediate" if self.name is None else f"{self.side} {self.name}"


@dataclass(frozen=True, slots=True)
class Requests:
    """Signing requests that wait for their certificates; their private keys are in a vault.

    Attributes:
        spec_digest: Digest of the chain spec that they were made from.
        made_at: When, aware UTC.
        public_keys: What is asked for, to the SHA-256 of its public key: a returned certificate is known by it.
        carries: Whether everything that is not asked for keeps its present certificate; else our own CA issues it.
    """

    spec_digest: str
    made_at: datetime
    public_keys: Mapping[Wanted, str]
    carries: bool = False

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides of which anything is asked for."""
        return tuple(side for side in Side if any(wanted.side is side for wanted in self.public_keys))


@dataclass(frozen=True, slots=True, repr=False)
class Made:
    """Requests with their texts and private keys. Lives inside one task; its text form shows no key.

    Attributes:
        requests: What is asked for.
        texts: The signing requests, PEM.
        keys: Private keys of leaves, PEM.
        ca_keys: Side to the private key of its intermediate, PEM.
    """

    requests: Requests
    texts: Mapping[Wanted, str]
    keys: PrivateKeys
    ca_keys: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Made({len(self.texts)} requests, {self.keys!r})"


def names_of(spec: ChainSpec, side: Side) -> tuple[str, ...]:
    """The names of a side's leaves."""
    return tuple(spec.servers) if side is Side.SERVER else spec.clients


def all_wanted(
    spec: ChainSpec, sides: Iterable[Side], only: Collection[str], *, intermediates: bool
) -> tuple[Wanted, ...]:
    """What to ask for.

    Args:
        spec: Tells the names.
        sides: The sides to ask for.
        only: Names to ask for; all of the sides when empty.
        intermediates: Whether to ask for the sides' intermediate CAs instead of their leaves.
    """
    if intermediates:
        return tuple(Wanted(side, None) for side in sides)
    names = ((side, name) for side in sides for name in names_of(spec, side))
    return tuple(Wanted(side, name) for side, name in names if not only or name in only)


def request_key_types(spec: ChainSpec, wanted: Iterable[Wanted]) -> tuple[KeyType, ...]:
    """The key that each certificate takes, in order."""
    return tuple(spec.intermediate(one.side).key for one in wanted)


def make_requests(
    spec: ChainSpec, wanted: Sequence[Wanted], number: int, *, now: datetime, keys: Sequence[PrivateKey], carries: bool
) -> Made:
    """Make the signing requests of some certificates.

    Args:
        spec: Tells what is asked of them.
        wanted: Which.
        number: The next generation's number.
        now: Aware UTC instant.
        keys: One private key for each of `request_key_types`.
        carries: See `Requests`.
    """
    paired = dict(zip(wanted, keys, strict=True))
    digests = {one: public_key_digest(key.public_key()) for one, key in paired.items()}
    return Made(
        requests=Requests(digest(spec), now, digests, carries),
        texts={one: signing_request(spec, one, number, key) for one, key in paired.items()},
        keys=PrivateKeys(_leaf_keys(paired, Side.SERVER), _leaf_keys(paired, Side.CLIENT)),
        ca_keys={one.side.value: pem(paired[one]) for one in wanted if one.name is None},
    )


def _leaf_keys(paired: Mapping[Wanted, PrivateKey], side: Side) -> dict[str, str]:
    return {one.name: pem(key) for one, key in paired.items() if one.side is side and one.name}


def signing_request(spec: ChainSpec, wanted: Wanted, number: int, key: PrivateKey) -> str:
    """Make the signing request of one certificate, with all that the spec wants of it.

    Args:
        spec: Tells subject, usages, and a server's further names.
        wanted: What is asked for.
        number: The next generation's number, which the DN of an intermediate carries.
        key: Its private key.

    Returns:
        PEM.

    References: RFC 2986; RFC 2985 section 5.4.2 for the extensions.
    """
    intermediate = spec.intermediate(wanted.side)
    subject = f"{spec.subject.common_name} {wanted.side} g{number}" if wanted.name is None else wanted.name
    builder = x509.CertificateSigningRequestBuilder().subject_name(spec.subject.named(subject))
    for extension, critical in _extensions(spec, wanted, intermediate):
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode("ascii")


def _extensions(
    spec: ChainSpec, wanted: Wanted, intermediate: IntermediateSpec
) -> Iterable[tuple[x509.ExtensionType, bool]]:
    if wanted.name is None:
        yield x509.BasicConstraints(ca=True, path_length=0), True
        yield key_usage(CA_KEY_USAGES), True
    else:
        yield key_usage(intermediate.key_usages), True
    yield extended_key_usage(intermediate.extended_key_usages), False
    if wanted.name is not None and wanted.side is Side.SERVER:
        yield alternative_names(wanted.name, spec.servers[wanted.name]), False
