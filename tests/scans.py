"""An environment as a scan sees it, sound in everything, for tests that break one thing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

from rechain.certificate import Certificate, read_certificates
from rechain.finding import Finding
from rechain.fleet import Endpoint, Fleet, Host, ManagedClient, Service, ServiceKind
from rechain.phase import Phase
from rechain.scan.case import Case, Limits
from rechain.scan.report import Scanned, report
from rechain.scan.rules import judge
from rechain.scan.seen import FileFacts, HostSeen, Listener, Seen, Served, SetOnHost, Source, Text, Use
from tests.plugins.authority import Authority, Pair

SERVER, CLIENT = "db1.example", "app"
ENDPOINT = Endpoint("db1", SERVER, "10.0.0.1", 5432)
OLD, LONG, LEAF_DAYS = (-700, 1500), (-1, 1500), (-1, 200)


@cache
def authority(name: str = "ours", days: tuple[int, int] = LONG, has_aki: bool = True) -> Authority:
    """An authority, the same for the same arguments."""
    return Authority(name, days, has_aki)


def entry(use: Use, name: str | None, pem: str, generation: int | None = None) -> Text:
    """An entry of the repository."""
    where = "certs.yml" if generation is None else f"generation-{generation}/certs.yml"
    certificates = read_certificates(pem, where)
    return Text(Source.REPOSITORY, f"{where}: {use} {name or ''}", use, name, certificates, None, generation)


def file(use: Use, name: str, path: str, pem: str) -> Text:
    """A file on the host."""
    return Text(Source.HOSTS, f"db1: {path}", use, name, read_certificates(pem, path))


def entries(ours: Authority, server: Pair, client: Pair, generation: int | None = None) -> tuple[Text, ...]:
    """What a certs.yml holds of one authority."""
    return (
        entry(Use.SERVER_BUNDLE, None, ours.server_bundle, generation),
        entry(Use.SERVER_LEAF, SERVER, server.chain_pem, generation),
        entry(Use.CLIENT_BUNDLE, None, ours.client_bundle, generation),
        entry(Use.CLIENT_LEAF, CLIENT, client.chain_pem, generation),
    )


def server_set(chain_pem: str, bundle_pem: str) -> SetOnHost:
    """The set of the server, as it should lie on its host."""
    folder = "/etc/pki/postgres"
    return SetOnHost(
        reader="postgresql on 10.0.0.1:5432",
        name=SERVER,
        is_server=True,
        endpoint=ENDPOINT,
        owner="postgres",
        cert=FileFacts(f"{folder}/server.crt", None, 0o600, "postgres", "postgres"),
        key=FileFacts(f"{folder}/server.key", None, 0o600, "postgres", "postgres"),
        ca=FileFacts(f"{folder}/root.crt", None, 0o600, "postgres", "postgres"),
        cert_text=file(Use.SERVER_LEAF, SERVER, f"{folder}/server.crt", chain_pem),
        ca_text=file(Use.CLIENT_BUNDLE, SERVER, f"{folder}/root.crt", bundle_pem),
    )


def client_set(chain_pem: str, bundle_pem: str) -> SetOnHost:
    """The set of the client, as it should lie on its host."""
    folder = "/home/app/.postgresql"
    return SetOnHost(
        reader="client app",
        name=CLIENT,
        is_server=False,
        endpoint=None,
        owner=CLIENT,
        cert=FileFacts(f"{folder}/postgresql.crt", None, 0o600, CLIENT, CLIENT),
        key=FileFacts(f"{folder}/postgresql.key", None, 0o600, CLIENT, CLIENT),
        ca=FileFacts(f"{folder}/root.crt", None, 0o600, CLIENT, CLIENT),
        cert_text=file(Use.CLIENT_LEAF, CLIENT, f"{folder}/postgresql.crt", chain_pem),
        ca_text=file(Use.SERVER_BUNDLE, CLIENT, f"{folder}/root.crt", bundle_pem),
    )


def fleet() -> Fleet:
    """One host with a server and a client."""
    service = Service(
        ServiceKind.POSTGRESQL, "10.0.0.1", 5432, "/etc/pki/postgres", "postgres", "server.crt", "server.key",
        "root.crt", "true", "true", None,
    )  # fmt: skip
    client = ManagedClient(
        CLIENT, "/home/app/.postgresql", CLIENT, "postgresql.crt", "postgresql.key", "root.crt", None
    )
    return Fleet("acc", (Host("db1", "10.0.0.1", SERVER, False, (service,), (client,)),), ())


def sound(
    ours: Authority | None = None, server: Pair | None = None, client: Pair | None = None, **changes: object
) -> Seen:
    """An environment in which nothing is wrong, unless what is given makes it so."""
    ours = ours or authority()
    server, client = server or ours.server(SERVER, LEAF_DAYS), client or ours.client(CLIENT, days=LEAF_DAYS)
    hosts = (
        server_set(server.chain_pem, ours.client_bundle),
        client_set(client.chain_pem, ours.server_bundle),
    )
    seen = Seen(
        environment="acc",
        at=datetime.now(UTC),
        fleet=fleet(),
        phase=Phase.RETIRED,
        current=2,
        texts=(*entries(ours, server, client), *entries(ours, server, client, 2)),
        served=(Served(Listener(ENDPOINT), read_certificates(server.chain_pem, "wire")),),
        hosts=(HostSeen("db1", hosts, 0.0),),
    )
    return replace(seen, **changes)  # type: ignore[arg-type]  # a test's own changes


def with_sets(seen: Seen, *sets: SetOnHost) -> Seen:
    """The same with other sets on the host."""
    return replace(seen, hosts=(replace(seen.hosts[0], sets=sets),))


def serving(seen: Seen, *chain: Certificate) -> Seen:
    """The same with another chain on the wire."""
    return replace(seen, served=(Served(Listener(ENDPOINT), chain),))


def found(seen: Seen, limits: Limits | None = None) -> list[Finding]:
    """Everything that is found but notes and what every short-lived test certificate has."""
    return list(judge(Case(seen, limits or Limits())))


def scanned(seen: Seen, limits: Limits | None = None) -> Scanned:
    """The report."""
    return report(Case(seen, limits or Limits()))
