"""What rules look at: everything seen of one environment, and every certificate once with all its places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from rechain.certificate import Certificate
from rechain.finding import Finding, Policy, Severity
from rechain.scan.seen import Seen, Source, Text, Use

_SERVED_USE = Use.SERVER_LEAF


@dataclass(frozen=True, slots=True)
class Limits:
    """What counts as late.

    Attributes:
        warning_days: Days left at which a certificate is a warning.
        critical_days: Days left at which it is critical.
        next_refresh: When the next refresh is planned, aware UTC; None when nobody says.
    """

    warning_days: int = 30
    critical_days: int = 14
    next_refresh: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a certificate was seen.

    Attributes:
        source: Which source saw it.
        location: Where, as a person would name it.
        use: What the text or chain that holds it is for.
    """

    source: Source
    location: str
    use: Use


@dataclass(frozen=True)
class Case:
    """One environment before the rules.

    Attributes:
        seen: What the sources saw.
        limits: What counts as late.
    """

    seen: Seen
    limits: Limits

    @property
    def now(self) -> datetime:
        """The instant that all is judged at."""
        return self.seen.at

    @property
    def asked_texts(self) -> tuple[Text, ...]:
        """The repository's entries to report; when it was not asked they serve for comparison only."""
        return self.seen.texts if Source.REPOSITORY in self.seen.sources else ()

    @cached_property
    def deployed(self) -> tuple[Text, ...]:
        """Texts that somebody reads now: certs.yml, and the files on hosts."""
        return (
            *(text for text in self.asked_texts if text.generation is None),
            *(text for _, one in self.seen.sets for text in (one.cert_text, one.ca_text)),
        )

    @cached_property
    def live(self) -> Mapping[str, Certificate]:
        """By fingerprint, the certificates that matter: deployed, served, or of the current or the next generation."""
        texts = [*self.deployed, *(text for text in self.asked_texts if self._is_of_now(text))]
        return _by_fingerprint(
            [*(one for text in texts for one in text.certificates), *(c for s in self.seen.served for c in s.chain)]
        )

    @cached_property
    def every(self) -> Mapping[str, Certificate]:
        """By fingerprint, every certificate that was seen, those of retired generations too."""
        return {**self.live, **_by_fingerprint(one for text in self.asked_texts for one in text.certificates)}

    @cached_property
    def places(self) -> Mapping[str, tuple[Place, ...]]:
        """By fingerprint, where a certificate was seen, in the order of the sources, each place once."""
        found: dict[str, dict[Place, None]] = {}
        for certificate, place in self._sightings():
            found.setdefault(certificate.fingerprint, {})[place] = None
        return {fingerprint: tuple(places) for fingerprint, places in found.items()}

    def where(self, certificate: Certificate) -> str:
        """The first place of a certificate, and its name."""
        return f"{self.places[certificate.fingerprint][0].location}: {name_of(certificate)}"

    def days_left(self, moment: datetime) -> int:
        """Whole days until then; negative when it is over."""
        return (moment - self.now) // timedelta(days=1)

    def _is_of_now(self, text: Text) -> bool:
        return text.generation is not None and text.generation in (self.seen.current, self.seen.next)

    def _sightings(self) -> Iterator[tuple[Certificate, Place]]:
        for text in (*(t for t in self.asked_texts if t.generation is None), *self.asked_texts):
            yield from ((one, Place(text.source, text.location, text.use)) for one in text.certificates)
        for _, one in self.seen.sets:
            for text in (one.cert_text, one.ca_text):
                yield from ((each, Place(text.source, text.location, text.use)) for each in text.certificates)
        for served in self.seen.served:
            place = Place(Source.WIRE, served.listener.location, _SERVED_USE)
            yield from ((each, place) for each in served.chain)
        yield from self._in_use()

    def _in_use(self) -> Iterator[tuple[Certificate, Place]]:
        by_serial = {one.serial: one for one in self.every.values() if not one.is_ca}
        for use in self.seen.sessions:
            certificate = by_serial.get(use.serial)
            if certificate:
                yield certificate, Place(Source.SESSIONS, f"session of {use.user} on {use.endpoint}", Use.CLIENT_LEAF)


Rule = Callable[[Case], Iterable[Finding]]


class Rules:
    """Policies with the functions that judge by them: adding a rule is adding a function.

    A rule is given its own policy, and yields findings of it.
    """

    def __init__(self) -> None:
        self._rules: list[tuple[Policy, Callable[[Policy, Case], Iterator[Finding]]]] = []

    def policy(
        self, name: str, severity: Severity, reason: str, fix: str
    ) -> Callable[[Callable[[Policy, Case], Iterator[Finding]]], Callable[[Policy, Case], Iterator[Finding]]]:
        """Register a function as the rule of a policy."""

        def register(
            rule: Callable[[Policy, Case], Iterator[Finding]],
        ) -> Callable[[Policy, Case], Iterator[Finding]]:
            self._rules.append((Policy(name, severity, reason, fix), rule))
            return rule

        return register

    @property
    def policies(self) -> tuple[Policy, ...]:
        """All policies, in the order in which they are judged."""
        return tuple(policy for policy, _ in self._rules)

    def judge(self, case: Case) -> Iterator[Finding]:
        """Everything that is found in an environment."""
        for policy, rule in self._rules:
            yield from rule(policy, case)


def name_of(certificate: Certificate) -> str:
    """What a person calls a certificate."""
    return certificate.common_name or certificate.subject or f"serial {certificate.serial:x}"


def _by_fingerprint(certificates: Iterable[Certificate]) -> dict[str, Certificate]:
    return {certificate.fingerprint: certificate for certificate in certificates}
