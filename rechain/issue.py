"""Issue a generation: root CA, the two intermediates, every leaf.

Pure but for the serial numbers' randomness: the instant and the keys are given. Every CA's DN carries the generation,
and everything below the root has an AKI: with either of them missing, old and new chains in one bundle break logins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from rechain.certificate import Bundle, Certificate, LeafChain, from_x509
from rechain.generation import Generation, PrivateKeys, Side
from rechain.spec import ChainSpec, IntermediateSpec, KeyType
from rechain.usages import CA_KEY_USAGES, extended_key_usage, key_usage

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey

ROOT = "root"
"""Name of the root's key among a generation's CA keys; the intermediates' are named by their side."""
_BACKDATED = timedelta(minutes=5)  # hosts' clocks run behind by less than that


@dataclass(frozen=True, slots=True, repr=False)
class Issued:
    """A generation with its private keys. Lives inside one task; its text form shows no key.

    Attributes:
        generation: The public part.
        keys: The leaves' private keys, PEM PKCS#8.
        ca_keys: `root`, `server` and `client` to the CA's private key, PEM PKCS#8.
    """

    generation: Generation
    keys: PrivateKeys
    ca_keys: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Issued(generation {self.generation.number}, {self.keys!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Authority:
    """A CA that can sign: its certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey

    def __repr__(self) -> str:
        return f"Authority({self.certificate.subject.rfc4514_string()})"


def key_types(spec: ChainSpec) -> tuple[KeyType, ...]:
    """The keys that a generation takes, in the order in which `issue` uses them."""
    return (
        spec.root_key,
        spec.server.key,
        spec.client.key,
        *(spec.server.key for _ in spec.servers),
        *(spec.client.key for _ in spec.clients),
    )


def issue(spec: ChainSpec, number: int, *, now: datetime, keys: Sequence[PrivateKey]) -> Issued:
    """Issue one generation of a chain.

    Args:
        spec: What the chain is to look like.
        number: The generation's number.
        now: Aware UTC instant; validity begins 5 minutes earlier.
        keys: One private key for each of `key_types(spec)`.

    Returns:
        The generation and its keys.

    References: RFC 5280 section 4.2; PostgreSQL documentation, "Secure TCP/IP Connections with SSL".
    """
    supply = iter(_exactly(keys, len(key_types(spec))))
    root = issue_root(spec, number, now=now, key=next(supply))
    authorities = {side: issue_intermediate(spec, side, number, root, now=now, key=next(supply)) for side in Side}
    servers = issue_leaves(spec, Side.SERVER, authorities[Side.SERVER], now=now, keys=supply)
    clients = issue_leaves(spec, Side.CLIENT, authorities[Side.CLIENT], now=now, keys=supply)
    bundles = {side: Bundle((from_x509(authorities[side].certificate), from_x509(root.certificate))) for side in Side}
    return Issued(
        generation=Generation(
            number=number,
            server_bundle=bundles[Side.SERVER],
            client_bundle=bundles[Side.CLIENT],
            servers={name: chain for name, (chain, _) in servers.items()},
            clients={name: chain for name, (chain, _) in clients.items()},
        ),
        keys=PrivateKeys(
            servers={name: key for name, (_, key) in servers.items()},
            clients={name: key for name, (_, key) in clients.items()},
        ),
        ca_keys={ROOT: pem(root.key), **{str(side): pem(authorities[side].key) for side in Side}},
    )


def _exactly(keys: Sequence[PrivateKey], count: int) -> Sequence[PrivateKey]:
    if len(keys) != count:
        raise ValueError(f"the spec takes {count} keys, {len(keys)} were given")
    return keys


def issue_root(spec: ChainSpec, number: int, *, now: datetime, key: PrivateKey) -> Authority:
    """Issue a root CA, which signs itself; its CN is `NAME root gN`."""
    subject = spec.subject.named(f"{spec.subject.common_name} root g{number}")
    lifetime = _Lifetime.of(now, spec.root_days, None)
    builder = _builder(subject, subject, key, lifetime)
    return Authority(_sign(_as_authority(builder, path_length=1), key), key)


def issue_intermediate(
    spec: ChainSpec, side: Side, number: int, root: Authority, *, now: datetime, key: PrivateKey
) -> Authority:
    """Issue the intermediate CA of one side; its CN is `NAME SIDE gN`.

    It carries the extended key usages of its leaves: a certificate of the servers' chain can't log in.
    """
    intermediate = spec.intermediate(side)
    subject = spec.subject.named(f"{spec.subject.common_name} {side} g{number}")
    lifetime = _Lifetime.of(now, intermediate.lifetime_days, root)
    builder = _as_authority(_builder(subject, root.certificate.subject, key, lifetime), path_length=0)
    builder = builder.add_extension(extended_key_usage(intermediate.extended_key_usages), critical=False)
    return Authority(_sign(_below(builder, root), root.key), key)


def issue_leaf(
    spec: ChainSpec, side: Side, name: str, authority: Authority, *, now: datetime, key: PrivateKey
) -> Certificate:
    """Issue the leaf of a server or client; it ends no later than its issuer.

    Args:
        spec: Tells subject, usages, lifetime, and a server's further names.
        side: Server or client.
        name: Its CN; a server's name is also its first subject alternative name.
        authority: The side's intermediate.
        now: Aware UTC instant.
        key: Its private key.
    """
    intermediate = spec.intermediate(side)
    lifetime = _Lifetime.of(now, intermediate.leaf_days, authority)
    builder = _builder(spec.subject.named(name), authority.certificate.subject, key, lifetime)
    builder = _as_leaf(builder, intermediate)
    if side is Side.SERVER:
        builder = builder.add_extension(alternative_names(name, spec.servers.get(name, ())), critical=False)
    return from_x509(_sign(_below(builder, authority), authority.key))


def issue_leaves(
    spec: ChainSpec, side: Side, authority: Authority, *, now: datetime, keys: Iterator[PrivateKey]
) -> dict[str, tuple[LeafChain, str]]:
    """Issue every leaf of a side, each with a key of `keys`. Returns name to leaf chain and private key (PEM)."""
    intermediate = from_x509(authority.certificate)
    leaves = {}
    for name in spec.servers if side is Side.SERVER else spec.clients:
        key = next(keys)
        leaf = issue_leaf(spec, side, name, authority, now=now, key=key)
        leaves[name] = (LeafChain(leaf, (intermediate,)), pem(key))
    return leaves


def pem(key: PrivateKey) -> str:
    """A private key as PEM PKCS#8, without a passphrase: vault and file mode protect it."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode("ascii")


@dataclass(frozen=True, slots=True)
class _Lifetime:
    not_before: datetime
    not_after: datetime

    @classmethod
    def of(cls, now: datetime, days: int, issuer: Authority | None) -> _Lifetime:
        """From 5 minutes ago, for some days, and no longer than the issuer (RFC 5280 section 6.1)."""
        now = now.replace(microsecond=0)
        not_after = now + timedelta(days=days)
        if issuer is not None:
            not_after = min(not_after, issuer.certificate.not_valid_after_utc)
        return cls(now - _BACKDATED, not_after)


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey, lifetime: _Lifetime) -> x509.CertificateBuilder:
    """What every certificate has: names, serial, validity, and the SKI that issuers are found by."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())  # positive, 159 random bits
        .not_valid_before(lifetime.not_before)
        .not_valid_after(lifetime.not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _as_authority(builder: x509.CertificateBuilder, *, path_length: int) -> x509.CertificateBuilder:
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    return builder.add_extension(constraints, critical=True).add_extension(key_usage(CA_KEY_USAGES), critical=True)


def _as_leaf(builder: x509.CertificateBuilder, intermediate: IntermediateSpec) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(intermediate.key_usages), critical=True)
        .add_extension(extended_key_usage(intermediate.extended_key_usages), critical=False)
    )


def _below(builder: x509.CertificateBuilder, issuer: Authority) -> x509.CertificateBuilder:
    """Name the issuer by its key: among CAs with one DN, OpenSSL finds the right one by AKI alone."""
    return builder.add_extension(_key_identifier(issuer.certificate), critical=False)


def _key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """An outside CA may have left the SKI out of an intermediate that it signed for us."""
    try:
        ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)


def alternative_names(name: str, further: Sequence[str]) -> x509.SubjectAlternativeName:
    """A server's subject alternative name: its own name, then the further ones, each once."""
    return x509.SubjectAlternativeName(_general_name(each) for each in dict.fromkeys((name, *further)))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    return builder.sign(key, hashes.SHA256())
