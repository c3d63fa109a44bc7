"""Which revocation lists there must be, and when they are signed anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from rechain.certificate import EMPTY, Bundle
from rechain.certs import ForeignCAs, Rotating, bundle, compose
from rechain.crl import Crl, crls_of, newest, read_crls, unlisted
from rechain.errors import PemError
from rechain.generation import Side
from rechain.issue import Issued, issue, key_types
from rechain.phase import Phase
from rechain.revocation import (
    LIFETIME,
    MARGIN,
    Revoked,
    due,
    first_crls,
    leaves_of,
    refused_clients,
    renewed,
    sign,
    signers,
)
from tests.specs import PGVILLAGE, parse

NOW = datetime.now(UTC).replace(microsecond=0)


def _issue(number: int) -> Issued:
    spec = parse(PGVILLAGE | {"key": "ecdsa-p256"})
    return issue(spec, number, now=NOW, keys=[ec.generate_private_key(ec.SECP256R1()) for _ in key_types(spec)])


CURRENT, NEXT = _issue(1), _issue(2)
INTERMEDIATE, ROOT = CURRENT.generation.client_bundle.certificates


def _first(chain: Issued, known: tuple[Crl, ...] = (), **without: str) -> tuple[Crl, ...]:
    kept = {name: key for name, key in chain.ca_keys.items() if name not in without.values()}
    return first_crls(chain.generation.client_bundle, chain.ca_keys, now=NOW, kept=kept, known=known)


def _lists(chain: Issued, *, age: timedelta = timedelta(), number: int = 1) -> tuple[Crl, ...]:
    return tuple(
        sign(authority, (), number=number, now=NOW - age, until=NOW - age + LIFETIME)
        for _, authority in signers(chain.generation.client_bundle, chain.ca_keys)
    )


def _revoked(chain: Issued, client: str = "applicatie") -> list[Revoked]:
    return leaves_of(client, [chain.generation], reason="left", who="dba", now=NOW)


@pytest.mark.parametrize("phase", Phase)
def test_every_ca_of_every_phase_s_bundle_has_its_list(phase: Phase) -> None:
    """A CA without one would have all its clients refused."""
    rotating = Rotating(CURRENT.generation, NEXT.generation, ForeignCAs(), (*_lists(CURRENT), *_lists(NEXT)))
    trusted = bundle(rotating, phase, Side.CLIENT)
    certs = compose(rotating, phase)
    assert unlisted(trusted, certs.crls, NOW) == ()
    assert len(certs.crls) == len(trusted.certificates)


def test_a_ca_without_a_list_or_with_one_that_has_ended_is_named() -> None:
    """With the reason, which is not the same."""
    old, trusted = _lists(CURRENT, age=LIFETIME + timedelta(days=1)), CURRENT.generation.client_bundle
    assert [reason.split(" on ")[0] for _, reason in unlisted(trusted, old, NOW)] == ["its revocation list ended"] * 2
    assert [reason for _, reason in unlisted(trusted, _lists(NEXT), NOW)] == ["there is no revocation list of it"] * 2


def test_a_list_of_another_key_under_the_same_name_does_not_count() -> None:
    """OpenSSL takes the name first, and then refuses the signature."""
    namesake = _issue(1)
    assert newest(CURRENT.generation.client_bundle.certificates[0], _lists(namesake)) is None
    assert crls_of(CURRENT.generation.client_bundle, _lists(namesake)) == ()


def test_a_ca_that_is_carried_over_keeps_the_list_that_names_what_it_revoked() -> None:
    """An empty one beside it would be newer, and let everybody in again; a CA without any gets its first."""
    revoked = _revoked(CURRENT)
    known = renewed(CURRENT.generation.client_bundle, CURRENT.ca_keys, (), revoked, NOW - timedelta(days=1))
    first = _first(CURRENT, known)
    kept = newest(INTERMEDIATE, (*known, *first))
    assert kept is not None
    assert {one.serial for one in revoked} <= kept.serials
    assert len(_first(NEXT, known)) == 2


def test_nothing_is_signed_while_every_list_holds() -> None:
    """Run twice a night, the second time changes nothing."""
    lists = _lists(CURRENT)
    assert due(CURRENT.generation.client_bundle, lists, (), NOW) == EMPTY
    assert renewed(CURRENT.generation.client_bundle, CURRENT.ca_keys, lists, (), NOW) == ()


@given(days=st.integers(0, 200))
def test_a_list_is_renewed_as_soon_as_less_than_its_margin_is_left(days: int) -> None:
    """And is then good for longer than it takes to be due again."""
    lists, moment = _lists(CURRENT), NOW + timedelta(days=days)
    made = renewed(CURRENT.generation.client_bundle, CURRENT.ca_keys, lists, (), moment)
    assert bool(made) is (timedelta(days=days) > LIFETIME - MARGIN)
    assert unlisted(CURRENT.generation.client_bundle, (*lists, *made), moment) == ()


def test_a_revocation_makes_the_list_of_its_ca_due_at_once_and_no_other() -> None:
    """The root's list stays; the number grows."""
    lists, revoked = _lists(CURRENT, number=7), _revoked(CURRENT)
    (made,) = renewed(CURRENT.generation.client_bundle, CURRENT.ca_keys, lists, revoked, NOW)
    assert made.serials == {CURRENT.generation.clients["applicatie"].leaf.serial}
    assert (made.issuer, made.number) == (INTERMEDIATE.subject, 8)
    again = renewed(CURRENT.generation.client_bundle, CURRENT.ca_keys, (*lists, made), revoked, NOW)
    assert again == ()


def test_what_was_revoked_once_is_on_every_later_list() -> None:
    """A renewal does not let anybody in again."""
    lists, revoked = _lists(CURRENT), _revoked(CURRENT)
    first = renewed(CURRENT.generation.client_bundle, CURRENT.ca_keys, lists, revoked, NOW)
    later = renewed(CURRENT.generation.client_bundle, CURRENT.ca_keys, (*lists, *first), revoked, NOW + LIFETIME)
    (of_clients,) = [one for one in later if one.issuer == INTERMEDIATE.subject]
    assert of_clients.serials == first[0].serials


def test_a_ca_whose_key_is_not_kept_signs_nothing() -> None:
    """The others do, all the same."""
    only = {"client": CURRENT.ca_keys["client"]}
    made = renewed(CURRENT.generation.client_bundle, only, (), (), NOW)
    assert [one.issuer for one in made] == [INTERMEDIATE.subject]
    assert renewed(CURRENT.generation.client_bundle, {}, (), (), NOW) == ()


@pytest.mark.parametrize("dropped", ["root", "client"])
def test_a_ca_whose_key_is_discarded_signs_a_list_for_its_whole_life(dropped: str) -> None:
    """Nobody could renew it, and it would stop every client."""
    ends = {crl.issuer: crl.next_update for crl in _first(CURRENT, dropped=dropped)}
    soon = NOW + LIFETIME
    assert ends[ROOT.subject] == (ROOT.not_after if dropped == "root" else soon)
    assert ends[INTERMEDIATE.subject] == (INTERMEDIATE.not_after if dropped == "client" else soon)


def test_no_list_outlives_its_ca() -> None:
    """Nor is it due for ever once its CA is about to end."""
    ((_, authority), _) = signers(CURRENT.generation.client_bundle, CURRENT.ca_keys)
    crl = sign(authority, (), number=1, now=NOW, until=NOW + 100 * LIFETIME)
    assert crl.next_update == INTERMEDIATE.not_after
    assert due(Bundle((INTERMEDIATE,)), [crl], (), INTERMEDIATE.not_after - timedelta(days=1)) == EMPTY


def test_a_list_is_read_as_it_was_signed() -> None:
    """Number, dates and serials survive the file; garbage is refused in words."""
    lists = _lists(CURRENT)
    assert read_crls("text\n".join(one.pem for one in lists), "root.crl") == lists
    broken = lists[0].pem.replace("CRL-----\nM", "CRL-----\nA", 1)
    with pytest.raises(PemError, match=r"root\.crl: a revocation list can't be parsed"):
        read_crls(broken, "root.crl")


def test_neighbouring_phases_differ_in_lists_only_where_their_bundles_do() -> None:
    """A phase that changes no bundle touches no list."""
    rotating = Rotating(CURRENT.generation, NEXT.generation, ForeignCAs(), (*_lists(CURRENT), *_lists(NEXT)))
    for before, after in pairwise(Phase):
        same = bundle(rotating, before, Side.CLIENT) == bundle(rotating, after, Side.CLIENT)
        assert (compose(rotating, before).crls == compose(rotating, after).crls) is same


def test_a_client_whose_revoked_leaf_is_the_deployed_one_is_known() -> None:
    """Whether it belongs to a generation, or still lies in certs.yml alone: nobody counts on its logins."""
    refused, leaves = _revoked(CURRENT), CURRENT.generation.clients
    assert refused_clients(refused, [leaves]) == {"applicatie"}
    assert refused_clients(refused, [NEXT.generation.clients, leaves]) == {"applicatie"}
    assert refused_clients(refused, [NEXT.generation.clients]) == frozenset()
    assert refused_clients((), [leaves]) == frozenset()
