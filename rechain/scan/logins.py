"""The logins that a fleet should accept: who presents what, and who trusts what, on both sides of each.

What is served now counts before what lies on disk, and that before what the repository holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rechain.certificate import Bundle, Certificate, LeafChain
from rechain.fleet import ServiceKind
from rechain.scan.case import Case, name_of
from rechain.scan.seen import CrlFile, SetOnHost, Text, Use, listeners

_LOGIN_KINDS = (ServiceKind.POSTGRESQL, ServiceKind.PGBOUNCER)


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """One side of a login.

    Attributes:
        name: The client's name, or the endpoint's.
        chain: What it presents.
        trusts: What it trusts.
        crls: Revocation lists that it judges by.
        asks_for_login: Whether clients of the spec log in there; to HAProxy and etcd they only connect.
    """

    name: str
    chain: LeafChain
    trusts: Bundle
    crls: tuple[CrlFile, ...] = ()
    asks_for_login: bool = True


def servers(case: Case) -> Iterator[Peer]:
    """Every endpoint of the inventory whose leaf and bundle are known from anywhere; without it, every server."""
    if case.seen.fleet is None:
        yield from _servers_of_repository(case)
        return
    served = {one.listener: one.chain for one in case.seen.served}
    on_disk = {one.endpoint: one for _, one in case.seen.sets if one.endpoint}
    for listener in listeners(case.seen.fleet):
        one = on_disk.get(listener.endpoint)
        name = listener.endpoint.server_name
        chain = served.get(listener) or _on_disk(one, "cert_text") or _entry(case, Use.SERVER_LEAF, name)
        trusts = _on_disk(one, "ca_text") or _entry(case, Use.CLIENT_BUNDLE, None)
        if chain and trusts:
            crls = one.crls if one else ()
            yield _peer(str(listener.endpoint), chain, trusts, crls, listener.kind in _LOGIN_KINDS)


def _servers_of_repository(case: Case) -> Iterator[Peer]:
    """The servers that certs.yml names, for a scan that does not read the inventory."""
    trusts = _entry(case, Use.CLIENT_BUNDLE, None)
    for text in case.seen.texts:
        is_server = text.use is Use.SERVER_LEAF and text.generation is None and text.name
        if is_server and text.certificates and trusts:
            yield _peer(text.name or "", text.certificates, trusts)


def clients(case: Case) -> Iterator[Peer]:
    """Every client whose leaf and bundle are known: by the files on each of its hosts, or by the repository."""
    seen: set[str] = set()
    for _, one in case.seen.sets:
        if not one.is_server and one.cert_text.certificates and one.ca_text.certificates:
            seen.add(one.name)
            yield _peer(one.name, one.cert_text.certificates, one.ca_text.certificates, one.crls)
    trusts = _entry(case, Use.SERVER_BUNDLE, None)
    for text in case.seen.texts:
        is_other = text.use is Use.CLIENT_LEAF and text.generation is None and text.name not in seen
        if is_other and text.certificates and trusts:
            seen.add(text.name or "")
            yield _peer(text.name or name_of(text.certificates[0]), text.certificates, trusts)


def _peer(
    name: str,
    presents: tuple[Certificate, ...],
    trusts: tuple[Certificate, ...],
    crls: tuple[CrlFile, ...] = (),
    asks_for_login: bool = True,
) -> Peer:
    return Peer(name, LeafChain(presents[0], presents[1:]), Bundle(trusts), crls, asks_for_login)


def _on_disk(one: SetOnHost | None, which: str) -> tuple[Certificate, ...]:
    text: Text | None = getattr(one, which, None)
    return text.certificates if text else ()


def _entry(case: Case, use: Use, name: str | None) -> tuple[Certificate, ...]:
    of_now = (text for text in case.seen.texts if text.generation is None)
    return next((text.certificates for text in of_now if text.use is use and text.name == name), ())
