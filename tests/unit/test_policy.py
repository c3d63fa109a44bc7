"""Each lint policy finds what it is about, and nothing in a chain that rechain issued."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rechain.generation import Side
from rechain.issue import issue, key_types
from rechain.policy import Severity, lint_certificates, lint_spec, policies
from rechain.spec import parse_shape
from rechain.usages import key_usage
from tests.specs import PGVILLAGE, WHERE, no_hosts, parse, small

NOW = datetime(2027, 3, 1, tzinfo=UTC)
P256 = ec.generate_private_key(ec.SECP256R1())
JAVA = ("digitalSignature", "keyEncipherment", "dataEncipherment")


def certificate(  # a certificate that every policy likes, but for what a test changes
    common_name: str = "db1",
    issuer: str = "ca",
    *,
    ca: bool = False,
    key: Any = P256,
    days: tuple[int, int] = (-1, 100),
    serial: int = 2**100,
    aki: bool = True,
    usages: tuple[str, ...] = JAVA,
    purposes: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.SERVER_AUTH,),
    san: bool = True,
) -> str:
    """Build a certificate as PEM."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(key_usage(usages), critical=True)
    )
    if aki:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(b"1", None, None), critical=False)
    if purposes and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if san and not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
    return builder.sign(P256, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def authority(common_name: str = "ca", issuer: str | None = None, **changes: Any) -> str:
    """A CA; a root unless it has another issuer."""
    usages = changes.pop("usages", ("keyCertSign", "cRLSign"))
    return certificate(common_name, issuer or common_name, ca=True, usages=usages, **changes)


def broken(text: str, side: Side | None = None) -> list[str]:
    """Names of the policies that a PEM text breaks."""
    return [finding.policy for finding in lint_certificates(text, "f.pem", now=NOW, side=side)]


def test_what_rechain_issues_breaks_no_policy() -> None:
    """Every file that a phase deploys is clean."""
    spec = parse(PGVILLAGE)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in key_types(spec)]
    generation = issue(spec, 1, now=NOW, keys=keys).generation
    for side in Side:
        assert broken(generation.bundle(side).pem) == []
        assert [broken(chain.pem, side) for chain in generation.leaves(side).values()] == [[]] * len(
            generation.leaves(side)
        )


def test_certificates_that_tests_build_break_no_policy() -> None:
    """Otherwise the tests below would show little."""
    assert broken(certificate() + authority()) == []
    assert broken(authority("ca", "root") + authority("root")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (certificate(days=(-9, -1)), ["expired"]),
        (certificate(days=(1, 9)), ["expired"]),
        (certificate() + authority(days=(-1, 99)), ["outlives-issuer"]),
        (certificate() + authority(days=(-1, 100)), []),
        (certificate(key=rsa.generate_private_key(65537, 1024)), ["weak-key"]),  # noqa: S505
        (certificate(key=rsa.generate_private_key(65537, 2048)), []),
        (certificate(key=ec.generate_private_key(ec.SECP192R1())), ["weak-key"]),
        (certificate(key=dsa.generate_private_key(2048)), ["weak-key"]),
        (certificate(aki=False), ["missing-aki"]),
        (authority(aki=False), []),
        (authority() + authority(key=ec.generate_private_key(ec.SECP256R1())), ["same-name-cas"]),
        (authority() + authority(days=(-1, 50)), []),
        (authority("ca", "root"), ["missing-root"]),
        (authority(usages=("digitalSignature",)), ["ca-key-usage"]),
        (certificate(purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)), ["tls-usages"]),
        (certificate(purposes=()), []),
        (certificate(san=False), ["tls-usages"]),
        (certificate(san=False, purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)), []),
        (certificate(usages=("digitalSignature",)), ["java-key-usages"]),
        (certificate(serial=1), ["short-serial"]),
        (authority(serial=1), []),
    ],
)
def test_each_policy_finds_its_fault_alone(text: str, expected: list[str]) -> None:
    """One fault, one finding; its neighbour without the fault has none."""
    assert broken(text) == expected


# Made once, since cryptography signs none, with OpenSSL 3.0; both keys were thrown away:
# openssl x509 -req -in db1.csr -CA ca.pem -CAkey ca.key -sha1 -days 3650 -set_serial 0x123456789abcdef0123456789
#   with basicConstraints=CA:FALSE, keyUsage=Java's three, extendedKeyUsage=serverAuth, subjectAltName=DNS:db1, AKI
SIGNED_BY_SHA1 = """\
-----BEGIN CERTIFICATE-----
MIIDITCCAgmgAwIBAgINASNFZ4mrze8BI0VniTANBgkqhkiG9w0BAQUFADANMQsw
CQYDVQQDDAJjYTAeFw0yNjExMjMyMjA4MjFaFw0zNjExMjAyMjA4MjFaMA4xDDAK
BgNVBAMMA2RiMTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAJwVHurr
+376IWOai/nV9HZBrbNLVeUdrLHsZxwIbGZ1sIPB94uZN1E780R0vF6KJhDZKneX
mZebOT5qVf19UqF13hR5qvoHFQwr5fPnAZj10Bd//OVS51nHA0uaDILjS4cxFGxt
sKArhDJ5s37xbVO5ygXgPcHc8YDGzhF/Iky/ETjdWa/v6+KJkWHUu8JZOUYXkZSK
HZWRyHqEVXeeeEVS3ecotZPD5blowYZkAPHChtaN0OhLRdhommVtRtGS5zegnT1h
GuT/IR6YmYxcHSje/Hp201lJr7p8kGu/vJoveUNjQqi32qQAwfunhv59ElmN3ECN
rkKe1IFs1WBipH0CAwEAAaN/MH0wDgYDVR0RBAcwBYIDZGIxMBMGA1UdJQQMMAoG
CCsGAQUFBwMBMAsGA1UdDwQEAwIEsDAfBgNVHSMEGDAWgBSsRD4WVe8napRqeSnE
X72Z/gKedTAJBgNVHRMEAjAAMB0GA1UdDgQWBBSWtgPC1mhFQIAr7wUO8ED+Q6J+
PDANBgkqhkiG9w0BAQUFAAOCAQEAb7DmedbxMlBIZqr088xSFLonhQZmXdCKHUxY
uoTJUsaCC7Snao6BdfvquD7m9SwOmQ9FkQz1DaJN31dEUG1yj/cOVKdUSIoUYGfJ
nvz8VrTavfn2RZByG18hheKy2wECKwXqhEJljQ/URgAsyDh8a/+mZLPUd2BprbVN
RjiM4vHeUkkzyZWSE/cgSyKmee8jh8RQO+5W+jsXr+SQzQUk82H4A9q+FagJ+Zwj
wMdnUND3vNOPUDJPERQYAXMvJvK5e2HfcHgGAE9EsBKJrv9ydE8EFV+XFw+R61Tf
4y/1mH0JES5HJT4jtgaaJrG004NRww7/JZDV3SRPE3MiNguObg==
-----END CERTIFICATE-----
"""


def test_a_sha1_signature_is_found() -> None:
    """OpenSSL's security level refuses it at the handshake."""
    assert broken(SIGNED_BY_SHA1) == ["weak-signature"]


def test_a_clients_leaf_is_judged_as_such_where_the_side_is_known() -> None:
    """certs.yml says whose it is; its names do not matter then."""
    assert broken(certificate(), Side.SERVER) == []
    assert broken(certificate(), Side.CLIENT) == ["tls-usages"]


def test_a_finding_names_place_certificate_and_fix() -> None:
    """In one line, as every refusal does."""
    [finding] = lint_certificates(certificate(days=(-9, -1)), "server.crt", now=NOW)
    assert str(finding) == "server.crt: db1: expired on 2027-02-28 00:00 UTC (issue the next generation)"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (PGVILLAGE, []),
        (small(client={"extendedKeyUsages": ["serverAuth"]}), [("spec-tls-usages", Severity.ERROR)]),
        (small({"keyUsages": ["keyEncipherment", "dataEncipherment"]}), [
            ("spec-tls-usages", Severity.ERROR), ("spec-java-key-usages", Severity.WARNING),
        ]),
        (small(client={"keyUsages": ["digitalSignature"]}), [("spec-java-key-usages", Severity.WARNING)]),
        (small({"extendedKeyUsages": ["serverAuth", "clientAuth"]}), [("spec-one-purpose", Severity.WARNING)]),
    ],
)  # fmt: skip
def test_policies_about_specs(document: object, expected: list[tuple[str, Severity]]) -> None:
    """All that is wrong with a spec at once, also with one that is refused."""
    found = lint_spec(parse_shape(document, WHERE, no_hosts), WHERE)
    assert [(finding.policy, finding.severity) for finding in found] == expected
    assert all(finding.where == WHERE and finding.fix for finding in found)


def test_the_finding_about_client_auth_explains_the_runbooks_advice() -> None:
    """An administrator who followed the runbook to the letter learns why it does not work."""
    document = small(client={"extendedKeyUsages": ["serverAuth"]})
    [finding] = lint_spec(parse_shape(document, WHERE, no_hosts), WHERE)
    assert "PostgreSQL refuses a client leaf without it" in finding.what
    assert "the runbook's list" in finding.what


def test_every_policy_has_its_own_name_a_reason_and_a_fix() -> None:
    """`rechain lint --list` shows them."""
    assert len({policy.name for policy in policies()}) == len(policies())
    assert all(policy.reason and policy.fix for policy in policies())
