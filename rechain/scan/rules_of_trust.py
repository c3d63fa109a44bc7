"""Policies about whom servers and clients trust: twins, revocation, retired CAs, and certificates nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from rechain.certificate import Certificate
from rechain.crl import Crl
from rechain.finding import Finding, Policy, Severity
from rechain.scan.case import Case, Rules, name_of
from rechain.scan.seen import CrlFile, SetOnHost, Text, Use

rules = Rules()

_BUNDLES = (Use.SERVER_BUNDLE, Use.CLIENT_BUNDLE)


@rules.policy(
    "twin-issuers",
    Severity.ERROR,
    "of two CAs with one name OpenSSL tries a single one, and without an AKI it can't know which: logins fail",
    "take the CA that is not needed out of the bundle, or issue a generation with names of its own",
)
def _twin_issuers(policy: Policy, case: Case) -> Iterator[Finding]:
    for text in case.deployed:
        for name in _twins(text):
            for child in case.live.values():
                if child.issuer == name and child.aki is None and not child.is_self_issued:
                    what = f"{name_of(child)} has no AKI, and the bundle holds two CAs named {name}"
                    yield policy.found(text.location, what, certificate=child.fingerprint)


def _twins(text: Text) -> set[str]:
    keys: dict[str, set[str]] = {}
    for ca in text.certificates:
        if ca.is_ca:
            keys.setdefault(ca.subject, set()).add(ca.public_key)
    return {name for name, public_keys in keys.items() if len(public_keys) > 1}


@rules.policy(
    "retired-ca-in-bundle",
    Severity.WARNING,
    "who has a key from a retired generation, or from its CA, still logs in",
    "roll out the bundle of the repository; a CA that is in it is removed by a refresh up to `retired`",
)
def _retired_ca_in_bundle(policy: Policy, case: Case) -> Iterator[Finding]:
    retired = _retired(case)
    for text in case.deployed:
        if text.use in _BUNDLES:
            for ca in text.certificates:
                if ca.fingerprint in retired:
                    what = f"still trusts {name_of(ca)} of generation {retired[ca.fingerprint]}, which is retired"
                    yield policy.found(text.location, what, certificate=ca.fingerprint)


def _retired(case: Case) -> dict[str, int]:
    """Fingerprint to generation of the CAs that only generations before the current one have."""
    of_now = (case.seen.current, case.seen.next)
    found: dict[str, int] = {}
    kept: set[str] = set()
    for text in case.seen.texts:
        if text.generation is None or text.use not in _BUNDLES:
            continue
        cas = [ca.fingerprint for ca in text.certificates if ca.is_ca]
        if text.generation in of_now:
            kept.update(cas)
        elif case.seen.current is not None and text.generation < case.seen.current:
            found |= dict.fromkeys(cas, text.generation)
    return {fingerprint: number for fingerprint, number in found.items() if fingerprint not in kept}


@rules.policy(
    "client-not-in-repository",
    Severity.WARNING,
    "a client certificate that the repository does not know is refreshed by nobody, and breaks when its CA goes",
    "find its owner, and add the client to the chain spec",
)
def _client_not_in_repository(policy: Policy, case: Case) -> Iterator[Finding]:
    entries = (certificate for text in case.seen.texts for certificate in text.certificates)
    known = {certificate.serial for certificate in entries}
    foreign = {ca.common_name for ca in _foreign(case) if ca.common_name}
    for use in dict.fromkeys(case.seen.sessions):
        if use.serial in known or any(f"CN={name}" in use.issuer_dn for name in foreign):
            continue
        what = (
            f"{use.user} from {use.address or 'a local socket'} uses serial {use.serial:x}, issued by {use.issuer_dn}"
        )
        yield policy.found(str(use.endpoint), what)


def _foreign(case: Case) -> Iterator[Certificate]:
    """CAs of the client bundle that no generation has: an organisation's own, whose clients are its own business."""
    own = {
        ca.fingerprint for text in case.seen.texts if text.generation is not None for ca in text.certificates
    }  # fmt: skip
    for text in case.seen.texts:
        if own and text.generation is None and text.use is Use.CLIENT_BUNDLE:
            yield from (ca for ca in text.certificates if ca.fingerprint not in own)


@rules.policy(
    "crl-expired",
    Severity.ERROR,
    "an expired revocation list rejects every client, not only the revoked ones",
    "renew the list, or remove the file when nothing reads it",
)
def _crl_expired(policy: Policy, case: Case) -> Iterator[Finding]:
    for where, crl, end in _ending_crls(case):
        if end <= case.now:
            yield policy.found(where, f"the revocation list of {crl.issuer} ended on {end:%Y-%m-%d %H:%M} UTC")


@rules.policy(
    "crl-expires",
    Severity.WARNING,
    "an expired revocation list rejects every client, not only the revoked ones",
    "renew the list before that day",
)
def _crl_expires(policy: Policy, case: Case) -> Iterator[Finding]:
    for where, crl, end in _ending_crls(case):
        if case.now < end <= case.now + timedelta(days=case.limits.warning_days):
            yield policy.found(where, f"the revocation list of {crl.issuer} ends on {end:%Y-%m-%d %H:%M} UTC")


@rules.policy(
    "crl-incomplete",
    Severity.ERROR,
    "with a revocation list in use, every CA of the chain needs one: clients of the generation without are refused",
    "put the lists of all CAs that the bundle holds into the file",
)
def _crl_incomplete(policy: Policy, case: Case) -> Iterator[Finding]:
    for where, one, file in _crl_files(case):
        missing = [ca for ca in one.ca_text.certificates if ca.is_ca and not any(_is_of(crl, ca) for crl in file.crls)]
        if file.crls and missing:
            names = ", ".join(dict.fromkeys(name_of(ca) for ca in missing))
            yield policy.found(where, f"holds no revocation list of these CAs of the bundle: {names}")


def _is_of(crl: Crl, ca: Certificate) -> bool:
    return crl.issuer == ca.subject and (crl.aki is None or ca.ski is None or crl.aki == ca.ski)


@rules.policy(
    "crl-unreadable", Severity.ERROR, "a server does not start with a revocation list it can't read", "renew the file"
)
def _crl_unreadable(policy: Policy, case: Case) -> Iterator[Finding]:
    for where, _, file in _crl_files(case):
        if file.problem:
            yield policy.found(where, file.problem)


def _crl_files(case: Case) -> Iterator[tuple[str, SetOnHost, CrlFile]]:
    for host, one in case.seen.sets:
        for file in one.crls:
            yield f"{host.host}: {file.path}", one, file


def _ending_crls(case: Case) -> Iterator[tuple[str, Crl, datetime]]:
    for where, _, file in _crl_files(case):
        yield from ((where, crl, crl.next_update) for crl in file.crls if crl.next_update)
