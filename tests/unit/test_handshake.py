"""The in-memory handshake and the judge that uses it: reasons in words, nothing left behind, no key shown."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from rechain.certificate import EMPTY, Bundle, LeafChain
from rechain.generation import Generation, PrivateKeys, Side
from rechain.handshake import Identity, Outcome, client_leaf_refused, server_leaf_refused, verify_failure
from rechain.judge import HandshakeJudge
from tests.chains import CLIENT_AUTH, SERVER_AUTH, Shape, make_chain
from tests.combinations import SERVER, combinations

CHAIN = make_chain(1, (SERVER, "10.0.0.1", "db_1"), ("applicatie",))
PAIRS = {combination.title: combination for combination in combinations()}


def test_each_direction_is_judged_by_itself() -> None:
    """A server leaf that the client refuses does not hide what the server thinks of the client's."""
    both = PAIRS["different DNs, leaves current, server trusts next only, client trusts next only"].judged()
    reason = "unknown CA: certificate verify failed: unable to get local issuer certificate"
    assert both == Outcome(server_refused=reason, client_refused=reason)
    assert PAIRS["expired client_ca"].judged() == Outcome(
        server_refused=None, client_refused="certificate expired: certificate verify failed: certificate has expired"
    )
    assert PAIRS["well-formed"].judged().is_accepted


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("another server name", "Hostname mismatch, certificate is not valid for 'db2.example'"),
        ("server leaf with clientAuth only", "unsupported certificate: certificate verify failed: unsuitable"),
        ("AKI, server bundle without root", "unknown CA: certificate verify failed: unable to get issuer certificate"),
        ("server bundle without a newline between two PEMs", "the client can't load its bundle"),
        ("server key of another leaf", "the server can't load its certificate and key: key values mismatch"),
    ],
)
def test_reasons_are_clear(title: str, reason: str) -> None:
    """What OpenSSL found, in words, after the alert that the refused peer reads."""
    assert reason in (PAIRS[title].judged().server_refused or "")


def test_the_alert_is_told_by_openssl_s_number() -> None:
    """A number without an alert of its own is a bad certificate, as in OpenSSL."""
    assert verify_failure(19, "self-signed certificate in certificate chain").startswith("unknown CA: ")
    assert verify_failure(9, "certificate is not yet valid.") == (
        "bad certificate: certificate verify failed: certificate is not yet valid"
    )


@pytest.mark.parametrize(("name", "accepted"), [("10.0.0.1", True), ("10.0.0.2", False), ("db_1", True)])
def test_addresses_and_underscores_are_names(name: str, accepted: bool) -> None:
    """A server may be named by its address; the SAN then holds an address, too."""
    leaf = name if name in CHAIN.generation.servers else "10.0.0.1"
    server = Identity(CHAIN.generation.servers[leaf].pem, CHAIN.keys.servers[leaf])
    refused = server_leaf_refused(server, "", CHAIN.generation.server_bundle.pem, name)
    assert (refused is None) == accepted


@pytest.mark.parametrize("name", [".db1", "db1..example", "a" * 64])
def test_an_impossible_name_is_refused(name: str) -> None:
    """A name that no certificate can hold is a refusal, not an error."""
    server = Identity(CHAIN.generation.servers[SERVER].pem, CHAIN.keys.servers[SERVER])
    assert server_leaf_refused(server, "", CHAIN.generation.server_bundle.pem, name) is not None


def test_an_empty_bundle_trusts_nobody() -> None:
    """PostgreSQL can't load it, and no default CA of the machine stands in for it."""
    client = Identity(CHAIN.generation.clients["applicatie"].pem, CHAIN.keys.clients["applicatie"])
    refused = client_leaf_refused(client, "", "")
    assert refused == "the server can't load its bundle: no certificate or crl found"


@pytest.mark.parametrize("key", ["not a key", "", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"])
def test_an_unusable_key_shows_nothing_of_itself(key: str) -> None:
    """The refusal quotes no file's content, and no terminal is asked for a passphrase."""
    server = Identity(CHAIN.generation.servers[SERVER].pem, key)
    refused = server_leaf_refused(server, "", CHAIN.generation.server_bundle.pem, SERVER)
    assert refused is not None
    assert refused.startswith("the server can't load its certificate and key")
    assert not key or key not in refused


def test_no_file_stays_open() -> None:
    """Anonymous memory is given back, after a refusal too."""
    descriptors = Path("/proc/self/fd")
    PAIRS["well-formed"].judged()
    before = len(list(descriptors.iterdir()))
    for combination in list(PAIRS.values())[:10] + list(PAIRS.values())[-4:]:
        combination.judged()
    assert len(list(descriptors.iterdir())) == before


def _leaf(side: Side, name: str, generation: Generation = CHAIN.generation) -> LeafChain:
    return generation.leaves(side)[name]


class Otherwise:
    """Another judge, which says that it was asked."""

    def server_leaf(self, name: str, chain: LeafChain, trusted: Bundle, own: Bundle = EMPTY) -> str | None:
        """Say so."""
        return f"asked about server {name}"

    def client_leaf(self, name: str, chain: LeafChain, trusted: Bundle, own: Bundle = EMPTY) -> str | None:
        """Say so."""
        return f"asked about client {name}"


def test_a_key_that_fits_is_found_in_any_generation() -> None:
    """A leaf is judged with the key that fits it, wherever that is kept; one that fits no leaf is nobody's."""
    other = make_chain(2, (SERVER,), ("applicatie",))
    judge = HandshakeJudge({2: other.keys, 1: CHAIN.keys}, fallback=Otherwise())
    trusted = CHAIN.generation.server_bundle
    assert judge.server_leaf(SERVER, _leaf(Side.SERVER, SERVER), trusted) is None
    assert judge.client_leaf("applicatie", _leaf(Side.CLIENT, "applicatie"), CHAIN.generation.client_bundle) is None
    stranger = make_chain(3, (SERVER,), ("applicatie",)).generation
    assert judge.server_leaf(SERVER, _leaf(Side.SERVER, SERVER, stranger), trusted) == f"asked about server {SERVER}"
    asked = judge.client_leaf("applicatie", _leaf(Side.CLIENT, "applicatie", stranger), trusted)
    assert asked == "asked about client applicatie"


@pytest.mark.parametrize("key", ["not a key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_without_a_key_and_another_judge_nothing_passes(key: str) -> None:
    """What can't be judged is refused, never passed."""
    judge = HandshakeJudge({1: PrivateKeys({SERVER: key}, {})})
    chains = CHAIN.generation
    reason = "not judged: its private key is not ours, and no other judge was given"
    assert judge.server_leaf(SERVER, _leaf(Side.SERVER, SERVER), chains.server_bundle) == reason
    assert judge.client_leaf("applicatie", _leaf(Side.CLIENT, "applicatie"), chains.client_bundle) == reason


def test_the_presenter_s_own_bundle_completes_its_chain() -> None:
    """OpenSSL looks into the presenter's trust store for the intermediate of a leaf that comes alone."""
    generation, judge = CHAIN.generation, HandshakeJudge({1: CHAIN.keys})
    root = Bundle((CHAIN.root.certificate,))
    server, client = (
        LeafChain(_leaf(side, name).leaf, ()) for side, name in ((Side.SERVER, SERVER), (Side.CLIENT, "applicatie"))
    )
    assert judge.server_leaf(SERVER, server, root) is not None
    assert judge.server_leaf(SERVER, server, root, generation.server_bundle) is None
    assert judge.client_leaf("applicatie", client, root) is not None
    assert judge.client_leaf("applicatie", client, root, generation.client_bundle) is None


def test_purposes_count_on_both_sides() -> None:
    """A server-chain certificate can't log in, and a client's can't serve."""
    swapped = make_chain(4, (SERVER,), ("applicatie",), Shape(server_usages=CLIENT_AUTH, client_usages=SERVER_AUTH))
    judge, generation = HandshakeJudge({4: swapped.keys}), swapped.generation
    refused = [
        judge.server_leaf(SERVER, _leaf(Side.SERVER, SERVER, generation), generation.server_bundle),
        judge.client_leaf("applicatie", _leaf(Side.CLIENT, "applicatie", generation), generation.client_bundle),
    ]
    assert all(reason and "unsuitable certificate purpose" in reason for reason in refused)


def test_no_text_form_shows_a_key() -> None:
    """Not a judge's, not an identity's, not that of a traceback with every local value in it."""
    judge = HandshakeJudge({1: CHAIN.keys})
    identity = Identity(CHAIN.generation.servers[SERVER].pem, CHAIN.keys.servers[SERVER])
    assert repr(judge) == "HandshakeJudge(generations [1])"
    try:
        raise ValueError(judge, identity)
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "identity = Identity()" in shown
    assert "PRIVATE KEY" not in shown
    assert CHAIN.keys.servers[SERVER].splitlines()[1] not in shown
