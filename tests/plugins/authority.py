"""A small certificate authority for tests that need leaves which no chain of ours would hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from rechain.certificate import Certificate, from_x509
from rechain.login import ClientFiles

CLIENT_AUTH, SERVER_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A certificate and its private key.

    Attributes:
        certificate: The certificate.
        key: Its private key.
        issuer: The CA above it; None for a root.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    issuer: Pair | None = None

    @property
    def value(self) -> Certificate:
        """The certificate as rechain's value."""
        return from_x509(self.certificate)

    @property
    def chain_pem(self) -> str:
        """The leaf and its intermediate."""
        above = self.issuer.value.pem if self.issuer else ""
        return self.value.pem + above

    @property
    def key_pem(self) -> str:
        """The key as PKCS#8."""
        return self.key_text(serialization.NoEncryption())

    def key_text(self, encryption: serialization.KeySerializationEncryption) -> str:
        """The key as PKCS#8, maybe under a passphrase."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        ).decode()


@dataclass(slots=True)
class Authority:
    """A root, an intermediate for servers and one for clients, all with names of their own.

    Attributes:
        name: Goes into every CA's name.
        days: From when until when the CAs are valid, days from now.
        server_days: The same for the intermediate of servers alone; None for `days`.
        client_days: The same for the intermediate of clients alone; None for `days`.
        has_aki: Whether what it issues carries an authority key identifier.
    """

    name: str
    days: tuple[int, int] = (-1, 30)
    has_aki: bool = True
    server_days: tuple[int, int] | None = None
    client_days: tuple[int, int] | None = None
    root: Pair = field(init=False, repr=False)
    servers: Pair = field(init=False, repr=False)
    clients: Pair = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.root = self._ca("root", None, self.days)
        self.servers = self._ca("servers", self.root, self.server_days or self.days)
        self.clients = self._ca("clients", self.root, self.client_days or self.days)

    @property
    def server_bundle(self) -> str:
        """What clients trust."""
        return self.servers.value.pem + self.root.value.pem

    @property
    def client_bundle(self) -> str:
        """What servers trust."""
        return self.clients.value.pem + self.root.value.pem

    def empty_crl(self, of: Pair | None = None, days: tuple[int, int] = (0, 1)) -> str:
        """A revocation list of the root, or of another CA, that revokes nothing, as PEM."""
        return self.crl(of or self.root, (), days)

    def crl(self, ca: Pair, revoked: Iterable[Pair], days: tuple[int, int] = (-1, 1)) -> str:
        """A revocation list of a CA, as PEM."""
        begin, end = (datetime.now(UTC) + timedelta(days=each) for each in days)
        builder = x509.CertificateRevocationListBuilder(ca.certificate.subject, begin, end)
        for one in revoked:
            entry = x509.RevokedCertificateBuilder(one.certificate.serial_number, begin)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def server(self, name: str, days: tuple[int, int] = (-1, 30), more_names: tuple[str, ...] = ()) -> Pair:
        """A server leaf for a name, and for more of them."""
        return _sign(name, self.servers, names=(name, *more_names), usage=SERVER_AUTH, days=days, has_aki=self.has_aki)

    def client(self, name: str, usage: ObjectIdentifier = CLIENT_AUTH, days: tuple[int, int] = (-1, 30)) -> Pair:
        """A client leaf for a role, valid from and until so many days from now."""
        return _sign(name, self.clients, usage=usage, days=days, has_aki=self.has_aki)

    def _ca(self, what: str, issuer: Pair | None, days: tuple[int, int]) -> Pair:
        return _sign(f"{self.name} {what}", issuer, is_ca=True, days=days, has_aki=self.has_aki)


def write_files(directory: Path, chain_pem: str, key_pem: str, bundle_pem: str) -> ClientFiles:
    """A client's three files in a directory, the key closed to others."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in (("postgresql.crt", chain_pem), ("postgresql.key", key_pem), ("root.crt", bundle_pem)):
        path = directory / name
        path.touch(mode=0o600)
        path.write_text(text, "ascii")
        paths.append(str(path))
    return ClientFiles(*paths)


def _sign(
    name: str,
    issuer: Pair | None,
    *,
    is_ca: bool = False,
    names: tuple[str, ...] = (),
    usage: ObjectIdentifier | None = None,
    days: tuple[int, int] = (-1, 30),
    has_aki: bool = True,
) -> Pair:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Réseau, BV"), _common_name(name)])
    above = issuer.certificate.subject if issuer else subject
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder(above, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if has_aki:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if names:
        dns = [x509.DNSName(each) for each in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(dns), critical=False)
    return Pair(builder.sign(signer, hashes.SHA256()), key, issuer)


def _common_name(name: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(NameOID.COMMON_NAME, name)
