"""Clients are added while a rotation is under way: all generations or none, again after a kill at any moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rechain.addition import add, key_types
from rechain.certificate import merge
from rechain.certs import adopt
from rechain.errors import InputError, RechainError
from rechain.phase import Phase
from rechain.rotation import Direction
from tasks.add_clients import issue_clients, write_clients
from tasks.deploy import record_phase, write_phase
from tasks.generate import issue_next_generation
from tasks.keys import generate_keys
from tasks.plan import plan_rotation
from tasks.plan_addition import plan_new_clients
from tasks.plan_replacement import plan_downtime
from tasks.repository.claim import release_claim, take_claim
from tasks.repository.files import rename_durably
from tasks.repository.generations import read_generation
from tasks.repository.rotation_yaml import update_rotation
from tasks.repository.spec_file import read_spec
from tasks.state import EnvironmentRef, now, observe
from tests.environments import SPEC, Environment, tree


class _Killed(BaseException):
    """The process ends here."""


def _gain(ref: EnvironmentRef, *names: str) -> None:
    text = SPEC.replace("applicatie]", f"applicatie, {', '.join(names)}]") if names else SPEC
    (ref.root / "config" / "chainsmith_acc.yml").write_text(text)


def _clients(ref: EnvironmentRef) -> list[list[str]]:
    return [sorted(read_generation(ref.root, "acc", number).clients) for number in (1, 2)]


@pytest.fixture
def ref(environment: Environment) -> EnvironmentRef:
    """A fleet that chainsmith's certificates are on, with our next generation at `issued`."""
    (environment.root / "config").mkdir()
    ref = EnvironmentRef(environment.root, "acc")
    _gain(ref)
    issue_next_generation.fn(ref)
    return ref


@pytest.fixture
def overlapping(ref: EnvironmentRef) -> EnvironmentRef:
    """The same, at `overlap`."""
    claim = take_claim(ref.root, "acc", direction=Direction.REFRESH, target=Phase.OVERLAP, now=now())
    write_phase.fn(ref, Phase.OVERLAP, claim)
    record_phase.fn(ref, claim)
    release_claim(ref.root, "acc", claim)
    return ref


def test_one_of_two_that_the_spec_has_gained_is_added(overlapping: EnvironmentRef) -> None:
    """And the other one later; the rotation goes on when the generation has all of them."""
    _gain(overlapping, "etl", "bi")
    assert "new clients: etl" in plan_new_clients(overlapping, ["etl"]).plan.notes[0]
    assert issue_clients.fn(overlapping, ("etl",)) == ("etl",)
    with pytest.raises(InputError, match="has changed since generation 2") as told:
        issue_next_generation.fn(overlapping)
    assert "--strategy add-clients" in told.value.fix
    assert issue_clients.fn(overlapping) == ("bi",)
    assert _clients(overlapping) == [["applicatie", "bi", "etl", "postgres"]] * 2
    assert issue_next_generation.fn(overlapping) == 2
    with pytest.raises(InputError, match="has no client 'nobody'"):
        plan_new_clients(overlapping, ["nobody"])


def test_what_is_refused_for_one_generation_is_done_to_none(overlapping: EnvironmentRef) -> None:
    """The spec has gained a server, too: that is the next rotation's."""
    _gain(overlapping, "etl")
    path = overlapping.root / "config" / "chainsmith_acc.yml"
    path.write_text(path.read_text().replace("pg2: [192.0.2.2]", "pg2: [192.0.2.2], pg3: [192.0.2.3]"))
    before = tree(overlapping.root)
    with pytest.raises(InputError, match="changed in more than its clients"):
        issue_clients.fn(overlapping, ("etl",))
    assert tree(overlapping.root) == before


@pytest.mark.parametrize("number", range(1, 9))
def test_a_run_that_is_killed_is_taken_up_again(
    overlapping: EnvironmentRef, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of the renames; the rotation goes on then, whatever the client is called with."""
    _gain(overlapping, "etl")
    renamed = 0

    def rename(source: Path, target: Path) -> None:
        nonlocal renamed
        rename_durably(source, target)
        renamed += 1
        if renamed == number:
            raise _Killed

    with monkeypatch.context() as killing:
        killing.setattr("tasks.repository.generations.rename_durably", rename)
        try:
            issue_clients.fn(overlapping)
        except _Killed:
            assert number <= renamed
        else:
            assert renamed < number
    _gain(overlapping, "etl", "bi")
    issue_clients.fn(overlapping)
    claim = take_claim(overlapping.root, "acc", direction=Direction.REFRESH, target=Phase.OVERLAP, now=now())
    write_clients.fn(overlapping, claim)
    assert issue_next_generation.fn(overlapping) == 2
    assert plan_rotation(overlapping).proof.judgements > 0
    assert _clients(overlapping) == [["applicatie", "bi", "etl", "postgres"]] * 2


def test_a_plan_refuses_what_its_run_refuses(ref: EnvironmentRef) -> None:
    """A spec that has changed since; what the refusal advises is not what was refused."""
    _gain(ref, "etl")
    for plan in (plan_rotation, plan_downtime, issue_next_generation.fn):
        with pytest.raises(RechainError, match="has changed since generation 2 was issued") as told:
            plan(ref)
        assert "refresh acc --strategy add-clients" in told.value.fix
    path = ref.root / "config" / "chainsmith_acc.yml"
    path.write_text(SPEC.replace("192.0.2.2", "192.0.2.9"))
    with pytest.raises(RechainError, match="has changed since generation 2 was issued") as told:
        plan_rotation(ref)
    assert "take the change back" in told.value.fix


def test_half_way_the_advice_is_to_take_the_change_back(ref: EnvironmentRef) -> None:
    """Clients are added at resting points alone."""
    _gain(ref, "etl")
    update_rotation(ref.root, "acc", lambda stored: replace(stored, target=Phase.OVERLAP))
    with pytest.raises(RechainError, match="has changed since generation 2 was issued") as told:
        plan_rotation(ref)
    assert told.value.fix.startswith("take the change back")


def test_further_chains_of_one_generation_have_names_of_their_own(environment: Environment) -> None:
    """Where no CA key is kept each addition makes a chain; equal DNs in one bundle would hide one of them."""
    (environment.root / "config").mkdir()
    (environment.root / "rechain.yml").write_text("ca_keys: discard\n")
    ref = EnvironmentRef(environment.root, "acc")
    for names in (["etl"], ["etl", "bi"]):
        _gain(ref, *names)
        assert issue_clients.fn(ref) == (names[-1],)
    state, spec = observe(ref), read_spec(ref.root, "acc")
    both = state.current.client_bundle
    without = adopt(state.certs, 1)  # both were revoked since: nobody is below their chains, which servers still hold
    keys = generate_keys(key_types(spec, ["batch"], with_authority=True))
    third = add(spec, without, ["batch"], None, both, now=now(), keys=keys)
    subjects = [one.subject for one in merge(both, third.generation.client_bundle).certificates]
    assert len(set(subjects)) == len(subjects) == 2 + 3 * 2
