"""What certs.yml holds in a phase, which CAs are foreign, and how an environment is adopted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rechain.certificate import Bundle, LeafChain, merge
from rechain.certs import Certs, ForeignCAs, Rotating, adopt, bundle, bundle_of, compose, foreign_cas
from rechain.generation import Side
from rechain.phase import Age, Phase, material
from tests.chains import Chain, Shape, make, make_chain

SERVERS, CLIENTS = ("db1", "db2"), ("postgres", "applicatie")


def _certs(chain: Chain, *extra: Bundle) -> Certs:
    generation = chain.generation
    return Certs(
        server_chain=merge(generation.server_bundle, *extra),
        client_chain=merge(generation.client_bundle, *extra),
        servers=generation.servers,
        clients=generation.clients,
    )


def _foreign(name: str = "an organisation's own") -> Bundle:
    return Bundle((make(name, ca=True).certificate,))


@pytest.fixture(scope="module")
def current() -> Chain:
    """The current generation."""
    return make_chain(1, SERVERS, CLIENTS)


@pytest.fixture(scope="module")
def following() -> Chain:
    """The next generation."""
    return make_chain(2, SERVERS, CLIENTS)


@pytest.fixture
def rotating(current: Chain, following: Chain) -> Rotating:
    """A rotation with a foreign CA on each side."""
    return Rotating(current.generation, following.generation, ForeignCAs(_foreign("theirs"), _foreign("others'")))


@pytest.mark.parametrize("phase", Phase)
def test_compose_holds_what_the_phase_deploys(rotating: Rotating, phase: Phase) -> None:
    """Leaves and bundles are those of the phase's material."""
    certs, deployed = compose(rotating, phase), material(phase)
    assert certs.servers == rotating.generation(deployed.server_leaves).servers
    assert certs.clients == rotating.generation(deployed.client_leaves).clients
    for side in Side:
        own = [rotating.generation(age).bundle(side) for age in deployed.bundles]
        assert certs.chain(side) == merge(*own, rotating.foreign.of(side))


@pytest.mark.parametrize("side", Side)
def test_overlap_is_next_then_current_then_foreign(rotating: Rotating, side: Side) -> None:
    """The order of the file: intermediate then root, next generation first, foreign CAs last."""
    names = [certificate.common_name for certificate in bundle(rotating, Phase.OVERLAP, side).certificates]
    foreign = "theirs" if side is Side.SERVER else "others'"
    assert names == [f"{side} 2", "root 2", f"{side} 1", "root 1", foreign]


@pytest.mark.parametrize("phase", Phase)
def test_foreign_cas_stay_in_every_phase(rotating: Rotating, phase: Phase) -> None:
    """Locking out a foreign CA's users is a defect."""
    certs = compose(rotating, phase)
    for side in Side:
        assert rotating.foreign.of(side).fingerprints <= certs.chain(side).fingerprints


def test_a_bundle_keeps_the_order_asked_for(rotating: Rotating) -> None:
    """An owner may append the next CAs to what is there; that order is a bundle, too."""
    ages = (Age.CURRENT, Age.NEXT)
    names = [certificate.common_name for certificate in bundle_of(rotating, ages, Side.SERVER).certificates]
    assert names == ["server 1", "root 1", "server 2", "root 2", "theirs"]


def test_issued_and_retired_are_one_generation_each(current: Chain, following: Chain) -> None:
    """Before and after a rotation nothing of the other generation is deployed."""
    rotating = Rotating(current.generation, following.generation, ForeignCAs())
    assert compose(rotating, Phase.ISSUED) == _certs(current)
    assert compose(rotating, Phase.RETIRED) == _certs(following)


def test_a_foreign_ca_that_comes_to_sign_a_generation_stays_foreign(current: Chain, following: Chain) -> None:
    """Its own users log in under it still: it is not dropped with that generation, nor on the way back from it."""
    theirs = following.generation.client_bundle
    before = Certs(current.generation.server_bundle, merge(current.generation.client_bundle, theirs), {}, {})
    both = [current.generation, following.generation]
    assert foreign_cas(before, both).client.certificates == ()
    assert foreign_cas(before, both, {1: before}) == ForeignCAs(client=theirs)
    ours = Certs(current.generation.server_bundle, current.generation.client_bundle, {}, {})
    assert foreign_cas(before, both, {1: ours, 2: before}) == ForeignCAs()


def test_foreign_is_what_no_generation_accounts_for(current: Chain, following: Chain) -> None:
    """Each side's bundle is asked for itself; CAs of either generation are known, others are not."""
    theirs = _foreign()
    certs = replace(
        _certs(current),
        server_chain=merge(theirs, current.generation.server_bundle),
        client_chain=merge(following.generation.client_bundle, current.generation.client_bundle),
    )
    assert foreign_cas(certs, [current.generation, following.generation]) == ForeignCAs(server=theirs)
    assert foreign_cas(certs, [current.generation]).client == following.generation.client_bundle


def test_adopt_takes_the_cas_above_the_leaves(current: Chain) -> None:
    """An environment that chainsmith made becomes a generation; a CA that stands above no leaf is foreign."""
    theirs = _foreign()
    certs = _certs(current, theirs)
    adopted = adopt(certs, 1)
    assert adopted == current.generation
    assert foreign_cas(certs, [adopted]) == ForeignCAs(theirs, theirs)


def test_adopt_without_aki_tells_namesakes_by_their_key() -> None:
    """Where all CAs are named alike and leaves have no AKI, the older chain's CAs are not this generation's."""
    shape = Shape(aki=False, same_dns=True)
    older, present = make_chain(1, SERVERS, CLIENTS, shape), make_chain(2, SERVERS, CLIENTS, shape)
    certs = _certs(present, older.generation.server_bundle, older.generation.client_bundle)
    adopted = adopt(certs, 1)
    assert adopted.server_bundle == present.generation.server_bundle
    assert adopted.client_bundle == present.generation.client_bundle
    assert foreign_cas(certs, [adopted]).server.fingerprints >= older.generation.server_bundle.fingerprints


def test_adopt_finds_a_root_above_presented_intermediates(current: Chain) -> None:
    """A bundle of the root alone is enough for PostgreSQL: the root is the environment's own all the same."""
    root = Bundle((current.root.certificate,))
    certs = replace(_certs(current), server_chain=root, client_chain=root)
    adopted = adopt(certs, 1)
    assert (adopted.server_bundle, adopted.client_bundle) == (root, root)
    assert foreign_cas(certs, [adopted]) == ForeignCAs()


def test_adopt_finds_an_intermediate_that_leaves_come_without(current: Chain) -> None:
    """Leaves presented alone are completed by the bundle, and that intermediate is the environment's own."""
    alone = {name: LeafChain(chain.leaf, ()) for name, chain in current.generation.servers.items()}
    adopted = adopt(replace(_certs(current), servers=alone), 1)
    assert adopted.server_bundle == current.generation.server_bundle


def test_adopt_of_a_root_renewed_with_its_key_takes_both(current: Chain) -> None:
    """Either certificate of a renewed root stands above the leaves, and neither's users are anybody else's."""
    renewed = make("root 1", ca=True, key=current.root.key)
    adopted = adopt(_certs(current, Bundle((renewed.certificate,))), 1)
    assert adopted.server_bundle == merge(current.generation.server_bundle, Bundle((renewed.certificate,)))


def test_issuing_is_told_by_signature(current: Chain, following: Chain) -> None:
    """Same name, other key: not the issuer. Same key, other name: neither."""
    namesake = make("server 1", current.root, ca=True)
    leaf = current.generation.servers["db1"].leaf
    assert current.server_ca.certificate.has_issued(leaf)
    assert not namesake.certificate.has_issued(leaf)
    assert not following.server_ca.certificate.has_issued(leaf)


@pytest.mark.parametrize("side", Side)
def test_a_side_can_be_asked_for_by_name(current: Chain, side: Side) -> None:
    """certs.yml's two halves are addressed alike."""
    certs = _certs(current)
    assert certs.chain(side) == current.generation.bundle(side)
    assert certs.leaves(side) == current.generation.leaves(side)
