"""Thousands of endpoints on loopback addresses: who they are, and the certificates that they serve."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

PORT = 5432
_FIRST = IPv4Address("127.64.0.1")
_DEAD_EACH, _SLOW_EACH = 100, 100

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Place:
    """One endpoint.

    Attributes:
        address: Its loopback address; the port is always PORT.
        kind: `live`, `dead` (a connection is never accepted) or `slow` (it is accepted, and nothing is said).
        fingerprint: What it serves; empty unless it is live.
    """

    address: str
    kind: str
    fingerprint: str


def write_endpoints(directory: Path, count: int, key: str) -> list[Place]:
    """Make certificates of a key type, each endpoint its own: `ADDRESS.pem` with leaf, intermediate and key.

    Keys are shared among leaves, which are nevertheless distinct: what is measured reads certificates.
    """
    root, signer = _key(key), _key(key)
    intermediate = _certificate("bench intermediate", signer, "bench root", root, is_ca=True)
    shared = [_key(key) for _ in range(8)]
    places = []
    for number in range(count):
        address, kind = str(_FIRST + number), _kind(number)
        fingerprint = ""
        if kind == "live":
            private = shared[number % len(shared)]
            leaf = _certificate(f"db{number}.bench", private, "bench intermediate", signer)
            fingerprint = leaf.fingerprint(hashes.SHA256()).hex()
            (directory / f"{address}.pem").write_bytes(_pem(leaf) + _pem(intermediate) + _private(private))
        places.append(Place(address, kind, fingerprint))
    (directory / "places.json").write_text(json.dumps([asdict(place) for place in places]))
    return places


def read_endpoints(directory: Path) -> list[Place]:
    """The endpoints that `write_endpoints` made."""
    return [Place(**one) for one in json.loads((directory / "places.json").read_text())]


def of_kind(places: list[Place], kind: str) -> Iterator[Place]:
    """The endpoints of one kind."""
    return (place for place in places if place.kind == kind)


def _kind(number: int) -> str:
    if number % _DEAD_EACH == _DEAD_EACH // 3:
        return "dead"
    return "slow" if number % _SLOW_EACH == _SLOW_EACH * 2 // 3 else "live"


def _key(kind: str) -> Key:
    return rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


def _certificate(name: str, key: Key, issuer: str, signer: Key, *, is_ca: bool = False) -> x509.Certificate:
    now = datetime.now(UTC)
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Benchmark")
    subject, above = (
        x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer)
    )
    builder = (
        x509.CertificateBuilder(above, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name.replace(" ", "-"))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return builder.sign(signer, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
