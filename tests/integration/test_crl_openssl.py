"""The openssl program judges the revocation lists that rechain signs, as a server with `ssl_crl_file` does."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rechain.certificate import Bundle, LeafChain, merge
from rechain.crl import Crl, crls_of
from rechain.generation import Side
from rechain.issue import Issued, issue, key_types
from rechain.revocation import LIFETIME, first_crls, leaves_of, renewed, sign, signers
from tasks.keys import generate_keys
from tests.specs import PGVILLAGE, parse

NOW = datetime.now(UTC)
SPEC = parse(PGVILLAGE | {"key": "ecdsa-p256"})


@pytest.fixture(scope="module")
def generations() -> tuple[Issued, Issued]:
    """The current and the next generation."""
    current, following = (issue(SPEC, number, now=NOW, keys=generate_keys(key_types(SPEC))) for number in (1, 2))
    return current, following


def _first(issued: Issued, *, without: str = "") -> tuple[Crl, ...]:
    kept = {name: key for name, key in issued.ca_keys.items() if name != without}
    return first_crls(issued.generation.client_bundle, issued.ca_keys, now=NOW, kept=kept)


def _verdict(directory: Path, presented: LeafChain, trusted: Bundle, crls: Sequence[Crl]) -> str:
    """`OK`, or openssl's reason, with the checks that PostgreSQL switches on."""
    files = {"leaf": presented.leaf.pem, "rest": presented.pem, "ca": trusted.pem, "crl": "".join(c.pem for c in crls)}
    for name, text in files.items():
        (directory / name).write_text(text, "ascii")
    command = ["openssl", "verify", "-crl_check_all", "-purpose", "sslclient", "-CRLfile", "crl"]
    command += ["-CAfile", "ca", "-untrusted", "rest", "leaf"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=30, check=False)
    return "OK" if done.returncode == 0 else done.stderr


def test_both_generations_pass_an_overlap_with_the_lists_of_both(
    generations: tuple[Issued, Issued], tmp_path: Path
) -> None:
    """With the lists of one generation alone every client of the other is refused: that is why both are deployed."""
    current, following = generations
    overlap = merge(following.generation.client_bundle, current.generation.client_bundle)
    lists = [_first(one) for one in generations]
    for one in generations:
        leaf = one.generation.clients["applicatie"]
        assert _verdict(tmp_path, leaf, overlap, crls_of(overlap, (*lists[0], *lists[1]))) == "OK"
    leaf = current.generation.clients["applicatie"]
    assert "unable to get certificate CRL" in _verdict(tmp_path, leaf, overlap, lists[1])


def test_the_revoked_one_is_refused_and_nobody_else(generations: tuple[Issued, Issued], tmp_path: Path) -> None:
    """The new list replaces the old one, and names the leaf of its own generation."""
    current, _ = generations
    generation, first = current.generation, _first(current)
    revoked = leaves_of("applicatie", [generation], reason="left", who="dba", now=NOW)
    made = renewed(generation.client_bundle, current.ca_keys, first, revoked, NOW + timedelta(seconds=1))
    assert [one.number for one in made] == [2]
    crls = crls_of(generation.client_bundle, (*first, *made))
    assert "certificate revoked" in _verdict(tmp_path, generation.clients["applicatie"], generation.client_bundle, crls)
    for name in ("postgres", "avchecker"):
        assert _verdict(tmp_path, generation.clients[name], generation.client_bundle, crls) == "OK"


def test_a_list_that_has_ended_refuses_everybody(generations: tuple[Issued, Issued], tmp_path: Path) -> None:
    """Which is why it is renewed months before."""
    generation = generations[0].generation
    crls = [
        sign(authority, (), number=1, now=NOW - LIFETIME - timedelta(days=1), until=NOW - timedelta(days=1))
        for _, authority in signers(generation.client_bundle, generations[0].ca_keys)
    ]
    assert "CRL has expired" in _verdict(tmp_path, generation.clients["postgres"], generation.client_bundle, crls)


def test_a_root_whose_key_is_discarded_signs_a_list_for_its_whole_life(
    generations: tuple[Issued, Issued], tmp_path: Path
) -> None:
    """Nobody can renew it, and it is good for as long as the root is."""
    current = generations[0]
    by_issuer = {crl.issuer: crl for crl in _first(current, without="root")}
    (root,) = [one for one in current.generation.client_bundle.certificates if one.is_self_issued]
    (intermediate,) = [one for one in current.generation.client_bundle.certificates if not one.is_self_issued]
    assert by_issuer[root.subject].next_update == root.not_after
    assert by_issuer[intermediate.subject].next_update == (NOW + LIFETIME).replace(microsecond=0)
    leaf = current.generation.clients["postgres"]
    assert _verdict(tmp_path, leaf, current.generation.client_bundle, list(by_issuer.values())) == "OK"


def test_a_server_s_leaf_is_on_no_list(generations: tuple[Issued, Issued]) -> None:
    """Clients read no lists: what a list of clients says of a server would help nobody."""
    generation = generations[0].generation
    server = next(iter(generation.leaves(Side.SERVER)))
    assert leaves_of(server, [generation], reason="left", who="dba", now=NOW) == []
