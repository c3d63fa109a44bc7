"""The README of a delivery: what to do in which phase, how to connect by which way, and how to check it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from rechain.certificate import Bundle, LeafChain
from rechain.fleet import ServiceKind
from rechain.phase import Phase
from rechain.way import Way

_COURSE = {
    Phase.ISSUED: "A new chain is made and in use nowhere. Nothing to do.",
    Phase.OVERLAP: "Install root.crt, which trusts the present chain and the next one, and say that you have: it is\n"
    "waited for. Keep your present certificate and key; connections stay open.",
    Phase.SERVERS: "Servers present the next chain already. Install root.crt if you have not. Keep your present\n"
    "certificate and key: your next ones are delivered in the next phase, not before.",
    Phase.CLIENTS: "Install all files of a new delivery, together, and open every connection anew (recycle pools,\n"
    "restart batch jobs); then say so. The previous certificate stops working when this phase ends.",
    Phase.RETIRED: "The previous certificate is refused. Install root.crt of a new delivery when it suits you: it\n"
    "trusts the new chain alone, and the one that you have works as well.",
}
_REPLACED = (
    "Everything is being replaced at once, and your present certificate is refused from now on. Install all files,\n"
    "together, and open every connection anew (recycle pools, restart batch jobs)."
)
_AT_REST = "Install all files, together. No refresh of the chain is under way."


@dataclass(frozen=True, slots=True)
class Connection:
    """How a client reaches the fleet.

    Attributes:
        client: The role.
        database: Database to log in to.
        ways: Every way, the one that the checks take first.
    """

    client: str
    database: str
    ways: Sequence[Way]


def readme(
    chain: LeafChain, trusted: Bundle, connection: Connection, phase: Phase | None, *, is_replaced: bool = False
) -> str:
    """The text for the owner of a client.

    Args:
        chain: What the client presents.
        trusted: What root.crt holds.
        connection: How the client reaches the fleet.
        phase: The phase that the fleet is at; None at rest.
        is_replaced: Whether everything is being replaced in one step, which knows no phases.
    """
    sections = [
        _what(chain, trusted, connection.client),
        *([f"WHAT TO DO NOW\n\n{_REPLACED}"] if is_replaced else [_now(chain, phase), _course(phase)]),
        *(_examples(connection, way) for way in connection.ways),
        _checks(connection),
    ]
    return "\n\n".join(sections) + "\n"


def _what(chain: LeafChain, trusted: Bundle, name: str) -> str:
    leaf = chain.leaf
    roots = "".join(f"\n  {one.subject}, until {one.not_after:%Y-%m-%d}" for one in trusted.certificates)
    return (
        f"Certificate of {name}, serial {leaf.serial:x}, valid until {leaf.not_after:%Y-%m-%d %H:%M} UTC.\n\n"
        f"{name}.crt  the certificate and its intermediate CA, PEM\n"
        f"{name}.key  its key, PEM, for libpq: keep its mode 0600\n"
        f"{name}.pk8  its key for Java: PKCS#8, DER, not encrypted: keep its mode 0600\n"
        f"{name}.p12  certificate and key for Java: PKCS#12, alias `user`; its password is this archive's passphrase\n"
        f"root.crt  whom to trust:{roots}"
    )


def _now(chain: LeafChain, phase: Phase | None) -> str:
    if phase is None:
        return f"WHAT TO DO NOW\n\n{_AT_REST}"
    told = f"WHAT TO DO NOW, in phase {phase} of a refresh\n\n{_COURSE[phase]}"
    if phase is Phase.CLIENTS:
        return told
    # Whether its owner has this pair is known to the owner alone: a client may be new, or may have got it anew.
    serial = f"{chain.leaf.serial:x}"
    return (
        f"{told}\n\nIf you have no certificate yet, or one whose serial is not {serial},\n"
        "install all files, together: this one works at once."
    )


def _course(phase: Phase | None) -> str:
    def told(each: Phase, text: str) -> str:
        mark = ">" if each is phase else " "
        return f"{mark} {each:<9}" + text.replace("\n", "\n" + " " * 11)

    course = "\n".join(told(each, text) for each, text in _COURSE.items())
    begin = "A refresh of the chain takes this course; no connection is lost when everybody does their part:"
    return f"{begin}\n\n{course}"


def _examples(connection: Connection, way: Way) -> str:
    name = connection.client
    hosts, ports = zip(*way.places, strict=True)
    places = ",".join(f"{_bracketed(host)}:{port}" for host, port in way.places)
    user, database = quote(name, safe=""), quote(connection.database, safe="")
    entry = [f"[{name}-{way.label}]", f"host={','.join(hosts)}", f"port={','.join(map(str, ports))}"]
    entry += [f"dbname={connection.database}", f"user={name}", "sslmode=verify-full"]
    entry += [f"sslcert={name}.crt", f"sslkey={name}.key", "sslrootcert=root.crt"]
    address = f"jdbc:postgresql://{places}/{database}?user={user}&sslmode=verify-full&sslrootcert=root.crt"
    for libpq, java in _options(way):
        entry.append(libpq)
        address += f"&{java}"
    return "\n".join([
        f"{_title(way)}\n\nlibpq, in the file that PGSERVICEFILE names, or ~/.pg_service.conf; with full paths:\n",
        *entry,
        "\nJava, with the certificate and the .pk8 key, or with the .p12 file and its password, URL-encoded:\n",
        f"{address}&sslcert={user}.crt&sslkey={user}.pk8",
        f"{address}&sslkey={user}.p12&sslpassword=PASSPHRASE",
    ])  # fmt: skip


def _title(way: Way) -> str:
    through = "DIRECT" if way.kind is ServiceKind.POSTGRESQL else f"THROUGH {way.kind.upper()}"
    told = [f"THROUGH THE VIP {way.places[0][0]}, {way.kind}" if way.carriers else through]
    if way.carriers:
        told.append(
            f"The name is in the certificates of {', '.join(way.carriers)}, so it is that of a virtual\n"
            "address, or of a proxy that passes TLS through. The port is theirs: ask for another where a proxy\n"
            "listens on one of its own."
        )
    if way.kind is ServiceKind.HAPROXY:
        told.append(
            "TLS begins at once there: it takes libpq 17 or pgjdbc 42.7.4, and a proxy that offers the ALPN protocol\n"
            "`postgresql`."
        )
    return "\n\n".join(told)


def _options(way: Way) -> list[tuple[str, str]]:
    """Further options of a way, as libpq and as pgjdbc spell them."""
    options = []
    if way.kind is ServiceKind.POSTGRESQL and not way.carriers:
        options.append(("target_session_attrs=read-write", "targetServerType=primary"))
    if way.kind is ServiceKind.HAPROXY:
        options.append(("sslnegotiation=direct", "sslNegotiation=direct"))
    return options


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _checks(connection: Connection) -> str:
    name = connection.client
    lines = [
        f"openssl x509 -in {name}.crt -noout -subject -serial -enddate        # the certificate that you present",
        "openssl crl2pkcs7 -nocrl -certfile root.crt | openssl pkcs7 -print_certs -noout        # whom you trust",
    ]
    for way in connection.ways[:1]:
        host, port = way.places[0]
        starting = "" if way.kind is ServiceKind.HAPROXY else "-starttls postgres "
        lines += [
            f"openssl s_client {starting}-connect {_bracketed(host)}:{port} -CAfile root.crt -verify_return_error \\\n"
            f"    -verify_hostname {host} </dev/null        # whether you trust what the server presents",
            f'psql "service={name}-{way.label}" -c "select current_user"        # and whether you can log in',
        ]
    return "CHECK IT BEFORE YOU RELY ON IT\n\n" + "\n".join(f"  {line}" for line in lines)
