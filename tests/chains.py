"""Chains made directly by `cryptography`, well-formed or with one chosen fault: never by the code under test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rechain.certificate import Bundle, Certificate, LeafChain, from_x509
from rechain.certs import ForeignCAs, Rotating
from rechain.generation import Generation, PrivateKeys, Side

SERVER_AUTH = (ExtendedKeyUsageOID.SERVER_AUTH,)
CLIENT_AUTH = (ExtendedKeyUsageOID.CLIENT_AUTH,)
NOW = datetime.now(UTC).replace(microsecond=0)

Usages = tuple[x509.ObjectIdentifier, ...] | None


@dataclass(frozen=True, slots=True)
class Shape:
    """How a chain is made.

    Attributes:
        aki: Whether intermediates and leaves carry an AKI; chainsmith's Go version left it out.
        same_dns: Whether the CAs are named alike in every generation, as chainsmith's Go version did.
        expired: Parts that have expired: `root`, `server_ca`, `client_ca`, `server`, `client`.
        server_usages: Extended key usages of server leaves; None leaves the extension out.
        client_usages: The same of client leaves.
        server_ca_usages: The same of the server intermediate.
        client_ca_usages: The same of the client intermediate.
        subject_alternative_names: Whether server leaves have their name there; else in the CN alone.
    """

    aki: bool = True
    same_dns: bool = False
    expired: frozenset[str] = frozenset()
    server_usages: Usages = SERVER_AUTH
    client_usages: Usages = CLIENT_AUTH
    server_ca_usages: Usages = SERVER_AUTH
    client_ca_usages: Usages = CLIENT_AUTH
    subject_alternative_names: bool = True


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: Certificate
    x509: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def key_pem(self) -> str:
        """The key as PKCS#8 PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode("ascii")


@dataclass(frozen=True, slots=True)
class Chain:
    """A generation with all its keys."""

    generation: Generation
    keys: PrivateKeys
    root: Pair
    server_ca: Pair
    client_ca: Pair
    leaves: Mapping[tuple[Side, str], Pair] = field(default_factory=dict)


def make(
    common_name: str,
    issuer: Pair | None = None,
    *,
    ca: bool = False,
    aki: bool = True,
    expired: bool = False,
    usages: Usages = None,
    names: Iterable[str] = (),
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Pair:
    """Make one certificate; self-signed without an issuer, with a new key unless one is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.x509.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=30))
        .not_valid_after(NOW + timedelta(days=-1 if expired else 90))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    for extension, critical in _extensions(issuer, ca, aki, usages, tuple(names)):
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    return Pair(from_x509(certificate), certificate, key)


def _extensions(
    issuer: Pair | None, ca: bool, aki: bool, usages: Usages, names: tuple[str, ...]
) -> Iterable[tuple[x509.ExtensionType, bool]]:
    if ca:
        yield x509.BasicConstraints(ca=True, path_length=None), True
        yield _key_usage(), True
    if usages:
        yield x509.ExtendedKeyUsage(usages), False
    if names:
        yield x509.SubjectAlternativeName([_general_name(name) for name in names]), False
    if issuer and aki:
        identifier = issuer.x509.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        yield x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def make_chain(number: int, servers: Iterable[str], clients: Iterable[str], shape: Shape | None = None) -> Chain:
    """Make a whole generation: one root, an intermediate for each side, a leaf for each name."""
    how = shape or Shape()
    label = "" if how.same_dns else f" {number}"
    root = make(f"root{label}", ca=True, expired="root" in how.expired)
    server_ca = make(
        f"server{label}",
        root,
        ca=True,
        aki=how.aki,
        expired="server_ca" in how.expired,
        usages=how.server_ca_usages,
    )
    client_ca = make(
        f"client{label}",
        root,
        ca=True,
        aki=how.aki,
        expired="client_ca" in how.expired,
        usages=how.client_ca_usages,
    )
    leaves = {(Side.SERVER, name): _server_leaf(name, server_ca, how) for name in servers}
    leaves |= {(Side.CLIENT, name): _client_leaf(name, client_ca, how) for name in clients}
    generation = Generation(
        number=number,
        server_bundle=Bundle((server_ca.certificate, root.certificate)),
        client_bundle=Bundle((client_ca.certificate, root.certificate)),
        servers=_chains(leaves, Side.SERVER, server_ca),
        clients=_chains(leaves, Side.CLIENT, client_ca),
    )
    keys = PrivateKeys(_key_pems(leaves, Side.SERVER), _key_pems(leaves, Side.CLIENT))
    return Chain(generation, keys, root, server_ca, client_ca, leaves)


def make_rotating(
    servers: Iterable[str],
    clients: Iterable[str],
    current: Shape | None = None,
    following: Shape | None = None,
    foreign: ForeignCAs | None = None,
) -> tuple[Rotating, dict[int, PrivateKeys]]:
    """Make two generations for the same names, and their keys by number."""
    names = tuple(servers), tuple(clients)
    old, new = make_chain(1, *names, current), make_chain(2, *names, following or current)
    return Rotating(old.generation, new.generation, foreign or ForeignCAs()), {1: old.keys, 2: new.keys}


def _server_leaf(name: str, issuer: Pair, how: Shape) -> Pair:
    names = (name,) if how.subject_alternative_names else ()
    return make(name, issuer, aki=how.aki, expired="server" in how.expired, usages=how.server_usages, names=names)


def _client_leaf(name: str, issuer: Pair, how: Shape) -> Pair:
    return make(name, issuer, aki=how.aki, expired="client" in how.expired, usages=how.client_usages)


def _chains(leaves: Mapping[tuple[Side, str], Pair], side: Side, issuer: Pair) -> dict[str, LeafChain]:
    return {
        name: LeafChain(pair.certificate, (issuer.certificate,)) for (of, name), pair in leaves.items() if of is side
    }


def _key_pems(leaves: Mapping[tuple[Side, str], Pair], side: Side) -> dict[str, str]:
    return {name: pair.key_pem for (of, name), pair in leaves.items() if of is side}
