"""The openssl program judges what rechain issues: a builder is never its own oracle."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from itertools import permutations, product
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rechain.certificate import Bundle, Certificate, LeafChain, from_x509
from rechain.generation import Side
from rechain.issue import Authority, Issued, PrivateKey, issue, issue_leaf, key_types
from rechain.spec import ChainSpec, KeyType
from tasks.keys import generate_keys
from tests.specs import PGVILLAGE, parse

PURPOSE = {Side.SERVER: "sslserver", Side.CLIENT: "sslclient"}
NOW = datetime.now(UTC)


@pytest.fixture(scope="module", params=["ecdsa-p256", "rsa-2048"])
def spec(request: pytest.FixtureRequest) -> ChainSpec:
    """The spec of pgvillage with either kind of key."""
    return parse(PGVILLAGE | {"key": request.param})


@pytest.fixture(scope="module")
def generations(spec: ChainSpec) -> tuple[Issued, Issued]:
    """The current and the next generation."""
    current, following = (issue(spec, number, now=NOW, keys=generate_keys(key_types(spec))) for number in (1, 2))
    return current, following


class Judge:
    """`openssl verify`, given a bundle and what a peer presents."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def verdict(self, presented: LeafChain, trusted: Bundle, purpose: str, *options: str) -> str:
        """`OK`, or openssl's reason."""
        files = {"leaf": presented.leaf.pem, "rest": presented.pem, "trusted": trusted.pem}
        for name, text in files.items():
            (self._directory / name).write_text(text)
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, *options]
        command += ["-CAfile", "trusted", "-untrusted", "rest", "leaf"]
        result = subprocess.run(command, cwd=self._directory, capture_output=True, text=True, timeout=30, check=False)
        return "OK" if result.returncode == 0 else result.stderr


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """A judge with a directory of its own."""
    return Judge(tmp_path)


def leaves(issued: Issued) -> list[tuple[Side, str, LeafChain]]:
    """Every leaf of a generation."""
    return [(side, name, chain) for side in Side for name, chain in issued.generation.leaves(side).items()]


def test_every_leaf_serves_its_purpose_and_not_the_other(judge: Judge, generations: tuple[Issued, Issued]) -> None:
    """Servers are servers and clients are clients, by strict RFC 5280 rules; a server's leaf can't log in."""
    for side, name, chain in leaves(generations[0]):
        bundle = generations[0].generation.bundle(side)
        assert judge.verdict(chain, bundle, PURPOSE[side]) == "OK", name
        [other] = set(Side) - {side}
        assert "unsuitable certificate purpose" in judge.verdict(chain, bundle, PURPOSE[other]), name


def test_servers_are_known_by_their_names_and_addresses(judge: Judge, generations: tuple[Issued, Issued]) -> None:
    """What `verify-full` compares: its own name, the listed address, and no other."""
    generation = generations[0].generation
    chain = generation.servers["db-1.local"]
    for option, expected in [
        (("-verify_hostname", "db-1.local"), "OK"),
        (("-verify_ip", "172.30.1.31"), "OK"),
        (("-verify_hostname", "db-2.local"), "hostname mismatch"),
        (("-verify_ip", "172.30.1.32"), "IP address mismatch"),
    ]:
        assert expected in judge.verdict(chain, generation.server_bundle, "sslserver", *option)


def test_in_an_overlap_all_leaves_verify_whatever_the_order(judge: Judge, generations: tuple[Issued, Issued]) -> None:
    """Both generations' CAs in one bundle, in either order: every leaf of either finds its issuer."""
    for order, side in product(permutations(generations), Side):
        overlap = Bundle(tuple(ca for issued in order for ca in issued.generation.bundle(side).certificates))
        for issued in generations:
            for chain in issued.generation.leaves(side).values():
                assert judge.verdict(chain, overlap, PURPOSE[side]) == "OK"


def test_a_retired_generation_is_refused_as_unknown(judge: Judge, generations: tuple[Issued, Issued]) -> None:
    """Generations share no key and no name."""
    current, following = (issued.generation for issued in generations)
    for side in Side:
        for chain in current.leaves(side).values():
            refusal = judge.verdict(chain, following.bundle(side), PURPOSE[side])
            assert "unable to get" in refusal or "self-signed" in refusal


def test_a_client_certificate_below_the_server_intermediate_is_refused(
    judge: Judge, spec: ChainSpec, generations: tuple[Issued, Issued]
) -> None:
    """Who steals the servers' intermediate key can make no client: the intermediate's own EKU forbids it."""
    thief = authority(generations[0], Side.SERVER)
    forged = issue_leaf(spec, Side.CLIENT, "postgres", thief, now=NOW, key=p256())
    chain = LeafChain(forged, generations[0].generation.server_bundle.certificates[:1])
    bundle = generations[0].generation.server_bundle
    assert "unsuitable certificate purpose" in judge.verdict(chain, bundle, "sslclient")


def test_an_intermediate_can_make_no_further_ca(judge: Judge, generations: tuple[Issued, Issued]) -> None:
    """Its path length is 0 (RFC 5280 section 4.2.1.9)."""
    bundle = generations[0].generation.client_bundle
    leaf, below = further_ca(authority(generations[0], Side.CLIENT))
    refusal = judge.verdict(LeafChain(leaf, (below, bundle.certificates[0])), bundle, "sslclient")
    assert "path length constraint exceeded" in refusal


def further_ca(issuer: Authority) -> tuple[Certificate, Certificate]:
    """A client leaf, and a CA below an intermediate that issued it."""
    key = p256()
    ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "further")])
    builder = x509.CertificateBuilder(issuer.certificate.subject, name, key.public_key(), 2**80)
    builder = builder.not_valid_before(NOW - timedelta(minutes=1)).not_valid_after(NOW + timedelta(days=9))
    for extension, critical in (
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),
        (ski, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    certificate = builder.sign(issuer.key, hashes.SHA256())
    leaf = issue_leaf(parse(PGVILLAGE), Side.CLIENT, "postgres", Authority(certificate, key), now=NOW, key=p256())
    return leaf, from_x509(certificate)


def authority(issued: Issued, side: Side) -> Authority:
    """An intermediate that can sign, put together from what a generation's folder holds."""
    key = load_pem_private_key(issued.ca_keys[side].encode(), None)
    assert isinstance(key, PrivateKey)
    pem = issued.generation.bundle(side).certificates[0].pem
    return Authority(x509.load_pem_x509_certificate(pem.encode()), key)


def p256() -> ec.EllipticCurvePrivateKey:
    """A key."""
    return ec.generate_private_key(ec.SECP256R1())


def test_subjects_are_what_openssl_makes_of_them(tmp_path: Path) -> None:
    """The same string, as chainsmith hands it to OpenSSL, gives the same name as ours."""
    fields = {"C": "NL/postalCode=1261 WZ", "ST": "Utrecht", "L": "Blaricum/street=Binnendelta 1u2", "O": "Büro +1"}
    subject = "".join(f"/{kind}={value}" for kind, value in fields.items()).replace("+", "\\+") + "/CN=postgres"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(tmp_path / "key")]
    command = ["openssl", "req", "-x509", "-utf8", *key, "-subj", subject]
    theirs = subprocess.run(command, capture_output=True, timeout=30, check=True).stdout
    ours = parse(PGVILLAGE | {"subject": subject}).subject.named("postgres")
    expected = x509.load_pem_x509_certificate(theirs).subject
    assert [(a.oid, a.value) for a in ours] == [(a.oid, a.value) for a in expected]
    mapping = parse(PGVILLAGE | {"subject": {**fields, "CN": "postgres"}}).subject
    assert mapping.named("postgres") == ours


@pytest.mark.parametrize("kind", list(KeyType))
def test_openssl_finds_every_key_whole(kind: KeyType) -> None:
    """Keys are put together from numbers: `openssl pkey -check` recomputes what belongs together."""
    [key] = generate_keys([kind])
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    command = ["openssl", "pkey", "-check", "-noout"]
    result = subprocess.run(command, input=pem, capture_output=True, timeout=60, check=False)
    assert b"Key is valid" in result.stdout
