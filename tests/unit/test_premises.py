"""What must be true of a rotation's material before any handshake."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from rechain import premises
from rechain.certificate import Bundle, merge
from rechain.certs import ForeignCAs, Rotating
from rechain.errors import ProofRefused
from rechain.fleet import Fleet
from rechain.generation import Generation, Side
from rechain.phase import Age, Phase
from rechain.prover import HandshakeJudge, prove
from rechain.refusal import Refusal
from tests.chains import NOW, Chain, Shape, make, make_chain, make_rotating
from tests.fleets import make_fleet

STEPS = tuple(pairwise(Phase))
SERVERS, CLIENTS = ("db1", "db2"), ("postgres", "applicatie")
FLEET = make_fleet({"db1": ("postgres",), "db2": ("postgres",)}, external=("applicatie",))


def refusals(rotating: Rotating, fleet: Fleet = FLEET, now: datetime | None = NOW) -> tuple[Refusal, ...]:
    """The premises that do not hold."""
    return premises.unmet(fleet, rotating, STEPS, now)


def _without(generation: Generation, side: Side, name: str) -> Generation:
    kept = {one: chain for one, chain in generation.leaves(side).items() if one != name}
    return replace(generation, servers=kept) if side is Side.SERVER else replace(generation, clients=kept)


@pytest.fixture(scope="module")
def rotating() -> Rotating:
    """Two well-formed generations."""
    return make_rotating(SERVERS, CLIENTS)[0]


def test_well_formed_material_meets_them(rotating: Rotating) -> None:
    """Nothing is refused without a reason."""
    assert refusals(rotating) == ()


@pytest.mark.parametrize(
    ("age", "side", "name", "told"),
    [
        (Age.NEXT, Side.SERVER, "db2", ("host db2: generation 2 has no leaf for server db2", "chain spec's servers")),
        (Age.CURRENT, Side.SERVER, "db2", ("host db2: generation 1 has no leaf for server db2", "config add-server")),
        (Age.NEXT, Side.CLIENT, "postgres", ("generation 2 has no leaf for client postgres", "chain spec's clients")),
        (Age.CURRENT, Side.CLIENT, "postgres", ("generation 1 has no leaf for client postgres", "add-clients")),
        (
            Age.NEXT,
            Side.CLIENT,
            "applicatie",
            ("generation 2 has no leaf for client applicatie", "chain spec's clients"),
        ),
    ],
)
def test_a_missing_leaf_is_named(rotating: Rotating, age: Age, side: Side, name: str, told: tuple[str, str]) -> None:
    """A host that serves and a managed client need a leaf of both generations, an external client one to go to."""
    lacking = _without(rotating.generation(age), side, name)
    current, following = (rotating.current, lacking) if age is Age.NEXT else (lacking, rotating.next)
    material = Rotating(current, following, ForeignCAs())
    (refusal,) = refusals(material)
    assert refusal.reason == told[0]
    assert told[1] in refusal.fix
    with pytest.raises(ProofRefused, match=told[0]):
        prove(FLEET, material, STEPS, HandshakeJudge({}))


def test_a_new_external_client_needs_no_current_leaf() -> None:
    """It has no login yet that could break; its first one is with the next generation."""
    rotating, keys = make_rotating(SERVERS, CLIENTS)
    material = replace(rotating, current=_without(rotating.current, Side.CLIENT, "applicatie"))
    assert refusals(material) == ()
    assert prove(FLEET, material, STEPS, HandshakeJudge(keys)).ending_clients == ()


def test_a_host_of_clients_alone_needs_no_server_leaf(rotating: Rotating) -> None:
    """Only what serves a leaf needs one."""
    assert refusals(rotating, make_fleet({"db1": ()}, client_hosts={"app1": ("postgres",)})) == ()


def test_another_cn_is_another_role() -> None:
    """TLS would pass, and PostgreSQL would refuse the login or take it for somebody else's."""
    old, new = make_chain(1, SERVERS, CLIENTS), make_chain(2, SERVERS, ("postgres", "application"))
    renamed = {"postgres": new.generation.clients["postgres"], "applicatie": new.generation.clients["application"]}
    rotating = Rotating(old.generation, replace(new.generation, clients=renamed), ForeignCAs())
    (refusal,) = refusals(rotating)
    assert refusal.reason == "client applicatie: CN applicatie becomes application, which is another role"


def test_a_foreign_ca_that_a_phase_loses_is_refused(rotating: Rotating, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its users log in today; should the bundles ever be put together without it, nothing is touched."""
    theirs = Bundle((make("theirs", ca=True).certificate,))
    material = replace(rotating, foreign=ForeignCAs(client=theirs))
    assert refusals(material) == ()
    monkeypatch.setattr(premises, "bundle", lambda rotating, _, side: rotating.next.bundle(side))
    found = refusals(material)
    assert len(found) == len(Phase)
    assert found[0].reason == "the client bundle of issued lacks foreign CA CN=theirs, whose users log in today"


@pytest.mark.parametrize("side", Side)
def test_a_next_ca_does_not_hide_a_foreign_one(rotating: Rotating, side: Side) -> None:
    """Of two CAs with one DN OpenSSL follows one; the foreign users' leaves may have no AKI to choose by."""
    namesake = Bundle((make(f"{side} 2", ca=True).certificate,))
    material = replace(rotating, foreign=ForeignCAs(**{side.value: namesake}))
    (refusal,) = refusals(material)
    assert refusal.reason == f"the next {side} chain has a CA with the DN of foreign CA CN={side} 2, and hides it"


def test_a_foreign_certificate_of_our_own_key_hides_nothing() -> None:
    """A CA that another one signed with the same name and key leads to the same leaves."""
    new = make_chain(2, SERVERS, CLIENTS)
    twin = Bundle((make("root 2", ca=True, key=new.root.key).certificate,))
    rotating = Rotating(make_chain(1, SERVERS, CLIENTS).generation, new.generation, ForeignCAs(server=twin))
    assert refusals(rotating) == ()


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("root", "generation {}: server CA CN=root {} expired at"),
        ("server_ca", "generation {}: server CA CN=server {} expired at"),
        ("client_ca", "generation {}: client CA CN=client {} expired at"),
        ("server", "generation {}: leaf of server db1 expired at"),
        ("client", "generation {}: leaf of client applicatie expired at"),
    ],
)
@pytest.mark.parametrize("number", [1, 2])
def test_expired_material_is_named_with_its_date(part: str, reason: str, number: int) -> None:
    """Without the instant the handshakes refuse it all the same, and say less."""
    expired = Shape(expired=frozenset({part}))
    rotating, keys = make_rotating(SERVERS, CLIENTS, *((expired, Shape()) if number == 1 else (Shape(), expired)))
    found = refusals(rotating)
    assert found[0].reason.startswith(reason.format(number, number))
    assert ("--strategy downtime" in found[0].fix) == (number == 1)
    with pytest.raises(ProofRefused, match="certificate has expired"):
        prove(FLEET, rotating, STEPS, HandshakeJudge(keys))


def test_what_is_not_valid_yet_is_refused(rotating: Rotating) -> None:
    """A clock that is behind, or a generation issued for later."""
    found = refusals(rotating, now=NOW - timedelta(days=31))
    assert "is not valid before" in found[0].reason


def test_a_renewed_ca_makes_the_expired_one_harmless() -> None:
    """OpenSSL takes the valid one of two certificates of a CA's name and key."""
    old = make_chain(1, SERVERS, CLIENTS)
    new = make_chain(2, SERVERS, CLIENTS)
    rotating = Rotating(_with_expired_root(old), new.generation, ForeignCAs())
    assert refusals(rotating) == ()
    prove(FLEET, rotating, STEPS, HandshakeJudge({1: old.keys, 2: new.keys}))


def _with_expired_root(chain: Chain) -> Generation:
    expired = Bundle((make("root 1", ca=True, key=chain.root.key, expired=True).certificate,))
    generation = chain.generation
    return replace(
        generation,
        server_bundle=merge(expired, generation.server_bundle),
        client_bundle=merge(expired, generation.client_bundle),
    )
