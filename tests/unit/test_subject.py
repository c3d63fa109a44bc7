"""Subjects in OpenSSL's style become the names that OpenSSL would make of them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rechain.errors import SpecError
from rechain.subject import parse_subject

STEADY = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
_TEXT = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="\\"), min_size=1, max_size=30)


def attributes(value: object, common_name: str = "db1") -> list[tuple[str, str]]:
    """The attributes of a leaf's name, in order, as dotted OID and value."""
    return [
        (attribute.oid.dotted_string, str(attribute.value))
        for attribute in parse_subject(value, "spec").named(common_name)
    ]


def oids(*names: x509.ObjectIdentifier) -> list[str]:
    """Dotted OIDs."""
    return [name.dotted_string for name in names]


def test_smuggled_attributes_stand_behind_the_value_that_smuggled_them() -> None:
    """`C: NL/postalCode=3721 MA` is a country, then a postal code; the CN is the leaf's."""
    found = attributes({"C": "NL/postalCode=3721 MA", "L": "Town/street=Road 1", "O": "Co", "CN": "postgres"})
    expected = oids(
        NameOID.COUNTRY_NAME,
        NameOID.POSTAL_CODE,
        NameOID.LOCALITY_NAME,
        NameOID.STREET_ADDRESS,
        NameOID.ORGANIZATION_NAME,
        NameOID.COMMON_NAME,
    )
    assert found == list(zip(expected, ["NL", "3721 MA", "Town", "Road 1", "Co", "db1"], strict=True))


@pytest.mark.parametrize(
    ("kind", "oid"),
    [
        ("PC", NameOID.POSTAL_CODE),
        ("STREET", NameOID.STREET_ADDRESS),
        ("SERIAL", NameOID.SERIAL_NUMBER),
        ("UID", NameOID.USER_ID),
        ("emailAddress", NameOID.EMAIL_ADDRESS),
        ("dc", NameOID.DOMAIN_COMPONENT),
    ],
)
def test_types_of_either_chainsmith_are_known(kind: str, oid: x509.ObjectIdentifier) -> None:
    """The Go version's own keys and OpenSSL's names are attributes, in any case."""
    assert (oid.dotted_string, "7") in attributes({kind: 7, "CN": "postgres"})


def test_a_slash_that_begins_no_attribute_is_a_slash() -> None:
    """A company may be called AC/DC, and a backslash makes any slash literal."""
    assert attributes({"O": "AC/DC", "OU": "a\\/O=b"}) == [
        (NameOID.ORGANIZATION_NAME.dotted_string, "AC/DC"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME.dotted_string, "a/O=b"),
        (NameOID.COMMON_NAME.dotted_string, "db1"),
    ]


def test_an_openssl_string_is_the_same_as_its_mapping() -> None:
    """Both are what chainsmith's Python version takes; empty and null values are left out."""
    mapping = {"C": "NL", "ST": None, "O": "Company, Inc.", "OU": "", "CN": "postgres"}
    assert attributes("/C=NL/O=Company, Inc./CN=postgres") == attributes(mapping)


def test_a_plus_joins_attributes_into_one_rdn() -> None:
    """OpenSSL 3 reads `+TYPE=` as a second attribute of the same RDN."""
    name = parse_subject("/O=Company/CN=x+UID=3", "spec").named("db1")
    assert [len(list(rdn)) for rdn in name.rdns] == [1, 2]


def test_without_a_common_name_it_is_postgres_and_last() -> None:
    """As in chainsmith; the CA's names are made from it."""
    subject = parse_subject({"O": "Company"}, "spec")
    assert subject.common_name == "postgres"
    assert attributes({"O": "Company"})[-1] == (NameOID.COMMON_NAME.dotted_string, "db1")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"O": "Company/CN=postgres", "CN": "x"}, "2 common names"),
        ({"X": "1"}, "unknown type 'X'"),
        ({"O": "Company/colour=red"}, "unknown type 'colour'"),
        ({"C": False}, "subject.C: expected text, found bool False"),
        ({"C": "NLD"}, "length must be"),
        ({"O": "Company\\"}, "lone backslash"),
        ({"O": "two\nlines"}, "line break"),
        ({"SERIAL": "é"}, "characters that its type can't"),
        ({"O": "x" * 65}, "has 65 characters"),
        ({"CN": "x" * 60}, "no room for the generation"),
        ("CN=postgres", "no OpenSSL subject"),
        ("/postgres", "names no attribute"),
        (["CN"], "expected a mapping, found list"),
    ],
)
def test_what_no_name_can_hold_is_refused_in_one_line(value: Any, message: str) -> None:
    """The line names the file, what is wrong, and the fix."""
    with pytest.raises(SpecError, match=re.escape(message)) as refusal:
        parse_subject(value, "spec")
    assert str(refusal.value).startswith("spec: subject")
    assert "\n" not in str(refusal.value)


@STEADY
@given(st.dictionaries(st.sampled_from(["ST", "L", "O", "OU", "STREET"]), _TEXT))
def test_escaped_values_come_through_unchanged(values: dict[str, str]) -> None:
    """With its slashes and pluses escaped, any text is just that text, and nothing is smuggled."""
    escaped = {kind: re.sub(r"([/+])", r"\\\1", text) for kind, text in values.items()}
    assert [value for _, value in attributes(escaped)] == [*values.values(), "db1"]


@STEADY
@given(_TEXT, st.lists(st.tuples(st.sampled_from(["street", "OU", "postalCode"]), _TEXT), max_size=4))
def test_smuggling_is_the_same_as_writing_it_out(first: str, smuggled: list[tuple[str, str]]) -> None:
    """Values joined into one string give the attributes that were joined."""
    assume(not any("=" in text or "+" in text for text in (first, *(text for _, text in smuggled))))
    joined = first + "".join(f"/{kind}={text}" for kind, text in smuggled)
    assert [value for _, value in attributes({"O": joined})] == [first, *(text for _, text in smuggled), "db1"]


@STEADY
@given(st.one_of(st.text(), st.dictionaries(st.text(), st.one_of(st.none(), st.booleans(), st.integers(), st.text()))))
def test_any_other_text_is_a_name_or_a_refusal(value: Any) -> None:
    """Nothing that YAML can hold crashes the parser, and a refusal is one line."""
    assert len(outcome(value).splitlines()) == 1


def outcome(value: object) -> str:
    """The name's DER as hex, or the refusal."""
    try:
        return parse_subject(value, "spec").named("db1").public_bytes().hex()
    except SpecError as refusal:
        return str(refusal)
