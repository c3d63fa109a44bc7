"""Policies that compare places: the repository, the files on hosts, and what is served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rechain.finding import Finding, Policy, Severity
from rechain.fleet import Endpoint
from rechain.scan.case import Case, Rules, name_of
from rechain.scan.restart import client_problems, restart_problems
from rechain.scan.seen import Served, SetOnHost, Text, Use

rules = Rules()


@rules.policy(
    "served-differs-from-disk",
    Severity.WARNING,
    "a server that was not reloaded, or refused to reload, changes certificates at its next restart, unwatched",
    "reload the service and look again; read its log when that changes nothing",
)
def _served_differs_from_disk(policy: Policy, case: Case) -> Iterator[Finding]:
    on_disk = _server_sets(case)
    for served in _answering(case):
        one = on_disk.get(served.listener.endpoint)
        if one and one.cert_text.certificates and served.chain[0] != one.cert_text.certificates[0]:
            what = f"serves serial {served.chain[0].serial:x}, {one.cert.path} holds {_serial(one.cert_text)}"
            yield policy.found(served.listener.location, what, certificate=served.chain[0].fingerprint)


@rules.policy(
    "disk-differs-from-repository",
    Severity.WARNING,
    "what was installed by hand is undone by the next roll-out, and what was never rolled out protects nobody",
    "roll out what the repository holds, or put into it what the host has",
)
def _disk_differs_from_repository(policy: Policy, case: Case) -> Iterator[Finding]:
    for _, one in case.seen.sets:
        leaf_use = Use.SERVER_LEAF if one.is_server else Use.CLIENT_LEAF
        leaf = _entry(case, leaf_use, one.name)
        if leaf and one.cert_text.certificates and one.cert_text.certificates[0] != leaf.certificates[0]:
            what = f"holds serial {_serial(one.cert_text)}, the repository {_serial(leaf)}"
            found = one.cert_text.certificates[0].fingerprint
            yield policy.found(one.cert_text.location, what, certificate=found)
        bundle = _entry(case, one.ca_text.use, None)
        if bundle and one.ca_text.certificates:
            yield from (policy.found(one.ca_text.location, what) for what in _bundle_difference(one.ca_text, bundle))


def _bundle_difference(disk: Text, wanted: Text) -> Iterator[str]:
    has, should = ({c.fingerprint: c for c in text.certificates} for text in (disk, wanted))
    lacks = [name_of(should[each]) for each in should.keys() - has.keys()]
    besides = [name_of(has[each]) for each in has.keys() - should.keys()]
    if lacks:
        yield f"lacks CAs that the repository's bundle holds: {', '.join(sorted(lacks))}"
    if besides:
        yield f"holds CAs that the repository's bundle does not: {', '.join(sorted(besides))}"


@rules.policy(
    "served-differs-from-repository",
    Severity.WARNING,
    "what is served and not in the repository is refreshed by nobody",
    "roll out what the repository holds; where hosts can be looked at, `--source hosts` tells what lies on disk",
)
def _served_differs_from_repository(policy: Policy, case: Case) -> Iterator[Finding]:
    on_disk = _server_sets(case)
    for served in _answering(case):
        entry = _entry(case, Use.SERVER_LEAF, served.listener.endpoint.server_name)
        if entry and served.listener.endpoint not in on_disk and served.chain[0] != entry.certificates[0]:
            what = f"serves serial {served.chain[0].serial:x}, the repository holds {_serial(entry)}"
            yield policy.found(served.listener.location, what, certificate=served.chain[0].fingerprint)


@rules.policy(
    "would-not-restart",
    Severity.ERROR,
    "a server goes on with the files that it loaded, and the next restart, maybe at 3 a.m., is fatal",
    "mend the file now, while the server still runs; then reload it",
)
def _would_not_restart(policy: Policy, case: Case) -> Iterator[Finding]:
    for host, one in case.seen.sets:
        if one.is_server:
            yield from (policy.found(f"{host.host}: {one.reader}", what) for what in restart_problems(one))


@rules.policy(
    "client-files",
    Severity.ERROR,
    "libpq reads its files at every connect: the next login of this client fails",
    "mend the file, or install the client's set again",
)
def _client_files(policy: Policy, case: Case) -> Iterator[Finding]:
    for host, one in case.seen.sets:
        if not one.is_server:
            yield from (policy.found(f"{host.host}: {one.reader}", what) for what in client_problems(one))


@rules.policy(
    "intermediate-not-served",
    Severity.WARNING,
    "a client whose bundle holds the root alone can't build the chain, and refuses the server",
    "put the intermediate after the leaf in the server's certificate file, and reload",
)
def _intermediate_not_served(policy: Policy, case: Case) -> Iterator[Finding]:
    roots = {ca.subject for ca in case.live.values() if ca.is_ca and ca.is_self_issued}
    for served in _answering(case):
        leaf, *above = served.chain
        if leaf.is_self_issued or leaf.issuer in roots or any(ca.subject == leaf.issuer for ca in above):
            continue
        what = f"serves its leaf without the intermediate that issued it ({leaf.issuer})"
        yield policy.found(served.listener.location, what, certificate=leaf.fingerprint)


@rules.policy(
    "name-not-in-san",
    Severity.ERROR,
    "sslmode=verify-full refuses a server whose certificate does not name the host that the client asked for",
    "add the name to the host in the chain spec and issue anew; names of other hosts beside it do no harm",
)
def _name_not_in_san(policy: Policy, case: Case) -> Iterator[Finding]:
    for served in _answering(case):
        wanted, leaf = served.listener.endpoint.server_name, served.chain[0]
        names = leaf.names or ((leaf.common_name,) if leaf.common_name else ())
        if not any(_matches(name, wanted) for name in names):
            what = f"{wanted} is not among the names of its certificate: {', '.join(names[:5]) or 'it has none'}"
            yield policy.found(served.listener.location, what, certificate=leaf.fingerprint)


def _matches(pattern: str, name: str) -> bool:
    """Whether a name of a certificate covers a host name (RFC 6125 section 6.4.3: a wildcard is one whole label)."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if pattern.startswith("*."):
        return "." in name and name.split(".", 1)[1] == pattern[2:]
    return pattern == name


def _server_sets(case: Case) -> Mapping[Endpoint, SetOnHost]:
    return {one.endpoint: one for _, one in case.seen.sets if one.endpoint is not None}


def _answering(case: Case) -> Iterator[Served]:
    return (served for served in case.seen.served if served.chain)


def _entry(case: Case, use: Use, name: str | None) -> Text | None:
    """What certs.yml holds for a server, a client or (without a name) a bundle; None when it can't be read."""
    of_now = (text for text in case.seen.texts if text.generation is None)
    return next((text for text in of_now if text.use is use and text.name == name and text.certificates), None)


def _serial(text: Text) -> str:
    return f"{text.certificates[0].serial:x}"
