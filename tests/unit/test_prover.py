"""Invariant 1: in every state that a rotation can pass through, every client that should log in can."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rechain.certificate import EMPTY, Bundle, LeafChain, merge
from rechain.certs import Rotating, compose
from rechain.errors import ProofRefused
from rechain.fleet import Fleet
from rechain.generation import Generation, Side
from rechain.phase import Phase
from rechain.prover import HandshakeJudge, Proof, Step, prove
from tests.chains import CLIENT_AUTH, SERVER_AUTH, Shape, make_rotating
from tests.fleets import make_fleet
from tests.states import Material, brute_force

STEPS: tuple[Step, ...] = tuple(pairwise(Phase))
WELL_FORMED = (Shape(), Shape(aki=False), Shape(same_dns=True))
NAMESAKES = Shape(aki=False, same_dns=True)
ILL_FORMED = (NAMESAKES, Shape(client_usages=SERVER_AUTH), Shape(server_ca_usages=CLIENT_AUTH))
SERVERS, CLIENTS, EXTERNAL = ("db1", "db2", "db3"), ("postgres", "avchecker"), ("applicatie", "batch")
STEADY = settings(deadline=None, derandomize=True, max_examples=30)


@cache
def material(current: Shape, following: Shape) -> Material:
    """Two generations for every name that the fleets use."""
    return make_rotating(SERVERS, CLIENTS + EXTERNAL, current, following)


@st.composite
def fleets(draw: st.DrawFn, most: int = len(SERVERS)) -> Fleet:
    """Servers with managed clients on them, maybe a host of clients alone, and external clients."""
    some = st.lists(st.sampled_from(CLIENTS), unique=True, max_size=most - 1)
    servers = SERVERS[: draw(st.integers(1, most))]
    hosts = {"app1": draw(some)} if draw(st.booleans()) else {}
    external = draw(st.lists(st.sampled_from(EXTERNAL), unique=True, max_size=most - 1))
    return make_fleet({server: draw(some) for server in servers}, client_hosts=hosts, external=external)


def refused_pairs(fleet: Fleet, made: Material, steps: Iterable[Step]) -> set[tuple[Step, str, str]]:
    """The pairs that the prover refuses, by step."""
    found = set()
    for step in steps:
        try:
            prove(fleet, made[0], [step], HandshakeJudge(made[1]))
        except ProofRefused as error:
            found |= {(step, str(refusal.client), str(refusal.server)) for refusal in error.refusals}
    return found


@STEADY
@given(fleets(), st.sampled_from(WELL_FORMED), st.sampled_from(WELL_FORMED))
def test_well_formed_chains_pass(fleet: Fleet, current: Shape, following: Shape) -> None:
    """With an AKI, or with DNs of their own, two generations pass side by side in every phase."""
    rotating, keys = material(current, following)
    proof = prove(fleet, rotating, STEPS, HandshakeJudge(keys))
    assert proof.steps == STEPS
    assert proof.states > len(STEPS)


@settings(STEADY, max_examples=12)
@given(fleets(most=2), st.sampled_from(WELL_FORMED + ILL_FORMED), st.sampled_from(WELL_FORMED + ILL_FORMED))
def test_the_prover_refuses_what_brute_force_finds(fleet: Fleet, current: Shape, following: Shape) -> None:
    """Walking through every mix of sets, pair by pair, finds the same refused pairs; none for well-formed chains."""
    made = material(current, following)
    walked = {(step, *pair) for step in STEPS for pair in brute_force(fleet, made, step)}
    assert refused_pairs(fleet, made, STEPS) == walked
    if not {current, following} & set(ILL_FORMED):
        assert walked == set()


def test_brute_force_finds_namesakes() -> None:
    """The walk is no empty exercise: the CAs of the Go version's chains make the overlap break working clients."""
    fleet = make_fleet({"db1": CLIENTS}, external=EXTERNAL)
    assert brute_force(fleet, material(NAMESAKES, NAMESAKES), (Phase.ISSUED, Phase.OVERLAP))


@pytest.mark.parametrize(
    "step",
    [
        (Phase.ISSUED, Phase.SERVERS),
        (Phase.ISSUED, Phase.CLIENTS),
        (Phase.ISSUED, Phase.RETIRED),
        (Phase.OVERLAP, Phase.RETIRED),
        (Phase.SERVERS, Phase.RETIRED),
    ],
)
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("kind", ["managed", "external"])
def test_a_broken_order_is_refused(step: Step, backward: bool, kind: str) -> None:
    """Leaves before bundles, or a bundle that shrinks before the leaves have moved, in either direction."""
    fleet = make_fleet({"db1": CLIENTS if kind == "managed" else ()}, external=EXTERNAL if kind == "external" else ())
    rotating, keys = material(Shape(), Shape())
    with pytest.raises(ProofRefused, match="unknown CA") as refused:
        prove(fleet, rotating, [step[::-1] if backward else step], HandshakeJudge(keys))
    assert refused.value.fix == "take the phases one by one, in order"


class Recorder:
    """A judge that accepts or refuses everything, and notes what it was asked."""

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        self.asked: list[tuple[object, ...]] = []

    def server_leaf(self, name: str, chain: LeafChain, trusted: Bundle, own: Bundle = EMPTY) -> str | None:
        """Note a server leaf."""
        self.asked.append((Side.SERVER, name, chain.pem, trusted.pem, own.pem))
        return self.reason

    def client_leaf(self, name: str, chain: LeafChain, trusted: Bundle, own: Bundle = EMPTY) -> str | None:
        """Note a client leaf."""
        self.asked.append((Side.CLIENT, name, chain.pem, trusted.pem, own.pem))
        return self.reason


def test_each_leaf_is_judged_once_before_each_bundle() -> None:
    """Three servers and two clients on three hosts are ten leaves, each before two bundles: not a judgement a pair."""
    fleet = make_fleet(dict.fromkeys(SERVERS, CLIENTS))
    judge = Recorder()
    proof = prove(fleet, material(Shape(), Shape())[0], STEPS, judge)
    assert len(judge.asked) == len(set(judge.asked)) == proof.judgements == 10 * 2


def test_states_are_every_mix_of_sets() -> None:
    """Each service and each managed client of a host changes by itself, an external client as its owner likes."""
    rotating = material(Shape(), Shape())[0]
    fleet = make_fleet({"db1": CLIENTS, "db2": ("postgres",)})
    counts = [prove(fleet, rotating, [step], Recorder()).states for step in STEPS]
    assert counts == [2**5, 2**2, 2**3, 2**5]
    external = [
        prove(make_fleet({"db1": ()}, external=("batch",)), rotating, [one], Recorder()).states for one in STEPS
    ]
    assert external == [2 * 3, 2 * 4, 1 * 4, 2 * 3]


def test_a_proof_tells_its_numbers() -> None:
    """What was proven reads as a sentence; a client that the next generation drops is named."""
    fleet = make_fleet({"db1": CLIENTS})
    rotating, _ = material(Shape(), Shape())
    assert str(prove(fleet, rotating, STEPS, Recorder())) == (
        "4 steps, 22 states, 24 logins: none is refused, by 12 judgements of a leaf before a bundle"
    )
    dropped = make_rotating(("db1",), CLIENTS)[0]
    proof = prove(fleet, replace(rotating, next=dropped.next), STEPS, Recorder())
    assert proof.ending_clients == ("applicatie", "batch")
    assert "logins that end at retired, having no next leaf: applicatie, batch" in str(proof)
    assert "about 2^1100 states" in str(Proof(STEPS, 2**1100, 1, 1, ()))


def test_a_refusal_names_pair_state_and_reason() -> None:
    """The first few are in the message, all of them in a typed tuple that survives pickling."""
    fleet = make_fleet({"db1": CLIENTS, "db2": ()}, external=("applicatie",))
    rotating, keys = material(Shape(), Shape(client_usages=SERVER_AUTH))
    with pytest.raises(ProofRefused) as refused:
        prove(fleet, rotating, STEPS, HandshakeJudge(keys))
    error = refused.value
    first = error.refusals[0]
    assert (first.client, first.server, first.step) == ("applicatie", "db1", (Phase.OVERLAP, Phase.SERVERS))
    assert first.reason == (
        "the server refuses the client leaf: unsupported certificate: certificate verify failed: "
        "unsuitable certificate purpose"
    )
    assert str(error).startswith(f"environment test: {len(error.refusals)} refused: client applicatie (in its owner's")
    assert "at server db1 (at overlap, presents current, trusts next and current) between overlap and" in str(error)
    assert f"; and {len(error.refusals) - 3} more (" in str(error)
    assert "\n" not in str(error)
    assert pickle.loads(pickle.dumps(error)).refusals == error.refusals  # noqa: S301  # our own bytes


@pytest.mark.parametrize(
    ("current", "following", "fix"),
    [
        (Shape(client_usages=SERVER_AUTH), Shape(), "this login fails today already"),
        (NAMESAKES, NAMESAKES, "two generations don't pass side by side"),
        (Shape(), Shape(client_usages=SERVER_AUTH), "mend the chain spec"),
        (Shape(), Shape(expired=frozenset({"server_ca"})), "mend the chain spec"),
    ],
)
def test_a_refusal_says_what_to_do(current: Shape, following: Shape, fix: str) -> None:
    """A chain that is broken today, one that will be, and two that don't go together need different cures."""
    rotating, keys = material(current, following)
    with pytest.raises(ProofRefused) as refused:
        prove(make_fleet({"db1": CLIENTS}), rotating, STEPS, HandshakeJudge(keys))
    assert any(fix in refusal.fix for refusal in refused.value.refusals)
    assert fix in refused.value.fix


def test_the_server_name_must_be_the_leaf_s() -> None:
    """A client connects with host = server name, and verify-full looks for it in the leaf's SAN."""
    rotating, keys = make_rotating(("db1", "db9"), CLIENTS)
    leaves, theirs = dict(rotating.next.servers), dict(keys[2].servers)
    leaves["db1"], theirs["db1"] = leaves["db9"], theirs["db9"]
    swapped = replace(rotating, next=replace(rotating.next, servers=leaves))
    judge = HandshakeJudge({1: keys[1], 2: replace(keys[2], servers=theirs)})
    with pytest.raises(ProofRefused, match="not valid for 'db1'"):
        prove(make_fleet({"db1": CLIENTS}), swapped, STEPS, judge)


def test_a_leaf_that_comes_alone_is_completed_by_its_presenter() -> None:
    """A server sends the intermediate that it finds in its own bundle; in the wrong one, nobody finds it."""
    rotating, keys = make_rotating(("db1",), CLIENTS)
    fleet, judge = make_fleet({"db1": CLIENTS}), HandshakeJudge(keys)
    assert prove(fleet, _alone(rotating, completes=True), STEPS, judge).states
    with pytest.raises(ProofRefused, match="unable to get local issuer certificate"):
        prove(fleet, _alone(rotating, completes=False), STEPS, judge)


def _alone(rotating: Rotating, *, completes: bool) -> Rotating:
    """Server leaves without intermediates; clients trust the root alone, and servers' bundle may hold all."""
    return replace(
        rotating, current=_bare(rotating.current, completes=completes), next=_bare(rotating.next, completes=completes)
    )


def _bare(generation: Generation, *, completes: bool) -> Generation:
    root = generation.server_bundle.certificates[-1]
    more = generation.server_bundle if completes else EMPTY
    return replace(
        generation,
        servers={name: LeafChain(chain.leaf, ()) for name, chain in generation.servers.items()},
        server_bundle=Bundle((root,)),
        client_bundle=merge(generation.client_bundle, more),
    )


def test_compose_is_what_is_proven() -> None:
    """The bundles that the prover judges by are, byte for byte, those that certs.yml will hold."""
    rotating, _ = material(Shape(), Shape())
    judge = Recorder()
    prove(make_fleet({"db1": CLIENTS}), rotating, STEPS, judge)
    deployed = {compose(rotating, phase).chain(side).pem for phase in Phase for side in Side}
    assert {trusted for _, _, _, trusted, _ in judge.asked} == deployed
