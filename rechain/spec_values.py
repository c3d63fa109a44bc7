"""The values of a chain spec: each read once, or refused with file, key and fix."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from rechain.errors import SpecError

_LONGEST_NAME = 64  # ub-common-name, RFC 5280 appendix A
_LONGEST_DAYS = 36_500
_DAYS = {"": 1, "d": 1, "w": 7, "y": 365}
_LIFETIME = re.compile(r"(\d{1,6})\s*([dwyh]?)")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_LIKE_AN_ADDRESS = re.compile(r"[0-9]+(?:\.[0-9]+)+\.?")
_MISTAKEN = re.compile(r"^[-.~]|\{[{%]")
_BREAKS_NAME = re.compile(r"[\x00-\x1f\x7f/]")


class KeyType(StrEnum):
    """The keys that can be made."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    ECDSA_P256 = "ecdsa-p256"


_KEY_TYPES = {"".join(filter(str.isalnum, key_type)): key_type for key_type in KeyType} | {
    "p256": KeyType.ECDSA_P256,
    "prime256v1": KeyType.ECDSA_P256,
    "secp256r1": KeyType.ECDSA_P256,
}


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the spec and where it stands.

    Attributes:
        value: What the YAML parser made of it.
        where: The spec file.
        path: Its key, dotted, as in `intermediates.client.extendedKeyUsages`; empty for the whole document.
    """

    value: object
    where: str
    path: str = ""

    def refused(self, what: str, fix: str) -> SpecError:
        """The error that names file, key and fix."""
        return SpecError(self.where, f"{self.path}: {what}" if self.path else what, fix)

    def child(self, name: object, value: object) -> Node:
        """A value inside this one."""
        shown = str(name) if str(name).isprintable() else repr(name)
        return Node(value, self.where, f"{self.path}.{shown}" if self.path else shown)

    def fields(self, known: Collection[str]) -> dict[str, Node]:
        """The entries of a mapping by normal key: lower case, without `_` and `-`, as chainsmith has had them all.

        Raises:
            SpecError: It is no mapping, or holds a key that is unknown or there twice.
        """
        fields: dict[str, Node] = {}
        unknown = []
        for name, value in self.mapping():
            normal = re.sub("[_-]", "", name.lower())
            if normal in fields:
                raise self.child(name, value).refused("the key is there twice, in two spellings", "keep one of them")
            if normal not in known:
                unknown.append(name)
            fields[normal] = self.child(name, value)
        if unknown:
            raise self.refused(f"unknown key {', '.join(map(repr, unknown))}", "remove it, or correct its spelling")
        return fields

    def mapping(self) -> Iterator[tuple[str, object]]:
        """The entries of a mapping; none for null. Raises SpecError for anything else and for keys not text."""
        if self.value is None:
            return
        if not isinstance(self.value, Mapping):
            raise self.refused(f"expected a mapping, found {_kind(self.value)}", "write it as `name: value` lines")
        for name, value in self.value.items():
            if not isinstance(name, str):
                raise self.refused(f"the key {name!r} is {_kind(name)}, not text", "put it in quotes")
            yield name, value

    def items(self) -> tuple[Node, ...]:
        """The items of a list; none for null. Raises SpecError for anything else."""
        if self.value is None:
            return ()
        if not isinstance(self.value, list):
            raise self.refused(f"expected a list, found {_kind(self.value)}", "write it as `- item` lines")
        return tuple(Node(value, self.where, f"{self.path}[{place}]") for place, value in enumerate(self.value))

    def text(self) -> str:
        """A text that is not empty. Raises SpecError for anything else."""
        if not isinstance(self.value, str):
            raise self.refused(f"expected text, found {_kind(self.value)} {self.value!r}", "put it in quotes")
        text = self.value.strip()
        if not text:
            raise self.refused("is empty", "give it a value, or remove it")
        return text


def _kind(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "yes/no", int: "a number", type(None): "nothing"}
    return names.get(type(value), f"a {type(value).__name__}")


def key_type(node: Node) -> KeyType:
    """Read a `key:`, as in `rsa-3072`, `RSA 4096` or `ECDSA P-256`. Raises SpecError."""
    found = _KEY_TYPES.get("".join(filter(str.isalnum, node.text().lower())))
    if found is None:
        raise node.refused(f"{node.value!r} is no key that can be made", f"choose one of {', '.join(KeyType)}")
    return found


def days(node: Node) -> int:
    """Read a lifetime: `365d`, `52w`, `10y` (of 365 days), `8760h`, or a number of days.

    Raises:
        SpecError: It is none of these, less than a day, or more than 100 years.
    """
    value = node.value
    text = str(value).strip().lower() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    match = _LIFETIME.fullmatch(text)
    if match is None:
        raise node.refused(f"{value!r} is no lifetime", "write it as 365d, 52w, 10y or 8760h")
    number, unit = int(match[1]), match[2]
    found = number // 24 if unit == "h" else number * _DAYS[unit]
    if not 1 <= found <= _LONGEST_DAYS:
        raise node.refused(f"{value!r} is {found} days", "choose between 1d and 100y")
    return found


def usages(node: Node, known: Collection[str]) -> tuple[str, ...]:
    """Read a list of usages in any case; OpenSSL's word `critical` is understood and left to the issuer.

    Raises:
        SpecError: It is no list, names an unknown usage, or none at all.
    """
    by_lower = {name.lower(): name for name in known} | {"contentcommitment": "nonRepudiation"}
    found = []
    for item in node.items():
        word = item.text().lower()
        if word == "critical":
            continue
        if word not in by_lower or by_lower[word] not in known:
            raise item.refused(f"unknown usage {item.value!r}", f"use some of {', '.join(known)}")
        found.append(by_lower[word])
    if not found:
        raise node.refused(
            "names no usage", "list what the leaves need, or remove the key to get what PostgreSQL needs"
        )
    return tuple(dict.fromkeys(found))


def leaf_name(node: Node) -> str:
    """Read the name of a server or client: it becomes a CN and a key of certs.yml.

    Raises:
        SpecError: It is no text, too long, `chain` (which certs.yml uses for the bundle), or can't be part of a name.
    """
    name = node.text()
    if len(name) > _LONGEST_NAME:
        raise node.refused(f"{name!r} has {len(name)} characters, a common name {_LONGEST_NAME}", "shorten it")
    if name == "chain":
        raise node.refused("'chain' is the bundle's key in certs.yml", "choose another name")
    if _MISTAKEN.search(name):
        raise node.refused(
            f"{name!r} would be taken for an option, a folder or a template",
            "begin with another character, leave {{ out",
        )
    if _BREAKS_NAME.search(name):
        raise node.refused(f"{name!r} holds a slash or a control character", "choose a name without")
    return name


def alternative_name(node: Node) -> str:
    """Read a DNS name or an IP address of a server, in its normal form.

    Raises:
        SpecError: It is neither.
    """
    name = node.text()
    if "%" in name:
        raise node.refused(f"{name!r} has a scope, which no certificate can hold", "leave it out, from % on")
    try:
        return str(ip_address(name))
    except ValueError:
        if _LIKE_AN_ADDRESS.fullmatch(name):  # RFC 3696 section 2: no top-level domain is a number
            raise node.refused(f"{name!r} looks like an IPv4 address and is none", "correct the address") from None
        if _DNS_NAME.fullmatch(name):
            return name
    raise node.refused(f"{name!r} is neither a DNS name nor an IP address", "write one, international names as xn--…")
