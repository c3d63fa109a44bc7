"""The forecast: the first moment at which each login fails if nobody does anything, and because of what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rechain.certificate import Bundle, Certificate, LeafChain
from rechain.scan.case import Case, name_of
from rechain.scan.logins import Peer, clients, servers
from rechain.scan.path import Broken, moments, refusal
from rechain.scan.seen import CrlFile

HORIZON = timedelta(days=730)
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Cause:
    """What ends.

    Attributes:
        what: For a person, as in `client intermediate CA acc-2 has ended`.
        certificate: Its fingerprint; None for a revocation list.
    """

    what: str
    certificate: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Logins that fail from one moment on, because of one cause.

    Attributes:
        at: From when on, aware UTC; the scan's own moment when they fail already.
        cause: Because of what.
        clients: Whose logins; empty where nobody logs in but some service is connected to.
        endpoints: Where, `server_name:port`.
        sentence: All of that for a person.
    """

    at: datetime
    cause: Cause
    clients: tuple[str, ...]
    endpoints: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """What fails within the horizon, the earliest first; each login once, when it fails for the first time.

    Attributes:
        until: The end of the horizon, aware UTC.
        failures: What fails.
        logins: How many logins (client on endpoint) were judged; with 0 nothing could be foretold.
    """

    until: datetime
    failures: tuple[Failure, ...]
    logins: int

    @property
    def sentence(self) -> str:
        """The first failure, or that there is none."""
        if self.failures:
            return self.failures[0].sentence
        if not self.logins:
            return "nothing is foretold: there is no client and server whose certificates could be seen"
        return f"no login fails before {self.until:%Y-%m-%d}"


_When = tuple[datetime, Cause]
_Login = tuple[str, str]


def forecast(case: Case, horizon: timedelta = HORIZON) -> Forecast:
    """Foretell every login of every client on every endpoint, by the dates of what was seen.

    A file of revocation lists beside a server's or client's certificates counts as one that it judges by.
    """
    judge = _Judge(case.now, case.now + horizon)
    first: dict[_When, dict[_Login, None]] = {}
    every: dict[_Login, None] = {}
    for login, failure in _logins(case, judge):
        every[login] = None
        if failure:
            first.setdefault(failure, {})[login] = None
    failures = [
        Failure(at, cause, *_distinct(logins), _sentence(at, cause, logins, list(every), case.now))
        for (at, cause), failing in first.items()
        for logins in _alike(failing)
    ]
    return Forecast(case.now + horizon, tuple(sorted(failures, key=lambda one: (one.at, one.sentence))), len(every))


def _alike(failing: Iterable[_Login]) -> Iterator[list[_Login]]:
    """Logins grouped so that every client of a group fails on every endpoint of it: then one sentence is true."""
    places: dict[str, list[str]] = {}
    for name, place in failing:
        places.setdefault(name, []).append(place)
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, found in places.items():
        groups.setdefault(tuple(found), []).append(name)
    return ([(name, place) for name in names for place in found] for found, names in groups.items())


def _logins(case: Case, judge: _Judge) -> Iterator[tuple[_Login, _When | None]]:
    visitors = tuple(clients(case))
    for server in servers(case):
        if server.asks_for_login:
            yield from (((one.name, server.name), judge.login(server, one)) for one in visitors)
        elif visitors:
            yield ("", server.name), judge.connection(server, visitors[0])


class _Judge:
    """Judges each distinct leaf against each distinct bundle once: a fleet has few of them."""

    def __init__(self, now: datetime, until: datetime) -> None:
        self._now, self._until = now, until
        self._numbers: dict[tuple[str, ...], int] = {}
        self._of_peer: dict[int, tuple[Peer, int, int]] = {}
        self._found: dict[tuple[int, int], _When | None] = {}

    def login(self, server: Peer, client: Peer) -> _When | None:
        """When the client is first refused, or refuses the server."""
        lists = (self._end(file) for file in (*server.crls, *client.crls))
        found = (self._accepts(client, server, "server"), self._accepts(server, client, "client"), *lists)
        return min((one for one in found if one), key=lambda one: one[0], default=None)

    def connection(self, server: Peer, visitor: Peer) -> _When | None:
        """When whoever trusts what this visitor trusts first refuses the server."""
        return self._accepts(visitor, server, "server")

    def _accepts(self, judging: Peer, judged: Peer, side: str) -> _When | None:
        key = (self._known(judged)[1], self._known(judging)[2])
        if key not in self._found:
            self._found[key] = self._search(judged.chain, judging.trusts, side)
        return self._found[key]

    def _known(self, peer: Peer) -> tuple[Peer, int, int]:
        """A peer's chain and bundle as small numbers, equal where their certificates are."""
        if id(peer) not in self._of_peer:
            chain = self._number([peer.chain.leaf, *peer.chain.intermediates])
            self._of_peer[id(peer)] = (peer, chain, self._number(peer.trusts.certificates))
        return self._of_peer[id(peer)]

    def _number(self, certificates: Iterable[Certificate]) -> int:
        return self._numbers.setdefault(tuple(one.fingerprint for one in certificates), len(self._numbers))

    def _search(self, chain: LeafChain, bundle: Bundle, side: str) -> _When | None:
        later = (instant for instant in moments([chain], [bundle]) if self._now < instant <= self._until)
        for moment in (self._now, *later):
            broken = refusal(chain, bundle, moment)
            if broken:
                return moment, _cause(broken, side)
        return None

    def _end(self, file: CrlFile) -> _When | None:
        ends = [(crl.next_update, crl) for crl in file.crls if crl.next_update and crl.next_update <= self._until]
        if not ends:
            return None
        at, crl = min(ends, key=lambda one: one[0])
        return max(at, self._now), Cause(f"the revocation list of {crl.issuer} in {file.path} has ended", None)


def _cause(broken: Broken, side: str) -> Cause:
    certificate = broken.certificate
    kind = "leaf" if not certificate.is_ca else "root CA" if certificate.is_self_issued else "intermediate CA"
    owner = "" if kind == "root CA" else f"{side} "
    return Cause(f"{owner}{kind} {name_of(certificate)} {broken.why}", certificate.fingerprint)


def _sentence(at: datetime, cause: Cause, failing: Sequence[_Login], every: Sequence[_Login], now: datetime) -> str:
    when = "now" if at <= now else f"on {at:%Y-%m-%d}"
    return f"{when} {_who(failing, every)}: {cause.what}"


def _who(failing: Sequence[_Login], every: Sequence[_Login]) -> str:
    """`every login of app on db2:5432 fails`, as short as it is true."""
    names, places = _distinct(failing)
    if not names:
        return f"every connection to {_listed(places)} fails"
    logins = [one for one in every if one[0]]
    if len(failing) == len(logins):
        return "every login fails"
    subject = "every login" if len(names) > 1 and names == _distinct(logins)[0] else f"every login of {_listed(names)}"
    where = "" if places == _distinct(logins)[1] else f" on {_listed(places)}"
    return f"{subject}{where} fails"


def _distinct(logins: Sequence[_Login]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = tuple(dict.fromkeys(name for name, _ in logins if name))
    return names, tuple(dict.fromkeys(place for _, place in logins))


def _listed(names: Sequence[str]) -> str:
    if len(names) > _SHOWN + 1:
        return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
