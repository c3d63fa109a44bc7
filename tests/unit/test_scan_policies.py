"""Each policy of a scan: one environment that trips it, and one in which all is well and nothing does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rechain.certificate import Certificate
from rechain.crl import Crl, read_crls
from rechain.finding import Severity
from rechain.policy import policies
from rechain.scan.case import Limits
from rechain.scan.report import Status
from rechain.scan.rules import scan_policies
from rechain.scan.seen import CrlFile, InUse, Listener, Seen, Served, Source, Use
from tests.plugins.authority import Authority, Pair
from tests.scans import (
    CLIENT,
    ENDPOINT,
    LEAF_DAYS,
    LONG,
    SERVER,
    authority,
    client_set,
    entries,
    entry,
    found,
    scanned,
    serving,
    sound,
    with_sets,
)

CASES: dict[str, Callable[[], Seen]] = {}


def case(policy: str) -> Callable[[Callable[[], Seen]], Callable[[], Seen]]:
    """Register the environment that trips a policy."""

    def register(make: Callable[[], Seen]) -> Callable[[], Seen]:
        CASES[policy] = make
        return make

    return register


@case("expires-critical")
def _expires_critical() -> Seen:
    return sound(server=authority().server(SERVER, (-1, 10)))


@case("expires-soon")
def _expires_soon() -> Seen:
    return sound(client=authority().client(CLIENT, days=(-1, 20)))


@case("expired")
def _expired() -> Seen:
    return sound(client=authority().client(CLIENT, days=(-20, -1)))


@case("ca-ends-first")
def _ca_ends_first() -> Seen:
    short = authority("short", (-1, 100))
    return sound(short, short.server(SERVER, LEAF_DAYS), short.client(CLIENT, days=(-1, 90)))


@case("outlives-issuer")
def _outlives_issuer() -> Seen:
    return _ca_ends_first()


@case("clock-skew")
def _clock_skew() -> Seen:
    seen = sound()
    return replace(seen, hosts=(replace(seen.hosts[0], clock_ahead_s=-400.0),))


@case("served-differs-from-disk")
def _served_differs_from_disk() -> Seen:
    return serving(sound(), *_chain(authority().server(SERVER, LEAF_DAYS)))


@case("served-differs-from-repository")
def _served_differs_from_repository() -> Seen:
    other = _chain(authority().server(SERVER, LEAF_DAYS))
    return replace(serving(sound(), *other), hosts=(), sources=frozenset({Source.REPOSITORY, Source.WIRE}))


@case("disk-differs-from-repository")
def _disk_differs_from_repository() -> Seen:
    seen, other = sound(), authority().client(CLIENT, days=LEAF_DAYS)
    return with_sets(seen, seen.hosts[0].sets[0], client_set(other.chain_pem, authority().server_bundle))


@case("would-not-restart")
def _would_not_restart() -> Seen:
    seen = sound()
    server, client = seen.hosts[0].sets
    return with_sets(seen, replace(server, key=replace(server.key, mode=0o644)), client)


@case("client-files")
def _client_files() -> Seen:
    seen = sound()
    server, client = seen.hosts[0].sets
    return with_sets(seen, server, replace(client, pair_problem="private key and first certificate are no pair"))


@case("intermediate-not-served")
def _intermediate_not_served() -> Seen:
    seen = sound()
    return serving(seen, seen.served[0].chain[0])


@case("name-not-in-san")
def _name_not_in_san() -> Seen:
    return sound(server=authority().server("db2.example", LEAF_DAYS))


@case("twin-issuers")
def _twin_issuers() -> Seen:
    old, twin = authority("twins", LONG, False), Authority("twins", LONG, has_aki=False)
    seen = sound(old)
    bundle = entry(Use.CLIENT_BUNDLE, None, twin.client_bundle + old.client_bundle)
    return replace(seen, texts=(bundle, *(text for text in seen.texts if text.use is not Use.CLIENT_BUNDLE)))


@case("retired-ca-in-bundle")
def _retired_ca_in_bundle() -> Seen:
    seen, retired = sound(), authority("retired")
    old = entries(retired, retired.server(SERVER), retired.client(CLIENT), 1)
    server, client = seen.hosts[0].sets
    text = replace(server.ca_text, certificates=(*server.ca_text.certificates, retired.root.value))
    return replace(with_sets(seen, replace(server, ca_text=text), client), texts=(*seen.texts, *old))


@case("client-not-in-repository")
def _client_not_in_repository() -> Seen:
    return replace(sound(), sessions=(InUse(ENDPOINT, "batch", "10.0.0.9", 4711, "/CN=ours clients"),))


@case("crl-expired")
def _crl_expired() -> Seen:
    return _with_crls(-1, -1)


@case("crl-expires")
def _crl_expires() -> Seen:
    return _with_crls(5, 5)


@case("crl-incomplete")
def _crl_incomplete() -> Seen:
    return _with_crls(300, None)


@case("crl-unreadable")
def _crl_unreadable() -> Seen:
    return _with_file(CrlFile("/etc/pki/postgres/root.crl", (), "a revocation list can't be parsed"))


@case("not-readable")
def _not_readable() -> Seen:
    seen = sound()
    broken = replace(seen.texts[1], certificates=(), problem="holds no PEM certificate")
    return replace(seen, texts=(seen.texts[0], broken, *seen.texts[2:]))


def _with_crls(root_days: int, clients_days: int | None) -> Seen:
    ends = [(authority().root, root_days), (authority().clients, clients_days)]
    crls = tuple(_crl(ca, days) for ca, days in ends if days is not None)
    return _with_file(CrlFile("/etc/pki/postgres/root.crl", crls))


def _with_file(crls: CrlFile) -> Seen:
    seen = sound()
    server, client = seen.hosts[0].sets
    return with_sets(seen, replace(server, crls=(crls,)), client)


def _crl(ca: Pair, days: int) -> Crl:
    now = datetime.now(UTC)
    return _unsigned(ca, now - timedelta(days=9), now + timedelta(days=days))


def _unsigned(ca: Pair, begin: datetime, end: datetime) -> Crl:
    return Crl("", ca.value.subject, ca.value.ski, 1, begin, end, frozenset())


def _chain(pair: Pair) -> tuple[Certificate, ...]:
    return (pair.value, pair.issuer.value) if pair.issuer else (pair.value,)


@pytest.mark.parametrize("policy", CASES)
def test_a_policy_trips(policy: str) -> None:
    """The environment made for a policy is found by it, with a place, and with words that a person can act on."""
    findings = [finding for finding in found(CASES[policy]()) if finding.policy == policy]
    assert findings
    assert all(finding.where and finding.what and finding.fix for finding in findings)


def test_nothing_trips_where_all_is_well() -> None:
    """In the sound environment, of which every case is a variation, no policy finds anything."""
    assert found(sound()) == []
    assert scanned(sound()).status is Status.OK


def test_every_policy_of_a_scan_has_a_case() -> None:
    """A policy without a case here could be broken unnoticed."""
    assert {policy.name for policy in scan_policies()} <= CASES.keys()


def test_policies_have_names_of_their_own() -> None:
    """Two policies of one name could not be told apart in a message."""
    names = [policy.name for policy in policies()]
    assert len(names) == len(set(names))


def test_revocation_lists_that_cover_the_bundle_are_no_finding() -> None:
    """One valid list for each CA of the bundle is what PostgreSQL wants."""
    assert found(_with_crls(300, 300)) == []


def test_a_list_is_matched_by_key_where_names_are_equal() -> None:
    """The next generation's CA of the same name needs a list of its own: its key tells it apart."""
    other = Authority("ours", LONG)
    end = datetime.now(UTC) + timedelta(days=300)
    lists = tuple(_unsigned(ca, datetime.now(UTC), end) for ca in (other.root, other.clients))
    assert [one.policy for one in found(_with_file(CrlFile("/x.crl", lists)))] == ["crl-incomplete"]


def test_a_real_list_is_read() -> None:
    """Issuer and end of a revocation list are those that were signed."""
    (crl,) = read_crls(authority().empty_crl(), "root.crl")
    assert crl.issuer == authority().root.value.subject
    assert timedelta(hours=23) < (crl.next_update or datetime.max.replace(tzinfo=UTC)) - datetime.now(UTC)


def test_names_of_other_hosts_on_a_certificate_are_legitimate() -> None:
    """stolon-proxy needs all node names on every server certificate."""
    seen = sound()
    leaf = replace(seen.served[0].chain[0], names=("db9.example", SERVER, "db2.example"))
    assert "name-not-in-san" not in [one.policy for one in found(serving(seen, leaf, *seen.served[0].chain[1:]))]


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        (("*.example",), True), (("DB1.Example",), True), (("db1.example.",), True),
        (("*.db1.example",), False), (("*",), False), (("10.0.0.1",), False),
    ],
)  # fmt: skip
def test_host_names_are_matched_as_libpq_does(names: tuple[str, ...], fits: bool) -> None:
    """A wildcard stands for one whole label, case does not count, and an address is no name."""
    seen = sound()
    leaf = replace(seen.served[0].chain[0], names=names)
    policies = [one.policy for one in found(serving(seen, leaf, *seen.served[0].chain[1:]))]
    assert ("name-not-in-san" not in policies) is fits


def test_a_client_of_an_organisations_own_ca_is_its_own_business() -> None:
    """Its certificate is in no repository and never will be; the bundle says that its CA is trusted on purpose."""
    seen, foreign = sound(), authority("corporate")
    bundle = entry(Use.CLIENT_BUNDLE, None, authority().client_bundle + foreign.client_bundle)
    texts = (bundle, *(text for text in seen.texts if text.generation or text.use is not Use.CLIENT_BUNDLE))
    use = InUse(ENDPOINT, "someone", "10.0.0.9", 4711, "/O=R/CN=corporate clients")
    assert "client-not-in-repository" not in [one.policy for one in found(replace(seen, texts=texts, sessions=(use,)))]


def test_the_overlap_of_a_rotation_is_no_finding_about_retired_cas() -> None:
    """While a rotation is under way both generations' CAs belong into the bundles."""
    seen, upcoming = sound(), authority("upcoming")
    new = entries(upcoming, upcoming.server(SERVER, LEAF_DAYS), upcoming.client(CLIENT, days=LEAF_DAYS), 3)
    server, client = seen.hosts[0].sets
    text = replace(server.ca_text, certificates=(upcoming.root.value, *server.ca_text.certificates))
    state = replace(with_sets(seen, replace(server, ca_text=text), client), texts=(*seen.texts, *new), next=3)
    assert "retired-ca-in-bundle" not in [one.policy for one in found(state)]


def test_a_ca_that_ends_before_the_planned_refresh_is_found_only_when_one_is_planned() -> None:
    """Leaves that end earlier hide it: they would be renewed in time, the CA would not."""
    short = authority("middling", (-1, 300))
    seen = sound(short)
    planned = Limits(next_refresh=datetime.now(UTC) + timedelta(days=400))
    assert "ca-ends-first" not in [one.policy for one in found(seen)]
    assert {one.policy for one in found(seen, planned)} == {"ca-ends-first"}


def test_thresholds_are_the_settings() -> None:
    """The same leaf is fine, a warning or critical, as the thresholds say."""
    seen = sound(client=authority().client(CLIENT, days=(-1, 50)))
    assert found(seen) == []
    assert [one.severity for one in found(seen, Limits(60, 14))] == [Severity.WARNING]
    assert [one.severity for one in found(seen, Limits(60, 55))] == [Severity.ERROR]


def test_a_retired_generation_alarms_nobody() -> None:
    """Expired leaves of a generation that was retired are listed, and that is all."""
    old = authority("gone", (-700, -10))
    seen = sound()
    seen = replace(seen, texts=(*seen.texts, *entries(old, old.server(SERVER, (-700, -10)), old.client(CLIENT), 1)))
    one = scanned(seen)
    assert one.status is Status.OK
    assert old.root.value.fingerprint in {row.certificate.fingerprint for row in one.rows}


def test_each_certificate_is_one_row_with_all_its_places() -> None:
    """Five certificates, each seen in the repository and on the host, the server's chain on the wire too."""
    one = scanned(sound())
    assert len(one.rows) == len({row.certificate.fingerprint for row in one.rows}) == 5
    leaf = next(row for row in one.rows if row.role == "server leaf")
    assert set(leaf.sources) == {Source.REPOSITORY, Source.HOSTS, Source.WIRE}


def _statuses() -> Iterator[tuple[Seen, Status]]:
    yield sound(), Status.OK
    yield CASES["expires-soon"](), Status.WARNING
    yield CASES["expires-critical"](), Status.CRITICAL
    silent = (Served(Listener(ENDPOINT), (), "no answer within 5 s"),)
    yield replace(sound(), served=silent), Status.UNKNOWN
    yield replace(CASES["expires-critical"](), served=silent), Status.CRITICAL
    yield replace(CASES["expires-soon"](), served=silent), Status.WARNING


@pytest.mark.parametrize("number", range(6))
def test_the_worst_decides(number: int) -> None:
    """What is seen to be wrong counts before what is not seen, and that before what is well."""
    seen, status = list(_statuses())[number]
    assert scanned(seen).status is status
