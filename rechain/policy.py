"""All lint policies, and those about chain specs: one small function each, with name, reason and fix.

Adding a rule is adding a function. A rule yields what it found, in words; nothing when all is well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rechain.certificate_policy import certificate_policies, lint_certificates
from rechain.errors import RechainError
from rechain.finding import Finding, Policy, Severity
from rechain.generation import Side
from rechain.scan.rules import scan_policies
from rechain.spec import ChainSpec, wrong_usages
from rechain.usages import CLIENT_AUTH, JAVA_KEY_USAGES, SERVER_AUTH

__all__ = ["Finding", "Policy", "Severity", "lint_certificates", "lint_spec", "policies", "unreadable"]

Rule = Callable[[ChainSpec], Iterator[str]]
_RULES: list[tuple[Policy, Rule]] = []

READABLE = Policy(
    "readable", Severity.ERROR, "what can't be read can't be issued, rolled out or verified", "correct the file"
)


def policies() -> tuple[Policy, ...]:
    """All policies, in the order in which they are judged."""
    return (READABLE, *(policy for policy, _ in _RULES), *certificate_policies(), *scan_policies())


def unreadable(error: RechainError) -> Finding:
    """The finding that something could not be read."""
    return READABLE.found(error.where, error.what, error.fix)


def lint_spec(spec: ChainSpec, where: str) -> tuple[Finding, ...]:
    """Judge a chain spec by every policy about specs."""
    return tuple(policy.found(where, what) for policy, rule in _RULES for what in rule(spec))


def _policy(name: str, severity: Severity, reason: str, fix: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.append((Policy(name, severity, reason, fix), rule))
        return rule

    return register


@_policy(
    "spec-tls-usages",
    Severity.ERROR,
    "PostgreSQL refuses a client leaf without clientAuth, though the runbook lists serverAuth alone for both sides; "
    "libpq and Java refuse a server leaf without serverAuth",
    "add the usage that is missing",
)
def _spec_tls_usages(spec: ChainSpec) -> Iterator[str]:
    for key, what, _ in wrong_usages(spec):
        yield f"{key}: {what}"


@_policy(
    "spec-java-key-usages",
    Severity.WARNING,
    "Java clients ask for digitalSignature, keyEncipherment and dataEncipherment on both sides",
    "list all three, or remove keyUsages to get them",
)
def _spec_java_key_usages(spec: ChainSpec) -> Iterator[str]:
    for side in Side:
        missing = [usage for usage in JAVA_KEY_USAGES if usage not in spec.intermediate(side).key_usages]
        if missing:
            yield f"intermediates.{side}.keyUsages: lacks {', '.join(missing)}, which Java clients ask for"


@_policy(
    "spec-one-purpose",
    Severity.WARNING,
    "both sides share the root, so a server's certificate that also says clientAuth logs in as a role of its name",
    "keep serverAuth for servers and clientAuth for clients, where no other service needs both",
)
def _spec_one_purpose(spec: ChainSpec) -> Iterator[str]:
    for side in Side:
        if {SERVER_AUTH, CLIENT_AUTH} <= set(spec.intermediate(side).extended_key_usages):
            yield f"intermediates.{side}.extendedKeyUsages: leaves may act as server and as client"
