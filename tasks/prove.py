"""Prove a rotation before anything is touched: every reachable state, by real TLS handshakes in memory."""

from __future__ import annotations

from itertools import pairwise

from rechain.generation import PrivateKeys
from rechain.phase import Phase, path
from rechain.prover import HandshakeJudge, Proof, prove
from tasks.fleet.openssl import OpensslJudge
from tasks.renew_crls import require_crls
from tasks.repository.generations import has_private_keys, read_generation_keys
from tasks.state import EnvironmentRef, observe
from tasks.step import step


@step("prove")
def prove_steps(ref: EnvironmentRef, start: Phase, target: Phase) -> Proof:
    """Prove that no reachable state between two phases refuses a login.

    Side effect: none; keys live in anonymous memory for the length of the call. Safe to retry.

    Raises:
        ProofRefused: Names pair, state and reason.
        InputError: Servers read revocation lists, and a CA has none that holds.
    """
    state = observe(ref)
    keys = {number: _keys(ref, number) for number in (state.rotating.current.number, state.rotating.next.number)}
    require_crls(state, (start, *path(start, target)))
    begun = ((start, state.rotation.target),) if state.rotation.target not in (None, start) else ()
    steps = (*pairwise((start, *path(start, target))), *begun)  # hosts may be in the mix that a killed run left
    return prove(state.fleet, state.rotating, steps, HandshakeJudge(keys, fallback=OpensslJudge()))


def _keys(ref: EnvironmentRef, number: int) -> PrivateKeys:
    if not has_private_keys(ref.root, ref.environment, number):
        return PrivateKeys()
    return read_generation_keys(ref.root, ref.environment, number)
