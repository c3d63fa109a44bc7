"""What an issued generation says, extension by extension, and whether it is critical."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rechain.certificate import Certificate
from rechain.generation import Side
from rechain.issue import Issued, PrivateKey, issue, issue_intermediate, issue_leaf, issue_root, key_types
from rechain.spec import ChainSpec, KeyType
from rechain.x509_parts import public_key_digest
from tests.specs import PGVILLAGE, parse, small

NOW = datetime(2026, 3, 1, 12, 0, 0, 654321, tzinfo=UTC)

STEADY = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def keys(count: int) -> list[PrivateKey]:
    """Keys made in this process; their type does not matter to what the certificates say."""
    return [ec.generate_private_key(ec.SECP256R1()) for _ in range(count)]


@cache
def pgvillage(number: int = 2) -> Issued:
    """A generation of pgvillage's spec."""
    spec = parse(PGVILLAGE)
    return issue(spec, number, now=NOW, keys=keys(len(key_types(spec))))


def parsed(certificate: Certificate) -> x509.Certificate:
    """The certificate as an independent parser sees it."""
    return x509.load_pem_x509_certificate(certificate.pem.encode())


def all_certificates(issued: Issued) -> list[Certificate]:
    """Root, intermediates, leaves."""
    generation = issued.generation
    intermediates = [generation.bundle(side).certificates[0] for side in Side]
    leaves = [chain.leaf for side in Side for chain in generation.leaves(side).values()]
    return [generation.server_bundle.certificates[1], *intermediates, *leaves]


ROOT, SERVER_CA, CLIENT_CA, DB1, DB2, POSTGRES, AVCHECKER, APPLICATIE = range(8)
CAS, LEAVES = (ROOT, SERVER_CA, CLIENT_CA), (DB1, DB2, POSTGRES, AVCHECKER, APPLICATIE)


def certificate(place: int) -> x509.Certificate:
    """One certificate of pgvillage's second generation."""
    return parsed(all_certificates(pgvillage())[place])


@pytest.mark.parametrize(("place", "path_length"), [(ROOT, 1), (SERVER_CA, 0), (CLIENT_CA, 0)])
def test_cas_may_sign_certificates_and_crls_and_nothing_else(place: int, path_length: int) -> None:
    """Critical basicConstraints with the path length, critical keyUsage (RFC 5280 section 4.2.1.3 and 9)."""
    constraints = certificate(place).extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=path_length)
    usage = certificate(place).extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert bits(usage.value) == {"key_cert_sign", "crl_sign"}


@pytest.mark.parametrize("place", LEAVES)
def test_leaves_are_no_cas_and_have_javas_three_usages(place: int) -> None:
    """Critical basicConstraints CA:FALSE, critical keyUsage as the spec lists it."""
    constraints = certificate(place).extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    usage = certificate(place).extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert bits(usage.value) == {"digital_signature", "key_encipherment", "data_encipherment"}


def bits(usage: x509.KeyUsage) -> set[str]:
    """Names of the bits that are set."""
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"]
    return {name for name in [*names, "key_cert_sign", "crl_sign"] if getattr(usage, name)}


@pytest.mark.parametrize(
    ("place", "purpose"),
    [
        (SERVER_CA, "1.3.6.1.5.5.7.3.1"),
        (DB1, "1.3.6.1.5.5.7.3.1"),
        (CLIENT_CA, "1.3.6.1.5.5.7.3.2"),
        (POSTGRES, "1.3.6.1.5.5.7.3.2"),
    ],
)
def test_intermediates_have_the_purpose_of_their_leaves(place: int, purpose: str) -> None:
    """So a certificate of the servers' chain can't log in; not critical, and the root has none."""
    usage = certificate(place).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert [oid.dotted_string for oid in usage.value] == [purpose]
    assert not usage.critical
    with pytest.raises(x509.ExtensionNotFound):
        certificate(ROOT).extensions.get_extension_for_class(x509.ExtendedKeyUsage)


@pytest.mark.parametrize("place", range(8))
def test_issuers_are_found_by_key(place: int) -> None:
    """SKI on all; AKI with the issuer's SKI on all but the root; neither critical."""
    chain = {DB1: SERVER_CA, DB2: SERVER_CA, SERVER_CA: ROOT, CLIENT_CA: ROOT}
    ski = certificate(place).extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert not ski.critical
    assert ski.value.digest == x509.SubjectKeyIdentifier.from_public_key(certificate(place).public_key()).digest
    if place == ROOT:
        with pytest.raises(x509.ExtensionNotFound):
            certificate(place).extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        return
    aki = certificate(place).extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    issuer = certificate(chain.get(place, CLIENT_CA))
    issuer_ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert not aki.critical
    assert aki.value.key_identifier == issuer_ski
    assert certificate(place).issuer == issuer.subject


def test_a_servers_names_are_its_own_and_the_listed_ones() -> None:
    """Its name once, though the spec lists it again; addresses as addresses; clients have none."""
    names = certificate(DB1).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert not names.critical
    assert list(names.value) == [x509.DNSName("db-1.local"), x509.IPAddress(ip_address("172.30.1.31"))]
    with pytest.raises(x509.ExtensionNotFound):
        certificate(POSTGRES).extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_common_names_are_roles_and_hosts_and_cas_carry_their_generation() -> None:
    """The rest of the subject is the spec's; no two generations share a CA's name."""
    names = [certificate.common_name for certificate in all_certificates(pgvillage())]
    assert names == [
        "postgres root g2", "postgres server g2", "postgres client g2",
        "db-1.local", "db-2.local", "postgres", "avchecker", "applicatie",
    ]  # fmt: skip
    for place in range(8):
        assert certificate(place).subject.get_attributes_for_oid(NameOID.POSTAL_CODE)[0].value == "1261 WZ"
    first, second = (all_certificates(pgvillage(number)) for number in (1, 2))
    assert not {first[place].subject for place in CAS} & {second[place].subject for place in CAS}


def test_serials_are_random_positive_and_long() -> None:
    """At least 64 bits, at most the 20 octets of RFC 5280 section 4.1.2.2, all different."""
    serials = [certificate.serial for number in (1, 2) for certificate in all_certificates(pgvillage(number))]
    assert len(set(serials)) == len(serials)
    assert all(2**64 < serial < 2**159 for serial in serials)


def test_validity_begins_five_minutes_ago_and_lasts_as_the_spec_says() -> None:
    """Hosts' clocks may run behind; 10 years, 5 years, 365 days."""
    begin = NOW.replace(microsecond=0)
    for place, days in {ROOT: 3650, SERVER_CA: 1825, CLIENT_CA: 1825, DB1: 365, POSTGRES: 365}.items():
        assert certificate(place).not_valid_before_utc == begin - timedelta(minutes=5)
        assert certificate(place).not_valid_after_utc == begin + timedelta(days=days)


@STEADY
@given(st.integers(1, 1825))
def test_no_leaf_outlives_its_issuer(age_days: int) -> None:
    """A leaf that is issued late in its intermediate's life ends with it."""
    spec, [root_key, ca_key, key] = parse(small(intermediate_lifetime="1825d")), _KEYS
    root = issue_root(spec, 1, now=NOW, key=root_key)
    authority = issue_intermediate(spec, Side.CLIENT, 1, root, now=NOW, key=ca_key)
    later = NOW + timedelta(days=age_days)
    leaf = issue_leaf(spec, Side.CLIENT, "late", authority, now=later, key=key)
    end = authority.certificate.not_valid_after_utc
    assert leaf.not_after == min(end, later.replace(microsecond=0) + timedelta(days=365))


_KEYS = keys(3)


def test_every_key_fits_its_certificate_and_is_pkcs8() -> None:
    """As `write_generation` will store them: leaves by name, CAs by side."""
    issued = pgvillage()
    for side in Side:
        assert list(issued.keys.of(side)) == list(issued.generation.leaves(side))
        for name, chain in issued.generation.leaves(side).items():
            assert fits(issued.keys.of(side)[name], chain.leaf)
            assert chain.intermediates == issued.generation.bundle(side).certificates[:1]
    root, server, client = all_certificates(issued)[:3]
    assert [
        fits(issued.ca_keys[name], ca)
        for name, ca in zip(("root", "server", "client"), (root, server, client), strict=True)
    ] == [True] * 3


def fits(pem: str, certificate: Certificate) -> bool:
    """Whether a PKCS#8 key is the certificate's."""
    assert pem.startswith("-----BEGIN PRIVATE KEY-----\n")
    return public_key_digest(load_pem_private_key(pem.encode(), None).public_key()) == certificate.public_key


def test_no_key_shows_in_any_text_form() -> None:
    """An Issued that ends up in a log or a traceback tells counts only."""
    issued = pgvillage()
    assert repr(issued) == str(issued) == "Issued(generation 2, PrivateKeys(2 servers, 3 clients))"


def test_a_wrong_number_of_keys_is_a_mistake_of_the_caller() -> None:
    """Not one of the administrator: no certificate is issued."""
    with pytest.raises(ValueError, match="takes 8 keys, 3 were given"):
        issue(parse(PGVILLAGE), 1, now=NOW, keys=keys(3))


def test_key_types_come_in_the_order_of_use() -> None:
    """Root, intermediates, servers, clients, each by the spec."""
    spec: ChainSpec = parse(small({"key": "ecdsa-p256"}, key="rsa-2048"))
    rsa, p256 = KeyType.RSA_2048, KeyType.ECDSA_P256
    assert key_types(spec) == (rsa, p256, rsa, p256, rsa)
