"""All policies of a scan, in the order in which they are judged."""

from __future__ import annotations

from collections.abc import Iterator

from rechain.certificate_policy import judge_certificates
from rechain.finding import Finding, Policy, Severity
from rechain.generation import Side
from rechain.scan import rules_of_life, rules_of_places, rules_of_trust
from rechain.scan.case import Case, Rules
from rechain.scan.seen import Source, Text, Use

rules = Rules()
_SIDES = {
    Use.SERVER_LEAF: Side.SERVER,
    Use.SERVER_BUNDLE: Side.SERVER,
    Use.CLIENT_LEAF: Side.CLIENT,
    Use.CLIENT_BUNDLE: Side.CLIENT,
}
_BOOKS = (rules, rules_of_life.rules, rules_of_places.rules, rules_of_trust.rules)


def scan_policies() -> tuple[Policy, ...]:
    """Policies that only a scan can judge; those about single certificates are `certificate_policies`."""
    return tuple(policy for book in _BOOKS for policy in book.policies)


def judge(case: Case) -> Iterator[Finding]:
    """Everything that is found in an environment: about texts and certificates first, then across places."""
    yield from _about_certificates(case)
    for book in _BOOKS:
        yield from book.judge(case)


@rules.policy(
    "not-readable",
    Severity.ERROR,
    "a file that can't be read whole is refused whole by whoever loads it next",
    "replace it by a whole one",
)
def _not_readable(policy: Policy, case: Case) -> Iterator[Finding]:
    for text in (*case.asked_texts, *(text for _, one in case.seen.sets for text in (one.cert_text, one.ca_text))):
        if text.problem:
            yield policy.found(text.location, text.problem)


def _about_certificates(case: Case) -> Iterator[Finding]:
    """The policies about single certificates. What is found of one in many texts is told once, of the first."""
    judged: set[tuple[Side, tuple[str, ...]]] = set()
    told: set[tuple[str, str | None, str]] = set()
    for text in _of_now(case):
        key = (_SIDES[text.use], tuple(one.fingerprint for one in text.certificates))
        if key in judged:
            continue
        judged.add(key)
        for finding in judge_certificates(text.certificates, text.location, now=case.now, side=key[0]):
            about = (finding.policy, finding.certificate, finding.what)
            if about not in told:
                told.add(about)
                yield finding


def _of_now(case: Case) -> Iterator[Text]:
    yield from case.deployed
    for text in case.asked_texts:
        if text.generation is not None and text.generation in (case.seen.current, case.seen.next):
            yield text
    for served in case.seen.served:
        yield Text(Source.WIRE, served.listener.location, Use.SERVER_LEAF, None, served.chain)
