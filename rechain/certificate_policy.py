"""Lint policies about certificates: one small function each, with a name, the reason why it exists, and the fix.

Adding a rule is adding a function. A rule yields what it found, in words; nothing when all is well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from rechain.certificate import Certificate, read_certificates
from rechain.finding import Finding, Policy, Severity
from rechain.generation import Side
from rechain.usages import CLIENT_AUTH, JAVA_KEY_USAGES, SERVER_AUTH

_SHORTEST_RSA_BITS, _SHORTEST_EC_BITS = 2048, 224
_SHORTEST_SERIAL_BITS = 56  # a random number of 64 bits may begin with some zeros
_LARGEST_MESSAGE = 100 * 1024  # OpenSSL's SSL_MAX_CERT_LIST_DEFAULT, which neither PostgreSQL nor libpq raises
_DER_OF_PEM = 48 / 65  # bytes in a line of base64, and its characters
_BROKEN_HASHES = frozenset({"md5", "sha1"})


@dataclass(frozen=True, slots=True)
class Presented:
    """A certificate of a PEM text, as rules look at it.

    Attributes:
        certificate: Its value.
        beside: All certificates of the text, in order.
        side: Whose it is, where that is known.
        now: Aware UTC instant that validity is judged at.
    """

    certificate: Certificate
    beside: tuple[Certificate, ...]
    side: Side | None
    now: datetime

    @property
    def is_client(self) -> bool:
        """Whether it is a client's leaf; where nobody says, one without a host's name is."""
        return not self.certificate.names if self.side is None else self.side is Side.CLIENT


Rule = Callable[[Presented], Iterator[str]]
_RULES: list[tuple[Policy, Rule]] = []


def certificate_policies() -> tuple[Policy, ...]:
    """All policies about certificates, in the order in which they are judged."""
    return tuple(policy for policy, _ in _RULES)


def lint_certificates(text: str, where: str, *, now: datetime, side: Side | None = None) -> tuple[Finding, ...]:
    """Judge each certificate of a PEM text by every policy about certificates.

    Args:
        text: One or more PEM certificates.
        where: What to call the text.
        now: Aware UTC instant that validity is judged at.
        side: Whether it is about servers or clients, where that is known.

    Raises:
        PemError: There is no certificate, or one can't be parsed.
    """
    return judge_certificates(read_certificates(text, where), where, now=now, side=side)


def judge_certificates(
    beside: tuple[Certificate, ...], where: str, *, now: datetime, side: Side | None = None
) -> tuple[Finding, ...]:
    """Judge certificates that stand in one text, in its order, as `lint_certificates` does."""
    found = []
    for certificate in beside:
        presented = Presented(certificate, beside, side, now)
        place = f"{where}: {certificate.common_name or certificate.subject}"
        found += [
            policy.found(place, what, certificate=certificate.fingerprint)
            for policy, rule in _RULES
            for what in rule(presented)
        ]
    return tuple(found)


def _policy(name: str, severity: Severity, reason: str, fix: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.append((Policy(name, severity, reason, fix), rule))
        return rule

    return register


@_policy(
    "expired", Severity.ERROR, "every peer refuses a certificate outside its validity", "issue the next generation"
)
def _expired(it: Presented) -> Iterator[str]:
    if it.now > it.certificate.not_after:
        yield f"expired on {it.certificate.not_after:%Y-%m-%d %H:%M} UTC"
    if it.now < it.certificate.not_before:
        yield f"is not valid before {it.certificate.not_before:%Y-%m-%d %H:%M} UTC"


@_policy(
    "outlives-issuer", Severity.WARNING, "a leaf is refused as soon as its issuer has expired", "shorten its lifetime"
)
def _outlives_issuer(it: Presented) -> Iterator[str]:
    if it.certificate.is_self_issued:
        return
    issuers = [ca for ca in it.beside if ca.is_ca and ca.subject == it.certificate.issuer]
    if issuers and it.certificate.not_after > max(ca.not_after for ca in issuers):
        yield f"ends after its issuer, {issuers[0].common_name}, which ends on {issuers[0].not_after:%Y-%m-%d}"


@_policy(
    "weak-key", Severity.ERROR, "OpenSSL's security level 2 refuses RSA below 2048 and EC below 224 bits", "issue anew"
)
def _weak_key(it: Presented) -> Iterator[str]:
    kind, bits = it.certificate.key_kind, it.certificate.key_bits
    shortest = {"RSA": _SHORTEST_RSA_BITS, "EC": _SHORTEST_EC_BITS}.get(kind)
    if kind == "DSA":
        yield "has a DSA key, which TLS no longer knows"
    elif shortest and bits < shortest:
        yield f"has a key of {bits} bits"


@_policy(
    "weak-signature", Severity.ERROR, "OpenSSL's security level 2 refuses signatures by MD5 and SHA-1", "issue anew"
)
def _weak_signature(it: Presented) -> Iterator[str]:
    algorithm = it.certificate.signature_hash
    if algorithm in _BROKEN_HASHES and not it.certificate.is_self_issued:
        yield f"is signed by {algorithm.upper()}"


@_policy(
    "missing-aki",
    Severity.NOTE,
    "with two generations of one DN in a bundle, OpenSSL finds the issuer by AKI alone; without it the overlap itself "
    "breaks logins",
    "rotate to a generation that rechain issues: its CA names differ and it has AKI",
)
def _missing_aki(it: Presented) -> Iterator[str]:
    if it.certificate.aki is None and not it.certificate.is_self_issued:
        yield "has no authority key identifier (AKI)"


@_policy(
    "same-name-cas",
    Severity.WARNING,
    "of CAs with one DN OpenSSL tries a single one, unless every certificate below them has an AKI",
    "give each generation's CAs names of their own",
)
def _same_name_cas(it: Presented) -> Iterator[str]:
    earlier = it.beside[: it.beside.index(it.certificate)]
    twins = [ca for ca in earlier if ca.is_ca and ca.subject == it.certificate.subject]
    if it.certificate.is_ca and any(ca.public_key != it.certificate.public_key for ca in twins):
        yield "has the name of another CA in the file and another key"


@_policy(
    "missing-root",
    Severity.ERROR,
    "PostgreSQL and libpq accept no partial chains: a bundle needs its root",
    "append it",
)
def _missing_root(it: Presented) -> Iterator[str]:
    is_bundle = all(ca.is_ca for ca in it.beside)
    if is_bundle and it.certificate == it.beside[0] and not any(ca.is_self_issued for ca in it.beside):
        yield "the bundle holds no root CA"


@_policy(
    "ca-key-usage", Severity.ERROR, "OpenSSL accepts no issuer whose keyUsage lacks keyCertSign", "issue the CA anew"
)
def _ca_key_usage(it: Presented) -> Iterator[str]:
    if (
        it.certificate.is_ca
        and it.certificate.key_usages is not None
        and "keyCertSign" not in it.certificate.key_usages
    ):
        yield "is a CA whose keyUsage lacks keyCertSign"


@_policy(
    "tls-usages",
    Severity.ERROR,
    "PostgreSQL refuses a client leaf without clientAuth, though the runbook lists serverAuth alone for both sides; "
    "libpq and Java refuse a server leaf without serverAuth",
    "issue it anew from a spec with that usage",
)
def _tls_usages(it: Presented) -> Iterator[str]:
    usages = it.certificate.extended_key_usages
    purpose = CLIENT_AUTH if it.is_client else SERVER_AUTH
    if not it.certificate.is_ca and usages is not None and purpose not in usages:
        yield f"is a {'client' if it.is_client else 'server'} leaf without {purpose}"


@_policy(
    "java-key-usages",
    Severity.WARNING,
    "Java clients ask for digitalSignature, keyEncipherment and dataEncipherment on both sides",
    "issue it anew from a spec that lists all three",
)
def _java_key_usages(it: Presented) -> Iterator[str]:
    usages = it.certificate.key_usages
    if it.certificate.is_ca or usages is None:
        return
    missing = [usage for usage in JAVA_KEY_USAGES if usage not in usages]
    if missing:
        yield f"its keyUsage lacks {', '.join(missing)}, which Java clients ask for"


@_policy(
    "short-serial",
    Severity.NOTE,
    "serials like 01 repeat in every generation, and pg_stat_ssl tells generations apart by serial alone",
    "rotate to a generation that rechain issues",
)
def _short_serial(it: Presented) -> Iterator[str]:
    if it.certificate.serial.bit_length() < _SHORTEST_SERIAL_BITS and not it.certificate.is_self_issued:
        yield f"has the short serial number {it.certificate.serial}"


@_policy(
    "too-large",
    Severity.ERROR,
    "OpenSSL ends a handshake in which a peer presents more than 100 KiB, so no PostgreSQL and no libpq accepts it",
    "issue it anew with fewer names",
)
def _too_large(it: Presented) -> Iterator[str]:
    size = sum(len(one.pem) for one in it.beside) * _DER_OF_PEM
    if size > _LARGEST_MESSAGE and it.certificate == it.beside[0] and not it.certificate.is_ca:
        yield f"takes {size / 1024:.0f} KiB with its chain"
