"""OpenSSL-style subjects, as chain specs hold them: read once, written as an X.509 name per certificate.

chainsmith joins the subject's keys into `/C=NL/ST=Utrecht/…` and hands that to OpenSSL, so values may smuggle further
attributes: `C: NL/postalCode=3721 MA` is a country and a postal code. A slash that begins no `TYPE=` is a slash.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from rechain.errors import SpecError

_TYPES: Mapping[str, x509.ObjectIdentifier] = {
    "c": NameOID.COUNTRY_NAME,
    "countryname": NameOID.COUNTRY_NAME,
    "st": NameOID.STATE_OR_PROVINCE_NAME,
    "sp": NameOID.STATE_OR_PROVINCE_NAME,
    "stateorprovincename": NameOID.STATE_OR_PROVINCE_NAME,
    "l": NameOID.LOCALITY_NAME,
    "localityname": NameOID.LOCALITY_NAME,
    "o": NameOID.ORGANIZATION_NAME,
    "organizationname": NameOID.ORGANIZATION_NAME,
    "ou": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "organizationalunitname": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "cn": NameOID.COMMON_NAME,
    "commonname": NameOID.COMMON_NAME,
    "pc": NameOID.POSTAL_CODE,
    "postalcode": NameOID.POSTAL_CODE,
    "street": NameOID.STREET_ADDRESS,
    "streetaddress": NameOID.STREET_ADDRESS,
    "serial": NameOID.SERIAL_NUMBER,
    "serialnumber": NameOID.SERIAL_NUMBER,
    "uid": NameOID.USER_ID,
    "userid": NameOID.USER_ID,
    "dc": NameOID.DOMAIN_COMPONENT,
    "domaincomponent": NameOID.DOMAIN_COMPONENT,
    "emailaddress": NameOID.EMAIL_ADDRESS,
    "sn": NameOID.SURNAME,
    "surname": NameOID.SURNAME,
    "gn": NameOID.GIVEN_NAME,
    "givenname": NameOID.GIVEN_NAME,
    "title": NameOID.TITLE,
    "dnqualifier": NameOID.DN_QUALIFIER,
}
_KNOWN = "C, ST, L, O, OU, CN, PC, STREET, SERIAL, UID, DC, emailAddress, SN, GN, title, dnQualifier"

# A separator that starts a further attribute: `/postalCode=`, `+UID=`; backslash escapes (openssl-req(1), -subj).
_TOKEN = re.compile(r"\\(?P<escaped>.)|(?P<separator>[/+])(?P<type>[A-Za-z][A-Za-z0-9.]*)\s*=|(?P<plain>.)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,./:=?-]*")
_IA5 = re.compile(r"[ -~]*")
_ASCII_ONLY = {
    NameOID.COUNTRY_NAME.dotted_string: _PRINTABLE,
    NameOID.SERIAL_NUMBER.dotted_string: _PRINTABLE,
    NameOID.DN_QUALIFIER.dotted_string: _PRINTABLE,
    NameOID.DOMAIN_COMPONENT.dotted_string: _IA5,
    NameOID.EMAIL_ADDRESS.dotted_string: _IA5,
}
# Upper bounds of RFC 5280 appendix A, which OpenSSL holds to as well.
_LONGEST_OTHER = 128
_LONGEST = {
    NameOID.ORGANIZATION_NAME.dotted_string: 64,
    NameOID.ORGANIZATIONAL_UNIT_NAME.dotted_string: 64,
    NameOID.SERIAL_NUMBER.dotted_string: 64,
    NameOID.TITLE.dotted_string: 64,
    NameOID.POSTAL_CODE.dotted_string: 40,
}
_DEFAULT_COMMON_NAME = "postgres"
_LONGEST_COMMON_NAME = 64  # ub-common-name, RFC 5280 appendix A
_ROOM_FOR_GENERATION = 16  # " server g" and the number


@dataclass(frozen=True, slots=True)
class Subject:
    """A distinguished name with a place for the common name.

    Attributes:
        rdns: Relative distinguished names in order, each one or more pairs of dotted OID and value. Exactly one
            holds a common name: the fleet's, from which the CAs' names are made and which a leaf's name replaces.
    """

    rdns: tuple[tuple[tuple[str, str], ...], ...]

    @property
    def common_name(self) -> str:
        """The fleet's common name, `postgres` unless the spec says otherwise."""
        return next(value for rdn in self.rdns for oid, value in rdn if oid == NameOID.COMMON_NAME.dotted_string)

    def named(self, common_name: str) -> x509.Name:
        """The X.509 name with another common name in the same place (RFC 5280 section 4.1.2.6)."""
        return x509.Name(
            x509.RelativeDistinguishedName(_attribute(oid, value, common_name) for oid, value in rdn)
            for rdn in self.rdns
        )

    def renamed(self, common_name: str) -> Subject:
        """The same subject for a fleet of another common name."""
        return Subject(
            tuple(
                tuple((oid, common_name if oid == NameOID.COMMON_NAME.dotted_string else value) for oid, value in rdn)
                for rdn in self.rdns
            )
        )


def _attribute(oid: str, value: str, common_name: str) -> x509.NameAttribute[str]:
    is_common_name = oid == NameOID.COMMON_NAME.dotted_string
    return x509.NameAttribute(x509.ObjectIdentifier(oid), common_name if is_common_name else value)


def parse_subject(value: object, where: str) -> Subject:
    """Read a spec's subject.

    Args:
        value: A mapping of types to values, an OpenSSL string (`/C=NL/CN=postgres`), or None for `CN=postgres`.
        where: The spec file, for errors.

    Raises:
        SpecError: A type is unknown, a value is no text, or a second common name is smuggled in.

    References: openssl-req(1), `-subj`; RFC 4519 for the types.
    """
    rdns: list[list[tuple[str, str]]] = []
    for joint, kind, text in _pairs(value, where):
        oid = _oid(kind, where)
        _refuse_control_characters(kind, text, where)
        if not text:
            continue
        if joint == "+" and rdns:
            rdns[-1].append((oid, text))
        else:
            rdns.append([(oid, text)])
    subject = Subject(tuple(tuple(rdn) for rdn in _with_common_name(rdns, where)))
    _refuse_unencodable(subject, where)
    return subject


def _pairs(value: object, where: str) -> Iterator[tuple[str, str, str]]:
    """Joint (`/` or `+`), type and value of every attribute."""
    if value is None:
        return
    if isinstance(value, str):
        if not value.startswith("/"):
            raise SpecError(
                where, f"subject: {value!r} is no OpenSSL subject", "write it as /C=NL/O=Company/CN=postgres"
            )
        yield from _split("", value, where)
    elif isinstance(value, Mapping):
        for kind, part in value.items():
            _oid(str(kind).strip(), where)
            yield from _split(str(kind).strip(), _text(kind, part, where), where)
    else:
        raise SpecError(
            where, f"subject: expected a mapping, found {type(value).__name__}", "write C, ST, L, O, OU, CN"
        )


def _text(kind: object, part: object, where: str) -> str:
    if part is None:
        return ""
    if isinstance(part, str):
        return part.strip()
    if isinstance(part, int) and not isinstance(part, bool):
        return str(part)
    found = f"subject.{kind}: expected text, found {type(part).__name__} {part!r}"
    raise SpecError(where, found, "put the value in quotes")


def _split(kind: str, text: str, where: str) -> Iterator[tuple[str, str, str]]:
    """Split a value at the separators that begin a further attribute."""
    joint, collected = "/", ""
    for token in _TOKEN.finditer(text):
        if token["plain"] == "\\":
            raise SpecError(where, f"subject.{kind or 'string'}: ends in a lone backslash", "remove it, or double it")
        if token["type"] is None:
            collected += token["escaped"] or token["plain"]
            continue
        if kind:
            yield joint, kind, collected.strip()
        joint, kind, collected = token["separator"], token["type"], ""
    if kind:
        yield joint, kind, collected.strip()
    elif collected:
        raise SpecError(where, f"subject: {text!r} names no attribute", "write it as /C=NL/O=Company/CN=postgres")


def _oid(kind: str, where: str) -> str:
    oid = _TYPES.get(kind.lower())
    if oid is None:
        raise SpecError(
            where, f"subject: unknown type {kind!r}", f"use one of {_KNOWN}; a literal slash is written \\/"
        )
    return oid.dotted_string


def _refuse_control_characters(kind: str, text: str, where: str) -> None:
    if _CONTROL.search(text):
        raise SpecError(where, f"subject.{kind}: holds a control character or a line break", "write it on one line")


def _with_common_name(rdns: list[list[tuple[str, str]]], where: str) -> list[list[tuple[str, str]]]:
    """Exactly one common name: two would let PostgreSQL and a person read different ones."""
    oid = NameOID.COMMON_NAME.dotted_string
    values = [value for rdn in rdns for kind, value in rdn if kind == oid]
    if len(values) > 1:
        raise SpecError(where, f"subject: holds {len(values)} common names, {values}", "keep one CN")
    if not values:
        return [*rdns, [(oid, _DEFAULT_COMMON_NAME)]]
    if len(values[0]) > _LONGEST_COMMON_NAME - _ROOM_FOR_GENERATION:
        limit = _LONGEST_COMMON_NAME - _ROOM_FOR_GENERATION
        raise SpecError(
            where,
            f"subject.CN: {len(values[0])} characters leave no room for the generation",
            f"keep it at {limit} characters or fewer",
        )
    return rdns


def _refuse_unencodable(subject: Subject, where: str) -> None:
    """What X.509 can't hold: a country of three letters, an accent in a serial number, an endless organisation."""
    for oid, value in (pair for rdn in subject.rdns for pair in rdn):
        if oid in _ASCII_ONLY and not _ASCII_ONLY[oid].fullmatch(value):
            raise SpecError(
                where, f"subject: {value!r} holds characters that its type can't", "write it in plain ASCII"
            )
        if len(value) > _LONGEST.get(oid, _LONGEST_OTHER):
            limit = _LONGEST.get(oid, _LONGEST_OTHER)
            raise SpecError(
                where, f"subject: {value[:20]!r}… has {len(value)} characters", f"keep it at {limit} or fewer"
            )
    try:
        subject.named(subject.common_name)
    except ValueError as error:
        message = " ".join(str(error).split()).rstrip(string.punctuation)
        raise SpecError(where, f"subject: X.509 can't hold it: {message}", "correct the value") from None
