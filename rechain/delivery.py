"""A delivery: what the owner of an external client is given, as files; how they reach the owner is not decided here."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from rechain.certificate import Bundle, LeafChain
from rechain.delivery_readme import Connection, readme
from rechain.phase import Phase


def delivery(
    chain: LeafChain,
    key_pem: str,
    trusted: Bundle,
    connection: Connection,
    *,
    phase: Phase | None,
    is_replaced: bool,
    passphrase: str,
) -> dict[str, bytes]:
    """The files of a delivery, by name.

    Args:
        chain: Leaf and intermediates.
        key_pem: Its private key, PEM PKCS#8.
        trusted: What the client is to trust; both generations during an overlap.
        connection: How the client reaches the fleet.
        phase: The phase that the fleet is at; None at rest.
        is_replaced: Whether everything is being replaced in one step, which knows no phases.
        passphrase: Protects the PKCS#12 file, which can't do without.

    References: PostgreSQL documentation, "SSL Support" of libpq; pgjdbc's documentation, "SSL Client" (`sslkey`).
    """
    name = connection.client
    key = load_pem_private_key(key_pem.encode(), None)
    leaf, *intermediates = (
        x509.load_pem_x509_certificate(one.pem.encode()) for one in (chain.leaf, *chain.intermediates)
    )
    sealed = (
        PrivateFormat.PKCS12.encryption_builder()
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(passphrase.encode())
    )
    return {
        f"{name}.crt": chain.pem.encode(),
        f"{name}.key": key_pem.encode(),
        f"{name}.pk8": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        f"{name}.p12": pkcs12.serialize_key_and_certificates(
            b"user",
            key,  # type: ignore[arg-type]  # what a generation's keys are
            leaf,
            intermediates,
            sealed,
        ),
        "root.crt": trusted.pem.encode(),
        "README.txt": readme(chain, trusted, connection, phase, is_replaced=is_replaced).encode(),
    }
