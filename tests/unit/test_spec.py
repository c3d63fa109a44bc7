"""Chain specs in every shape that chainsmith reads; any other is refused with file, key and fix."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rechain.errors import SpecError
from rechain.spec import KeyType, digest, parse_spec
from rechain.usages import JAVA_KEY_USAGES
from tests.specs import PGVILLAGE, WHERE, no_hosts, parse, small

STEADY = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def test_pgvillages_own_spec_is_read() -> None:
    """Servers with their names and addresses, clients in order, usages as written."""
    spec = parse(PGVILLAGE)
    assert spec.servers == {"db-1.local": ("db-1.local", "172.30.1.31"), "db-2.local": ("db-2.local", "172.30.1.32")}
    assert spec.clients == ("postgres", "avchecker", "applicatie")
    assert spec.client.key_usages == ("keyEncipherment", "dataEncipherment", "digitalSignature")
    assert spec.client.extended_key_usages == ("clientAuth",)
    assert spec.subject.common_name == "postgres"


def test_what_is_missing_gets_what_postgresql_and_java_need() -> None:
    """Each side has its purpose, both the three key usages of Java; RSA 3072; 10 years, 5 years, 365 days."""
    spec = parse(small())
    assert spec.server.extended_key_usages == ("serverAuth",)
    assert spec.client.extended_key_usages == ("clientAuth",)
    for side in (spec.server, spec.client):
        assert side.key_usages == JAVA_KEY_USAGES
        assert (side.key, side.lifetime_days, side.leaf_days) == (KeyType.RSA_3072, 5 * 365, 365)
    assert (spec.root_key, spec.root_days) == (KeyType.RSA_3072, 3650)


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"db1": None, "db2": []}, {"db1": (), "db2": ()}),
        (
            {"db1": ["10.0.0.1", "db1.example.com", "2001:DB8::1"]},
            {"db1": ("10.0.0.1", "db1.example.com", "2001:db8::1")},
        ),
        ({"10.0.0.1": None}, {"10.0.0.1": ()}),
    ],
)
def test_servers_are_a_mapping_or_null_with_lists_or_null(
    servers: Any, expected: Mapping[str, tuple[str, ...]]
) -> None:
    """All of chainsmith's ways to write servers."""
    assert parse(small({"servers": servers})).servers == expected


def test_intermediates_are_told_apart_by_name_in_any_order() -> None:
    """The Go version writes them in any order; a mapping of names is read too."""
    listed = small()
    listed["intermediates"].reverse()
    mapped = {"intermediates": {side["name"]: {**side, "name": None} for side in small()["intermediates"]}}
    for side in mapped["intermediates"].values():
        del side["name"]
    assert parse(listed) == parse(mapped) == parse(small())


def test_intermediates_of_other_names_are_told_apart_by_what_they_hold() -> None:
    """`servers` makes it the servers' one, `clients` the clients'."""
    spec = parse(small({"name": "pg-hosts"}, {"name": "pg-users"}))
    assert (list(spec.servers), spec.clients) == (["db1.example.com"], ("postgres",))


def test_spellings_of_all_versions_are_one_key() -> None:
    """All of chainsmith's: keyUsages, key_usages and keyusages; words in lists may differ in case."""
    for key in ("extendedKeyUsages", "extended_key_usages", "extendedkeyusages"):
        assert parse(small({key: ["SERVERAUTH", "critical"]})).server.extended_key_usages == ("serverAuth",)


def test_keys_and_lifetimes_by_spec_and_by_intermediate() -> None:
    """The top level is for all, an intermediate's own goes first; Go's root_expiry is understood."""
    spec = parse(
        small(
            {"key": "ECDSA P-256", "lifetime": "90d", "intermediate_lifetime": "2y"},
            key="RSA 4096",
            lifetime="52w",
            root_expiry="87600h",
        )
    )
    assert (spec.root_key, spec.server.key, spec.client.key) == (
        KeyType.RSA_4096,
        KeyType.ECDSA_P256,
        KeyType.RSA_4096,
    )
    assert (spec.server.leaf_days, spec.server.lifetime_days) == (90, 730)
    assert (spec.client.leaf_days, spec.client.lifetime_days, spec.root_days) == (364, 1825, 3650)


@pytest.mark.parametrize("place", ["server", "top"])
@pytest.mark.parametrize("key", ["hosts", "environment"])
def test_hosts_adds_the_inventorys_servers(place: str, key: str) -> None:
    """`hosts:` here or at the top level adds hosts that the spec does not name itself."""
    asked: list[str] = []

    def hosts(path: str) -> Mapping[str, tuple[str, ...]]:
        asked.append(path)
        return {"db1.example.com": ("10.9.9.9",), "db2.example.com": ("10.0.0.2",)}

    pointer = {key: "environments/poc/hosts"}
    document = small(pointer) if place == "server" else small() | pointer
    spec = parse_spec(document, WHERE, hosts)
    assert spec.servers == {"db1.example.com": (), "db2.example.com": ("10.0.0.2",)}
    assert asked == ["environments/poc/hosts"]


def test_the_environments_inventory_stands_in_for_missing_servers() -> None:
    """The spec that pgvillage ships names no server: its script points chainsmith at the environment's inventory."""
    hosts = {"hosts-of-poc": {"db1": ("10.0.0.1",)}}
    document = small({"servers": {}})
    assert parse_spec(document, WHERE, hosts.__getitem__, inventory="hosts-of-poc").servers == {"db1": ("10.0.0.1",)}
    named = parse_spec(small(), WHERE, no_hosts, inventory="hosts-of-poc")
    assert list(named.servers) == ["db1.example.com"]


def test_a_client_intermediate_without_client_auth_is_refused_with_the_reason() -> None:
    """The runbook's serverAuth-only list makes client leaves that PostgreSQL refuses."""
    with pytest.raises(SpecError) as refusal:
        parse(small(client={"extendedKeyUsages": ["serverAuth"]}))
    line = str(refusal.value)
    assert line.startswith(f"{WHERE}: intermediates.client.extendedKeyUsages: clientAuth is missing")
    assert "PostgreSQL refuses" in line
    assert "runbook" in line
    assert refusal.value.fix == "add clientAuth to the list"


_SERVERS = "intermediates.server.servers"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "the spec is empty"),
        ({}, "the spec is empty"),
        ("just text", "expected a mapping, found text"),
        (["a"], "expected a mapping, found a list"),
        ({"chain": {}}, "chain: this nested shape is not read"),
        ({"subject": {}}, "intermediates: there is no intermediate for servers"),
        ({"intermediates": 3}, "intermediates: expected a list, found a number"),
        ({"intermediates": [{"servers": None}]}, "intermediates[0]: the intermediate has no name"),
        ({"intermediates": [{"name": "x"}]}, "intermediates.x.name: can't tell whether it is for servers or clients"),
        ({"intermediates": [{"name": "server"}]}, "intermediates: there is no intermediate for clients"),
        ({"intermediates": [{"name": "server"}, {"name": "Server"}]}, "two intermediates are for servers"),
        ({"intermediates": [{"name": "server"}, {"name": "client"}]}, "names no server and no client"),
        (small({"extendedKeyUsages": ["clientAuth"]}), "intermediates.server.extendedKeyUsages: serverAuth is missing"),
        (small(client={"keyUsages": ["keyEncipherment"]}), "client.keyUsages: digitalSignature is missing"),
        (small({"extendedKeyUsages": []}), "extendedKeyUsages: names no usage"),
        (small({"keyUsages": ["keyCertSign"]}), "keyUsages[0]: unknown usage 'keyCertSign'"),
        (small({"keyUsages": "digitalSignature"}), "keyUsages: expected a list, found text"),
        (small({"serverz": {}, "x": 1}), "intermediates.server: unknown key 'serverz', 'x'"),
        (small(subjekt={}), "unknown key 'subjekt'"),
        (small({"keyUsages": None, "key_usages": None}), "the key is there twice"),
        (
            small({"clients": ["postgres"]}),
            "intermediates.server.clients: clients in the intermediate of the other side",
        ),
        (small(client={"servers": {"db1": None}}), "client.servers: servers in the intermediate of the other side"),
        (small({"servers": ["db1"]}), f"{_SERVERS}: expected a mapping, found a list"),
        (small({"servers": {"db1": "10.0.0.1"}}), f"{_SERVERS}.db1: expected a list, found text"),
        (small({"servers": {"db1": [10.1]}}), "expected text, found a float 10.1"),
        (small({"servers": {"db1": ["10.0.0.300/24"]}}), "is neither a DNS name nor an IP address"),
        (small({"servers": {"büro": None}}), "is neither a DNS name nor an IP address"),
        (small({"servers": {7: None}}), "the key 7 is a number, not text"),
        (small({"servers": {"x." * 33: None}}), "is neither a DNS name"),
        (small({"servers": {"x" * 60 + ".example": None}}), "has 68 characters"),
        (small(client={"clients": [True]}), "clients[0]: expected text, found yes/no True"),
        (small(client={"clients": ["chain"]}), "'chain' is the bundle's key"),
        (small(client={"clients": ["app/OU=x"]}), "holds a slash"),
        (small(client={"clients": "postgres"}), "expected a list, found text"),
        (small(key="rsa-1024"), "key: 'rsa-1024' is no key that can be made"),
        (small({"key": "ed25519"}), "intermediates.server.key: 'ed25519'"),
        (small(lifetime="soon"), "'soon' is no lifetime"),
        (small(lifetime=True), "True is no lifetime"),
        (small(lifetime="12h"), "'12h' is 0 days"),
        (small(lifetime="200y"), "'200y' is 73000 days"),
        (small(lifetime="6y"), "a server leaf would live 2190 days, its intermediate 1825"),
        (small(client={"intermediate_lifetime": "11y"}), "the client intermediate would live 4015 days, the root 3650"),
    ],
)
def test_a_shape_that_cannot_be_served_is_refused_in_one_line(document: object, message: str) -> None:
    """The line names the file, the key and what was found."""
    with pytest.raises(SpecError, match=re.escape(message)) as refusal:
        parse(document)
    assert str(refusal.value).startswith(f"{WHERE}: ")
    assert len(str(refusal.value).splitlines()) == 1
    assert refusal.value.fix


def test_a_client_named_twice_is_one_client() -> None:
    """Chainsmith makes one certificate for it; so is ours."""
    assert parse(small(client={"clients": ["app", "app", "postgres"]})).clients == ("app", "postgres")


def test_the_digest_tells_changes_and_not_order() -> None:
    """A generation that was issued from another spec is found; a reordered file is no other spec."""
    reordered = copy.deepcopy(PGVILLAGE)
    reordered["intermediates"].reverse()
    reordered["intermediates"][0]["clients"].reverse()
    reordered["intermediates"][1]["keyUsages"].reverse()
    assert digest(parse(reordered)) == digest(parse(PGVILLAGE))
    reordered["intermediates"][0]["clients"].append("new")
    assert digest(parse(reordered)) != digest(parse(PGVILLAGE))
    assert digest(parse(small(key="rsa-2048"))) != digest(parse(small()))
    assert digest(parse(small(lifetime="90d"))) != digest(parse(small()))


_YAML: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=6,
)
_KEYS = ["subject", "intermediates", "key", "lifetime", "root_lifetime", "tmpdir", "chain"]
_SIDE_KEYS = ["servers", "clients", "key", "lifetime", "keyUsages", "extendedKeyUsages", "name"]


@STEADY
@given(st.dictionaries(st.sampled_from(_KEYS), _YAML), st.dictionaries(st.sampled_from(_SIDE_KEYS), _YAML))
def test_whatever_yaml_holds_is_a_spec_or_a_refusal_in_one_line(top: dict[str, Any], side: dict[str, Any]) -> None:
    """No value in any place crashes the parser."""
    assert len(outcome({**small(side, dict(side)), **top}).splitlines()) == 1


def outcome(document: object) -> str:
    """The digest of a spec, or its refusal."""
    try:
        return digest(parse(document))
    except SpecError as refusal:
        return str(refusal)
