"""The way from a leaf up to a root, and which retired leaves stay trusted when two generations share a CA."""

from __future__ import annotations

from dataclasses import replace

from rechain.certificate import Bundle, LeafChain
from rechain.certs import ForeignCAs, Rotating
from rechain.trust_path import climb, is_trusted, outliving, still_trusted
from tests.chains import make, make_chain


def test_of_several_ways_the_one_to_a_root_is_taken() -> None:
    """A root that an older one cross-signed: the way over that certificate ends nowhere."""
    root = make("root", ca=True)
    crossed = make("root", make("older", ca=True), ca=True, key=root.key).certificate
    leaf = make("pg1", root).certificate
    assert climb(leaf, (crossed, root.certificate)) == (root.certificate,)
    assert climb(leaf, (crossed,)) == (crossed,)
    assert is_trusted(LeafChain(leaf, (crossed,)), Bundle((root.certificate,)))
    assert not is_trusted(LeafChain(leaf, ()), Bundle((crossed,)))


def test_leaves_of_a_ca_that_stays_outlive_their_generation() -> None:
    """All of them, but for those that are the next generation's too; with a CA of its own none does."""
    current, other = make_chain(1, ["pg1"], ["a", "b"]), make_chain(2, ["pg1"], ["a", "b"])
    fresh = {name: LeafChain(make(name, current.client_ca).certificate, ()) for name in ("a", "b")}
    same = replace(current.generation, number=2, clients={**current.generation.clients, "a": fresh["a"]})
    rotating = Rotating(current.generation, same, ForeignCAs())
    assert still_trusted(rotating).keys() == {"a", "b"}
    assert outliving(rotating) == (current.generation.clients["a"].leaf,)
    apart = Rotating(current.generation, other.generation, ForeignCAs())
    assert (still_trusted(apart), outliving(apart)) == ({}, ())
    kept = replace(apart, foreign=ForeignCAs(client=Bundle((current.root.certificate,))))
    assert still_trusted(kept).keys() == {"a", "b"}
