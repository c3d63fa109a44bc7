"""The judge for leaves whose key is not ours: it must say what a handshake says."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import pytest

from rechain.certificate import Bundle, LeafChain, read_bundle, read_leaf_chain
from rechain.errors import InputError
from rechain.generation import PrivateKeys, Side
from rechain.judge import HandshakeJudge
from rechain.phase import Phase
from rechain.prover import prove
from tasks.fleet.openssl import OpensslJudge
from tests.chains import make_chain, make_rotating
from tests.combinations import CLIENT, SERVER, Combination, combinations
from tests.fleets import make_fleet

STEPS = ((Phase.ISSUED, Phase.OVERLAP), (Phase.OVERLAP, Phase.SERVERS))


def judged(combination: Combination) -> tuple[str | None, str | None]:
    """The verdicts of `openssl verify`, server leaf first."""
    judge = OpensslJudge()
    server_bundle = read_bundle(combination.server_bundle, "root.crt")
    client_bundle = read_bundle(combination.client_bundle, "root.crt")
    server = read_leaf_chain(combination.server_chain, "server.crt")
    client = read_leaf_chain(combination.client_chain, "postgresql.crt")
    return (
        judge.server_leaf(combination.server_name, server, server_bundle, client_bundle),
        judge.client_leaf(CLIENT, client, client_bundle, server_bundle),
    )


def test_it_says_what_a_handshake_says() -> None:
    """Verdict and reason, on every combination whose files can be loaded."""
    loadable = [one for one in combinations() if "newline" not in one.title and "key of another" not in one.title]
    outcomes = {one.title: one.judged() for one in loadable}
    said = {title: tuple(map(_words, astuple(outcome))) for title, outcome in outcomes.items()}
    assert {one.title: tuple(map(_words, judged(one))) for one in loadable} == said
    accepted = sum(outcome.is_accepted for outcome in outcomes.values())
    assert accepted >= 24
    assert len(outcomes) - accepted >= 20


def _words(reason: str | None) -> str | None:
    """A reason without what the ssl module adds to a wrong name."""
    return reason and reason.split(", certificate is not valid for")[0].lower()


def test_addresses_are_looked_up_as_addresses() -> None:
    """A server that is named by its address has it in its SAN as one."""
    generation = make_chain(1, ("10.0.0.1",), ()).generation
    judge, chain = OpensslJudge(), generation.servers["10.0.0.1"]
    assert judge.server_leaf("10.0.0.1", chain, generation.server_bundle) is None
    refused = judge.server_leaf("10.0.0.2", chain, generation.server_bundle) or ""
    assert refused.startswith("bad certificate: certificate verify failed: IP address mismatch")


def test_the_machine_s_own_cas_are_not_trusted() -> None:
    """Nothing but the bundle counts, and an empty one trusts nobody."""
    chain = make_chain(1, (SERVER,), ())
    assert OpensslJudge().server_leaf(SERVER, chain.generation.servers[SERVER], Bundle(())) is not None


def test_it_stands_in_for_keys_that_are_not_ours() -> None:
    """An external client that made its own key is proven with public material alone."""
    rotating, keys = make_rotating((SERVER,), (CLIENT,))
    ours = {number: PrivateKeys(held.of(Side.SERVER), {}) for number, held in keys.items()}
    proof = prove(make_fleet({SERVER: ()}, external=(CLIENT,)), rotating, STEPS, HandshakeJudge(ours, OpensslJudge()))
    assert proof.judgements == 8


def test_no_openssl_is_said_plainly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wrong use, with the fix: not a traceback."""
    chain = make_chain(1, (SERVER,), ())
    monkeypatch.setenv("PATH", str(tmp_path))
    leaf = LeafChain(chain.generation.servers[SERVER].leaf, ())
    with pytest.raises(InputError, match="install the package openssl"):
        OpensslJudge().server_leaf(SERVER, leaf, chain.generation.server_bundle)
