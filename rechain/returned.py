"""Certificates that an outside CA gave back: found by their keys, and judged before anything is made of them.

Each rule is a small function that yields problems; adding a rule is adding a function. All problems are collected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from rechain.certificate import Certificate, unique
from rechain.errors import ImportRefused
from rechain.generation import Generation, Side
from rechain.signing_request import Requests, Wanted, names_of
from rechain.spec import ChainSpec
from rechain.trust_path import climb, is_root
from rechain.usages import CA_KEY_USAGES, read_as
from rechain.validity import unusable

_SHOWN = 12
_AGAIN = "have the CA issue it again"
_COPY = "from the request (openssl ca: copy_extensions = copy)"


@dataclass(frozen=True, slots=True)
class Found:
    """A certificate and the file that it was found in."""

    certificate: Certificate
    file: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a returned certificate can't be used.

    Attributes:
        about: What was asked for, or which certificate it is about.
        what: What is wrong.
        fix: What to do about it.
    """

    about: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.about}: {self.what}"


@dataclass(frozen=True, slots=True)
class Returned:
    """A certificate that answers a request.

    Attributes:
        certificate: The certificate.
        above: The CAs above it, its issuer first, a self-signed root last.
    """

    certificate: Certificate
    above: tuple[Certificate, ...]


def judge(
    spec: ChainSpec, requests: Requests, found: Sequence[Found], where: str, now: datetime
) -> Mapping[Wanted, Returned]:
    """Find the certificate of every request, and judge it.

    Args:
        spec: What the certificates are to look like.
        requests: What was asked for.
        found: All certificates that came back, in any order, the CA's own among them.
        where: What to call the requests in an error.
        now: Aware UTC instant that validity is judged at.

    Raises:
        ImportRefused: Names every problem.
    """
    authorities = unique(one.certificate for one in found if one.certificate.is_ca).certificates
    answers = {wanted: _answers(found, key) for wanted, key in requests.public_keys.items()}
    problems = [
        *_strayed(spec, requests),
        *_strangers(requests, found),
        *(problem for wanted, each in answers.items() for problem in _number(wanted, each, found)),
    ]
    single = {wanted: each[0] for wanted, each in answers.items() if len(each) == 1}
    cases = [_Case(spec, wanted, one, climb(one, authorities), now) for wanted, one in single.items()]
    problems += [problem for case in cases for rule in _RULES for problem in rule(case)]
    refuse(problems, where)
    return {case.wanted: Returned(case.certificate, case.above) for case in cases}


def same_serials(returned: Mapping[Wanted, Returned], present: Generation) -> Iterator[Problem]:
    """Clients whose new certificate has the serial number of their present one, as two CAs that count may give.

    PostgreSQL tells by nothing else which of the two a session uses.
    """
    for wanted, one in returned.items():
        held = present.clients.get(wanted.name) if wanted.side is Side.CLIENT and wanted.name else None
        if held and held.leaf != one.certificate and held.leaf.serial == one.certificate.serial:
            what = f"has the serial number of the present certificate, {held.leaf.serial:x}: sessions look the same"
            yield Problem(str(wanted), what, f"{_AGAIN}: any other number will do")


def refuse(problems: Sequence[Problem], where: str) -> None:
    """Raise ImportRefused with all problems, unless there are none."""
    if not problems:
        return
    distinct = tuple(dict.fromkeys(problems))
    shown = "; ".join(map(str, distinct[:_SHOWN]))
    more = f"; and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else ""
    fixes = "; ".join(dict.fromkeys(problem.fix for problem in distinct[:_SHOWN]))
    raise ImportRefused(where, f"{len(distinct)} refused: {shown}{more}", fixes, distinct)


def _answers(found: Iterable[Found], public_key: str) -> tuple[Certificate, ...]:
    return unique(one.certificate for one in found if one.certificate.public_key == public_key).certificates


def _strayed(spec: ChainSpec, requests: Requests) -> Iterator[Problem]:
    """Names that the spec has gained or lost since: the next generation would not be what it says."""
    fix = "undo that change of the chain spec until this is imported, or drop the requests: `rechain csr ENV --discard`"
    for side in requests.sides:
        asked = {wanted.name for wanted in requests.public_keys if wanted.side is side}
        if None in asked:
            continue
        for name in asked - set(names_of(spec, side)):
            yield Problem(f"{side} {name}", "was asked for, and is not in the chain spec any more", fix)
        for name in set() if requests.carries else set(names_of(spec, side)) - asked:
            yield Problem(f"{side} {name}", "is in the chain spec, and was not asked for", fix)


def _strangers(requests: Requests, found: Iterable[Found]) -> Iterator[Problem]:
    keys = set(requests.public_keys.values())
    for one in found:
        if not one.certificate.is_ca and one.certificate.public_key not in keys:
            name = one.certificate.common_name or one.certificate.subject
            what = f"the certificate of {name} has the wrong key: it belongs to none of the requests"
            yield Problem(one.file, what, "leave it out, or have the CA certify the request that waits")


def _number(wanted: Wanted, answers: Sequence[Certificate], found: Iterable[Found]) -> Iterator[Problem]:
    if len(answers) > 1:
        serials = ", ".join(f"{one.serial:x}" for one in answers)
        yield Problem(str(wanted), f"there are {len(answers)} certificates of its key ({serials})", "give one of them")
    elif not answers:
        files = [one.file for one in found if wanted.name and one.certificate.common_name == wanted.name]
        hint = f" (the one in {files[0]} has another key)" if files else ""
        yield Problem(str(wanted), f"there is no certificate of its key{hint}", f"have the CA certify {wanted.file}")


@dataclass(frozen=True, slots=True)
class _Case:
    """A certificate of a request, as rules look at it: `above` is as much of its path as there is."""

    spec: ChainSpec
    wanted: Wanted
    certificate: Certificate
    above: tuple[Certificate, ...]
    now: datetime

    def problem(self, what: str, fix: str) -> Problem:
        return Problem(str(self.wanted), what, fix)


def _role(case: _Case) -> Iterator[Problem]:
    if case.wanted.name is not None and case.certificate.is_ca:
        yield case.problem("is a CA certificate (CA:TRUE)", f"{_AGAIN} as a leaf, with CA:FALSE")
    if case.wanted.name is None and not case.certificate.is_ca:
        yield case.problem("is no CA certificate (CA:FALSE)", f"{_AGAIN} as a CA, with CA:TRUE and keyCertSign")


def _common_name(case: _Case) -> Iterator[Problem]:
    """PostgreSQL takes a client's CN for its role; a server may go without one, its names are in the SAN."""
    names, wanted = case.certificate.common_names, case.wanted
    if wanted.name is None or names == (wanted.name,) or (wanted.side is Side.SERVER and not names):
        return
    yield case.problem(f"its CN is {' and '.join(names) or 'missing'}", f"{_AGAIN} with CN {wanted.name} and no other")


def _alternative_names(case: _Case) -> Iterator[Problem]:
    if case.wanted.name is None or case.wanted.side is Side.CLIENT:
        return
    held = {_normal(name) for name in case.certificate.names}
    further = case.spec.servers.get(case.wanted.name, ())
    missing = [name for name in dict.fromkeys((case.wanted.name, *further)) if _normal(name) not in held]
    if missing:
        yield case.problem(f"subjectAltName lacks {', '.join(missing)}", f"{_AGAIN} with the subjectAltName {_COPY}")


def _usages(case: _Case) -> Iterator[Problem]:
    """What the spec asks for must be named: a certificate without the extension could be used for anything."""
    side, certificate = case.spec.intermediate(case.wanted.side), case.certificate
    purposes, bits = certificate.extended_key_usages, certificate.key_usages
    if case.wanted.name is None:
        yield from _missing(case, "keyUsage", CA_KEY_USAGES, bits)
        if purposes is not None:  # without, an intermediate may be above leaves of any purpose
            yield from _missing(case, "extendedKeyUsage", side.extended_key_usages, purposes)
        return
    yield from _missing(case, "keyUsage", side.key_usages, bits)
    yield from _missing(case, "extendedKeyUsage", side.extended_key_usages, purposes)


def _missing(case: _Case, kind: str, asked: Sequence[str], held: frozenset[str] | None) -> Iterator[Problem]:
    lacking = [name for name in asked if held is None or _held_as(kind, name) not in held]
    if lacking:
        fix = f"{_AGAIN} with the {kind} {_COPY}, or ask for less in the chain spec"
        yield case.problem(f"{kind} lacks {', '.join(lacking)}", fix)


def _held_as(kind: str, name: str) -> str:
    return read_as(name) if kind == "extendedKeyUsage" else name


def _dates(case: _Case) -> Iterator[Problem]:
    if why := unusable(case.certificate, case.now):
        yield case.problem(why, f"{_AGAIN} with other dates")
    for authority in case.above:
        if why := unusable(authority, case.now):
            yield Problem(f"CA {authority.subject}", why, "ask for certificates of a CA that lives longer")


def _path(case: _Case) -> Iterator[Problem]:
    top = case.above[-1] if case.above else case.certificate
    if not case.above or not is_root(top):
        what = f"the chain is incomplete, there is no certificate of its CA {top.issuer}"
        fix = "add the CA's certificates up to its self-signed root: PostgreSQL and libpq need the root"
        yield case.problem(what, fix)


_RULES: tuple[Callable[[_Case], Iterator[Problem]], ...] = (
    _role,
    _common_name,
    _alternative_names,
    _usages,
    _dates,
    _path,
)


def _normal(name: str) -> str:
    try:
        return str(ip_address(name))
    except ValueError:
        return name.lower()
