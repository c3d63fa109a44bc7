"""A delivery: what the owner of an external client is given, as files; how they reach the owner is not decided here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from rechain.fleet import Endpoint, ServiceKind
from rechain.phase import Phase

_WHAT = {
    Phase.OVERLAP: "Install root.crt now. It trusts the present chain and the next one. "
    "Certificate and key are the present ones: nothing else changes yet.",
    Phase.SERVERS: "Install root.crt now, if you have not: the servers already present the next chain.",
    Phase.CLIENTS: "Install all files now, together, and open every connection anew "
    "(recycle pools, restart batch jobs): the previous certificate stops working soon.",
}
_AT_REST = "Install all files, together."


@dataclass(frozen=True, slots=True)
class Connection:
    """How a client reaches the fleet.

    Attributes:
        client: The role.
        database: Database to log in to.
        endpoints: Kind of service to where it listens.
    """

    client: str
    database: str
    endpoints: Mapping[ServiceKind, Sequence[Endpoint]]


def delivery(
    chain: LeafChain,
    key_pem: str,
    trusted: Bundle,
    connection: Connection,
    *,
    phase: Phase | None,
    passphrase: str,
) -> dict[str, bytes]:
    """The files of a delivery, by name.

    Args:
        chain: Leaf and intermediates.
        key_pem: Its private key, PEM PKCS#8.
        trusted: What the client is to trust; both generations during an overlap.
        connection: How the client reaches the fleet.
        phase: The phase that the fleet is at; None at rest.
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
        "README.txt": _readme(chain, connection, phase).encode(),
    }


def _readme(chain: LeafChain, connection: Connection, phase: Phase | None) -> str:
    name = connection.client
    sections = [
        f"Certificate of {name}, serial {chain.leaf.serial:x}, valid until {chain.leaf.not_after:%Y-%m-%d %H:%M} UTC.",
        _WHAT.get(phase, _AT_REST) if phase else _AT_REST,
        f"Files: {name}.crt, {name}.key (PEM, for libpq; chmod 0600), {name}.pk8 (the key for Java),\n"
        f"{name}.p12 (certificate and key for Java; its password is that of this archive; alias `user`),\n"
        "root.crt (whom to trust).",
        *(_examples(connection, kind, endpoints) for kind, endpoints in connection.endpoints.items() if endpoints),
        "Check it before you rely on it:\n"
        f'  psql "service={name}-{next(iter(connection.endpoints), ServiceKind.POSTGRESQL)}" -c "select current_user"\n'
        f"  openssl x509 -in {name}.crt -noout -serial -enddate",
    ]
    return "\n\n".join(sections) + "\n"


def _examples(connection: Connection, kind: ServiceKind, endpoints: Sequence[Endpoint]) -> str:
    name = connection.client
    hosts = ",".join(one.server_name for one in endpoints)
    ports = ",".join(str(one.port) for one in endpoints)
    places = ",".join(f"{one.server_name}:{one.port}" for one in endpoints)
    is_direct = kind is ServiceKind.POSTGRESQL
    writing = "target_session_attrs=read-write\n" if is_direct else ""
    primary = "&targetServerType=primary" if is_direct else ""
    return (
        f"Through {kind}, ~/.pg_service.conf:\n\n"
        f"[{name}-{kind}]\nhost={hosts}\nport={ports}\ndbname={connection.database}\nuser={name}\nsslmode=verify-full\n"
        f"sslcert={name}.crt\nsslkey={name}.key\nsslrootcert=root.crt\n{writing}\n"
        f"Through {kind}, Java (sslkey may be {name}.p12 as well; then without sslcert, and with sslpassword):\n\n"
        f"jdbc:postgresql://{places}/{connection.database}?user={name}&sslmode=verify-full&sslcert={name}.crt"
        f"&sslkey={name}.pk8&sslrootcert=root.crt{primary}"
    )
