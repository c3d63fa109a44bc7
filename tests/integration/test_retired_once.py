"""A generation that was retired once and is trusted again: its keys are gone, so nothing of it is issued or signed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rechain.errors import InputError
from rechain.phase import Phase
from rechain.rotation import Direction, Rotation
from tasks.add_clients import issue_clients, write_clients
from tasks.claim import claimed
from tasks.plan import plan_rotation
from tasks.plan_addition import plan_new_clients
from tasks.repository.certs_yaml import read_certs
from tasks.repository.generations import delete_private_keys, read_generation
from tasks.repository.intent import deploy_files
from tasks.repository.rotation_yaml import read_rotation, write_rotation
from tasks.revoke import check_revocable
from tasks.state import EnvironmentRef
from tests.environments import SPEC, Environment

_RECHAIN = Path(sys.executable).with_name("rechain")


@pytest.fixture
def ref(environment: Environment) -> EnvironmentRef:
    """Generation 2 was retired into and walked back from: `clients` again, generation 1 without private keys."""
    spec = environment.root / "config" / "chainsmith_acc.yml"
    spec.parent.mkdir()
    spec.write_text(SPEC)
    subprocess.run([_RECHAIN, "generate", "acc", "--repo", environment.root], check=True, capture_output=True)
    ref, folder = EnvironmentRef(environment.root, "acc"), environment.state / "generation-2"
    rotation = Rotation(Phase.CLIENTS, current=1, next=2, last_generation=2, delivered=True)
    write_rotation(environment.root, "acc", rotation)
    deploy_files(
        environment.root, "acc", rotation, (folder / "certs.yml").read_text(), (folder / "certs.vault.yml").read_text()
    )
    write_rotation(environment.root, "acc", rotation)
    delete_private_keys(environment.root, "acc", 1)
    return ref


def test_new_clients_get_a_leaf_of_the_generation_that_is_in_use(ref: EnvironmentRef, environment: Environment) -> None:
    """Planned, issued, deployed; generation 1 is left as it is, and can be retired again."""
    (environment.root / "config" / "chainsmith_acc.yml").write_text(SPEC.replace("applicatie]", "applicatie, etl]"))
    assert "new clients: etl" in plan_new_clients(ref).plan.notes[0]
    before = read_generation(ref.root, "acc", 1)
    assert issue_clients.fn(ref) == ("etl",)
    with claimed(ref, Direction.REFRESH, Phase.CLIENTS, take_over=False) as claim:
        assert write_clients.fn(ref, claim)
    assert read_certs(environment.certs).clients["etl"] == read_generation(ref.root, "acc", 2).clients["etl"]
    assert read_generation(ref.root, "acc", 1) == before
    assert read_rotation(ref.root, "acc").phase is Phase.CLIENTS
    assert plan_rotation(ref).proof.judgements > 0


def test_its_lists_can_not_be_signed_and_the_other_certificate_can_be_revoked(ref: EnvironmentRef) -> None:
    """The refusal says which generation can, and how the other one goes."""
    with pytest.raises(InputError, match="of generation 1: the key of its CA") as refused:
        check_revocable.fn(ref, "applicatie", None)
    assert "rechain refresh acc" in refused.value.fix
    assert "--generation 2" in refused.value.fix
