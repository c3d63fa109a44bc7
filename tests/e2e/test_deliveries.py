"""Deliveries through a whole rotation: Java and psql log in with them, and a client is added on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from lab.environment import ENVIRONMENT, EXTERNAL
from lab.fleet import Lab
from lab.watch import summarise
from rechain.generation import Side
from tasks.repository.generations import read_generation
from tests.plugins.delivered import Delivered, Java, Psql, Session, unpack
from tests.plugins.desk import Desk

NEW, VIP = "rapportage", "db.demo"
_PASSPHRASE = "correct horse, battery staple"


@dataclass(frozen=True)
class Office:
    """Where the owners of external clients work with what they are given."""

    desk: Desk
    java: Java
    psql: Psql
    home: Path

    @property
    def lab(self) -> Lab:
        """The fleet."""
        return self.desk.lab

    def deliver(self, client: str, moment: str) -> Delivered:
        """Have a delivery made, and unpack it."""
        archive = self.home / f"{moment}-{client}.gpg"
        self.desk.run("deliver", ENVIRONMENT, client, "--output", str(archive))
        return unpack(archive, client, _PASSPHRASE, self.home / f"{moment}-{client}")

    def sessions(self, delivered: Delivered) -> list[Session]:
        """What comes of every JDBC address and every service entry of a delivery."""
        lab = self.lab
        own = {endpoint.server_name: endpoint.address for endpoint in lab.endpoints}
        primary = lab.endpoints[0].address
        ways: dict[str, Sequence[str]] = {"postgresql": tuple(own.values())}
        if f"[{delivered.client}-vip]" in delivered.readme:
            ways["vip"] = (primary,)
        by_java = self.java.log_in(delivered, {**own, VIP: primary})
        assert len(by_java) == 2 * len(ways), "the .pk8 and the .p12 for each way"
        return [*by_java, *(self.psql.log_in(delivered, way, addresses) for way, addresses in ways.items())]

    def log_in(self, delivered: Delivered) -> None:
        """Everything logs in to the primary, as the client, with the certificate that was delivered."""
        assert set(self.sessions(delivered)) == {Session(delivered.client, _serial(delivered))}


def _serial(delivered: Delivered) -> int:
    text = (delivered.directory / f"{delivered.client}.crt").read_bytes()
    return x509.load_pem_x509_certificate(text).serial_number


def _roots(delivered: Delivered) -> int:
    """How many CA certificates a delivery trusts."""
    return (delivered.directory / "root.crt").read_text().count("BEGIN CERTIFICATE")


def _edit_spec(lab: Lab, change: Callable[[dict[str, object], list[str]], None]) -> None:
    """Change servers and clients of the chain spec."""
    path = lab.repository.root / "config" / f"chainsmith_{ENVIRONMENT}.yml"
    spec = yaml.safe_load(path.read_text("utf-8"))
    server, client = spec["intermediates"]
    change(server["servers"], client["clients"])
    path.write_text(yaml.safe_dump(spec, sort_keys=False), "utf-8")


def _share_a_name(servers: dict[str, object], _clients: list[str]) -> None:
    for names in servers.values():
        assert isinstance(names, list)
        names.append(VIP)


def _name_new(_servers: dict[str, object], clients: list[str]) -> None:
    clients.append(NEW)


def _leaf(desk: Desk, client: str, generation: int) -> int:
    return read_generation(desk.lab.repository.root, ENVIRONMENT, generation).clients[client].leaf.serial


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_what_is_delivered_logs_in_from_java_and_psql_in_every_phase(
    new_desk: Callable[..., Desk], java: Java, psql: Psql, tmp_path: Path
) -> None:
    """By .pk8, .p12 and PEM, direct and by the name that all servers share, verify-full; nobody else fails meanwhile.

    Adopted from chainsmith's Go style. What is delivered at `overlap` works until `retired`, after which it is
    refused; a client that is added at `overlap` gets leaves of both generations and is carried through.
    """
    desk = new_desk()
    secret = tmp_path / "passphrase"
    secret.write_text(f"{_PASSPHRASE}\n")
    desk = replace(desk, environment={**desk.environment, "RECHAIN_DELIVERY_PASSPHRASE_FILE": str(secret)})
    office, lab = Office(desk, java, psql, tmp_path), desk.lab
    _edit_spec(lab, _share_a_name)
    watcher = lab.run_watcher()

    at_rest = office.deliver(EXTERNAL, "rest")
    office.log_in(at_rest)
    assert _roots(at_rest) == 2
    assert "No refresh of the chain is under way" in at_rest.now

    desk.refresh("--until", "overlap")
    at_overlap = office.deliver(EXTERNAL, "overlap")
    office.log_in(at_overlap)
    assert (_serial(at_overlap), _roots(at_overlap)) == (_serial(at_rest), 4)
    assert "Keep your present certificate and key" in at_overlap.now

    _add_new_client(office)
    desk.trust()
    desk.approve("external-trust", client=NEW)
    desk.refresh("--until", "servers")
    at_servers = office.deliver(EXTERNAL, "servers")
    assert f"host={VIP}" in at_servers.entry("vip")
    for delivered in (at_overlap, at_servers, office.deliver(NEW, "servers")):
        office.log_in(delivered)
    assert _serial(at_servers) == _leaf(desk, EXTERNAL, 1)
    assert "not before" in at_servers.now

    desk.refresh("--until", "clients")
    at_clients = [office.deliver(client, "clients") for client in (EXTERNAL, NEW)]
    for delivered in (*at_clients, at_overlap):
        office.log_in(delivered)
    assert [_serial(one) for one in at_clients] == [_leaf(desk, client, 2) for client in (EXTERNAL, NEW)]
    assert "Install all files" in at_clients[0].now

    lab.owner.take_delivery()
    for client in (EXTERNAL, NEW):
        desk.approve("clients", client=client)
    report = desk.refresh()
    assert (report["resting_phase"], report["canary"]["failed"]) == ("retired", 0)
    at_the_end = office.deliver(EXTERNAL, "end")
    for delivered in (*at_clients, at_the_end):
        office.log_in(delivered)
    assert _roots(at_the_end) == 2
    refused = office.sessions(at_overlap)
    assert {one.user for one in refused} == {""}, "the previous certificate is refused"

    lab.finish(watcher)
    seen = summarise(lab.journal("watch"))
    assert seen.failures == ()
    assert seen.attempted > 200


def _add_new_client(office: Office) -> None:
    """A client that the spec gains in the middle of a rotation: leaves of both generations, the present one in use."""
    desk, lab = office.desk, office.lab
    _edit_spec(lab, _name_new)
    with lab.primary.server.connect() as session:
        session.execute(f'create role "{NEW}" login'.encode())
    deployed = lab.repository.deployed()
    report = desk.refresh("--strategy", "add-clients")
    assert (report["resting_phase"], report["canary"]["failed"]) == ("overlap", 0)
    now = lab.repository.deployed()
    assert all(now[Side.CLIENT][name] == pem for name, pem in deployed[Side.CLIENT].items() if name != "chain")
    assert now[Side.SERVER] == deployed[Side.SERVER]
    fresh = office.deliver(NEW, "overlap")
    office.log_in(fresh)
    assert _serial(fresh) == _leaf(desk, NEW, 1) != _leaf(desk, NEW, 2)
