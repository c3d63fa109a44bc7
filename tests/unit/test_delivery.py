"""What a delivery tells its owner: when to do what, and names that the servers' certificates carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from rechain.certificate import LeafChain
from rechain.delivery_readme import Connection, readme
from rechain.fleet import Fleet, Service, ServiceKind
from rechain.phase import Phase
from rechain.way import ways
from tests.chains import make_chain
from tests.fleets import make_fleet, make_service

CHAIN = make_chain(1, ("db1", "db2", "db3"), ("app",)).generation
POSTGRESQL, PGBOUNCER, HAPROXY = ServiceKind.POSTGRESQL, ServiceKind.PGBOUNCER, ServiceKind.HAPROXY


def _service(kind: ServiceKind, port: int, address: str) -> Service:
    return replace(make_service(kind), port=port, address=address)


def _fleet(*services: tuple[ServiceKind, int], address: str = "") -> Fleet:
    """Three hosts that run the same services, at one address or each at its own."""
    fleet = make_fleet({"db1": (), "db2": (), "db3": ()}, external=("app",))
    hosts = tuple(
        replace(host, services=tuple(_service(kind, port, address or host.name) for kind, port in services))
        for host in fleet.hosts
    )
    return replace(fleet, hosts=hosts)


def _named(names: Mapping[str, Sequence[str]]) -> dict[str, LeafChain]:
    """The servers' leaves, with further names in them."""
    return {
        server: replace(chain, leaf=replace(chain.leaf, names=(server, *names.get(server, ()))))
        for server, chain in CHAIN.servers.items()
    }


def _text(fleet: Fleet, names: Mapping[str, Sequence[str]], phase: Phase | None = None) -> str:
    connection = Connection("app", "orders", ways(fleet, _named(names)))
    return readme(CHAIN.clients["app"], CHAIN.server_bundle, connection, phase)


def test_a_name_that_several_servers_carry_is_a_vip_s() -> None:
    """One entry for each kind of service that all of its carriers run, by the name and their port."""
    fleet = _fleet((POSTGRESQL, 5432), (PGBOUNCER, 6432))
    found = ways(fleet, _named({"db1": ["db.example", "10.0.0.1"], "db2": ["db.example"], "db3": ["db3.example"]}))
    assert [(way.label, way.places) for way in found] == [
        ("postgresql", (("db1", 5432), ("db2", 5432), ("db3", 5432))),
        ("pgbouncer", (("db1", 6432), ("db2", 6432), ("db3", 6432))),
        ("vip", (("db.example", 5432),)),
        ("vip-pgbouncer", (("db.example", 6432),)),
    ]
    assert found[2].carriers == ("db1", "db2")


def test_names_that_lead_nowhere_are_no_vip() -> None:
    """Wildcards, this machine's own names, another server's name; an address only where no DNS name is shared."""
    shared = ["*.example", "localhost", "127.0.0.1", "::1", "db3"]
    assert {way.label for way in ways(_fleet((POSTGRESQL, 5432)), _named({"db1": shared, "db2": shared}))} == {
        "postgresql"
    }
    both = {"db1": ["10.0.0.9", "db.example"], "db2": ["10.0.0.9", "db.example"]}
    assert [way.places for way in ways(_fleet((POSTGRESQL, 5432)), _named(both))][1:] == [(("db.example", 5432),)]
    address = {"db1": ["10.0.0.9"], "db2": ["10.0.0.9"]}
    assert [way.places for way in ways(_fleet((POSTGRESQL, 5432)), _named(address))][1:] == [(("10.0.0.9", 5432),)]


def test_several_vips_are_told_apart_by_their_names() -> None:
    """Two entries of one name in a service file would hide each other."""
    names = {"db1": ["rw.example", "ro.example"], "db2": ["rw.example"], "db3": ["ro.example"]}
    labels = [way.label for way in ways(_fleet((POSTGRESQL, 5432)), _named(names))]
    assert labels == ["postgresql", "vip-rw.example", "vip-ro.example"]


def test_a_service_whose_address_is_the_vip_is_reached_by_the_vip_s_name_alone() -> None:
    """The inventory says that all three listen at one address, so a host's own name leads elsewhere."""
    names = {server: ["db.example"] for server in ("db1", "db2", "db3")}
    found = ways(_fleet((HAPROXY, 5000), address="10.0.0.9"), _named(names))
    assert [(way.label, way.places) for way in found] == [("vip", (("db.example", 5000),))]


def test_each_way_has_an_entry_and_addresses_with_its_own_options() -> None:
    """The primary is looked for among servers; a proxy that begins with TLS is spoken to so; a VIP is one place."""
    fleet = _fleet((POSTGRESQL, 5432), (HAPROXY, 5000))
    text = _text(fleet, {"db1": ["db.example"], "db2": ["db.example"]})
    sections = {
        name: text[text.index(f"[app-{name}]") :].split("\n\n", 1)[0].splitlines() for name in ("postgresql", "haproxy")
    }
    assert "host=db1,db2,db3" in sections["postgresql"]
    assert "target_session_attrs=read-write" in sections["postgresql"]
    assert "sslnegotiation=direct" in sections["haproxy"]
    assert text.count("TLS begins at once there") == text.count("sslnegotiation=direct") == 2
    assert all("sslmode=verify-full" in lines for lines in sections.values())
    vip = text[text.index("[app-vip]") :]
    assert "target_session_attrs" not in vip.split("\n\n", 1)[0]
    assert (
        "jdbc:postgresql://db.example:5432/orders?user=app&sslmode=verify-full&sslrootcert=root.crt"
        "&sslcert=app.crt&sslkey=app.pk8\n" in vip
    )
    assert text.count("&sslkey=app.p12&sslpassword=PASSPHRASE\n") == 4


def test_while_everything_is_replaced_at_once_there_are_no_phases() -> None:
    """Nothing that the certificate at hand may still be used for is told: it is refused."""
    connection = Connection("app", "orders", ways(_fleet((POSTGRESQL, 5432)), _named({})))
    told = readme(CHAIN.clients["app"], CHAIN.server_bundle, connection, Phase.RETIRED, is_replaced=True)
    assert "your present certificate is refused from now on. Install all files" in " ".join(told.split())
    assert "course" not in told
    assert "works as well" not in told


@pytest.mark.parametrize(
    ("phase", "told"),
    [
        (None, "Install all files, together."),
        (Phase.ISSUED, "Nothing to do."),
        (Phase.OVERLAP, "Install root.crt"),
        (Phase.SERVERS, "delivered in the next phase, not before"),
        (Phase.CLIENTS, "Install all files of a new delivery, together"),
        (Phase.RETIRED, "The previous certificate is refused."),
    ],
)
def test_every_phase_says_what_to_do_now_and_what_will_come(phase: Phase | None, told: str) -> None:
    """What is to be done now stands by itself; the whole course stands below, the present phase marked."""
    text = _text(_fleet((POSTGRESQL, 5432)), {}, phase)
    now, course = text.split("WHAT TO DO NOW", 1)[1].split("A refresh of the chain takes this course", 1)
    assert told in " ".join(now.split())
    serial = f"{CHAIN.clients['app'].leaf.serial:x}"
    is_for_who_lacks_it = f"whose serial is not {serial}, install all files" in " ".join(now.split())
    assert is_for_who_lacks_it is (phase not in (None, Phase.CLIENTS))
    assert [each for each in Phase if f"\n> {each}" in course] == ([phase] if phase else [])
    assert all(f" {each} " in course for each in Phase)
    assert max(map(len, course.split("DIRECT", 1)[0].splitlines())) <= 120
