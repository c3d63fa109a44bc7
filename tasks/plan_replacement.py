"""Plan the strategy `downtime` without changing anything, from expired chains and from none at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from rechain.certificate import EMPTY, Bundle
from rechain.certs import Certs, ForeignCAs, Rotating, bundle, compose
from rechain.crl import Crl, unlisted
from rechain.fleet import Fleet
from rechain.generation import Generation, PrivateKeys, Side
from rechain.phase import Phase
from rechain.plan import Planned
from rechain.prover import HandshakeJudge, prove
from rechain.replacement import plan_replacement
from rechain.rotation import is_replaced_half, replacing
from tasks.access import leaf_keys
from tasks.fleet.inventory import read_fleet
from tasks.fleet.openssl import OpensslJudge
from tasks.next_generation import refuse_changed_spec, refuse_outside
from tasks.plan_notes import about_clients, about_settings
from tasks.renew_crls import require_listed
from tasks.repository.deployment import check_repository
from tasks.repository.rotation_yaml import read_rotation
from tasks.repository.settings import read_settings
from tasks.repository.spec_file import read_spec
from tasks.state import EnvironmentRef, FleetState, now, observe
from tasks.step import step
from tasks.trial import issue_trial


@step("prove-replacement")
def prove_replacement(ref: EnvironmentRef) -> Planned:
    """Prove what is issued by now, before anybody is out: every next leaf before every next bundle, and every list.

    Side effect: none. Safe to retry. Raises as `plan_downtime` does.
    """
    return plan_downtime(ref)


@dataclass(frozen=True, slots=True, repr=False)
class _Replacing:
    """What is replaced by what. Its text form shows no key."""

    fleet: Fleet
    before: Certs | None
    current: Generation | None
    next: Generation
    keys: PrivateKeys
    foreign: ForeignCAs
    crls: tuple[Crl, ...]
    is_trial: bool
    is_half: bool = False


def plan_downtime(ref: EnvironmentRef) -> Planned:
    """Plan to replace everything in one step; what is not issued yet is issued in memory for this plan only.

    The proof is about the end: every next leaf before every next bundle. In between logins fail, as the plan says.

    Side effect: none. Safe to repeat.

    Raises:
        InputError: The environment is not fit, or the end would refuse a login.
        TransitionRefused: Another strategy has begun to move the rotation under way.
    """
    check_repository(ref.root, ref.environment, even_expired=True)
    begun = _begin(ref)
    rotating = Rotating(begun.current or begun.next, begun.next, begun.foreign, begun.crls)
    judge = HandshakeJudge({begun.next.number: begun.keys}, fallback=OpensslJudge())
    _require_lists(ref, begun, rotating)
    proof = prove(begun.fleet, rotating, ((Phase.RETIRED, Phase.RETIRED),), judge, now=now())
    after = compose(rotating, Phase.RETIRED)
    return Planned(plan_replacement(begun.fleet, begun.before, after, begun.foreign, tuple(_notes(ref, begun))), proof)


def _require_lists(ref: EnvironmentRef, begun: _Replacing, rotating: Rotating) -> None:
    """Where servers read lists: for the end, and for the way back from a host that fails, which deploys what was there.

    A generation that is not issued yet will have its first lists by then; nobody goes back to logins that have ended.
    """
    if not begun.fleet.reads_crls:
        return
    if not begun.is_trial:
        require_listed(ref.environment, bundle(rotating, Phase.RETIRED, Side.CLIENT), begun.crls)
    if begun.before is not None and not begun.is_half:
        require_listed(ref.environment, _logging_in(begun.before, now()), begun.crls)


def _logging_in(certs: Certs, moment: datetime) -> Bundle:
    """The CAs whose clients can log in now: those that have ended, or whose deployed list has, have none."""
    out = {authority.fingerprint for authority, _ in unlisted(certs.client_chain, certs.crls, moment)}
    authorities = [
        one
        for one in certs.client_chain.certificates
        if one.not_after > moment and (not certs.crls or one.fingerprint not in out)
    ]
    has_valid_leaf = any(chain.leaf.not_after > moment for chain in certs.clients.values())
    return Bundle(tuple(authorities)) if has_valid_leaf else EMPTY


def _begin(ref: EnvironmentRef) -> _Replacing:
    rotation = read_rotation(ref.root, ref.environment)
    if rotation.current is None:
        refuse_outside(ref, rotation)
        return _trial(ref, rotation.last_generation + 1, None)
    state = observe(ref)
    if rotation.is_first and rotation.current is not None:
        refuse_changed_spec(ref, rotation.current, read_spec(ref.root, ref.environment))
        return _issued(state, None, state.current)
    if state.next is None:
        refuse_outside(ref, rotation)
        return _trial(ref, rotation.last_generation + 1, state)
    replacing(rotation)
    # certs.yml holds the next generation already when a replacement was cut short; hosts may hold either.
    refuse_changed_spec(ref, state.next.number, read_spec(ref.root, ref.environment))
    before = compose(state.rotating, Phase.ISSUED) if is_replaced_half(rotation) else state.certs
    return replace(_issued(state, before, state.next), is_half=is_replaced_half(rotation))


def _issued(state: FleetState, before: Certs | None, following: Generation) -> _Replacing:
    """What is in the repository already; a first generation has nothing before it."""
    keys, current = leaf_keys(state, following), state.current if before else None
    return _Replacing(state.fleet, before, current, following, keys, state.foreign, state.crls, is_trial=False)


def _trial(ref: EnvironmentRef, number: int, state: FleetState | None) -> _Replacing:
    """A chain in memory, and the fleet as the spec has it: it may have gained servers and clients."""
    spec = read_spec(ref.root, ref.environment)
    fleet = read_fleet(ref.root, ref.environment, spec.clients, list(spec.servers))
    trial = issue_trial(spec, number, fleet)
    foreign, crls = (state.foreign, state.crls) if state else (ForeignCAs(), ())
    before, current = (state.certs, state.current) if state else (None, None)
    made = trial.issued
    return _Replacing(fleet, before, current, made.generation, made.keys, foreign, (*crls, *trial.crls), is_trial=True)


def _notes(ref: EnvironmentRef, begun: _Replacing) -> Iterator[str]:
    if begun.before is None:
        made = begun.next
        yield (
            f"generation {made.number} is the environment's first: a root CA, two intermediates, "
            f"{len(made.servers)} server and {len(made.clients)} client certificates"
        )
    yield from about_settings(read_settings(ref.root), begun.foreign, is_trial=begun.is_trial)
    if begun.current is not None:
        yield from about_clients(begun.current, begun.next)
