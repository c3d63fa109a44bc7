"""The first generation of an environment: issued once, however often it is asked for before it was rolled out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rechain.errors import TransitionRefused
from rechain.phase import Phase
from rechain.rotation import reached
from tasks.reopen import reopen_rotation
from tasks.repository.generations import has_ca_keys, known_generations
from tasks.repository.rotation_yaml import read_rotation
from tasks.state import EnvironmentRef
from tests.chains import NOW
from tests.environments import AT_REST, Environment, tree

_RECHAIN = Path(sys.executable).with_name("rechain")
_SPEC = """\
subject: {CN: postgres, O: Acme}
key: ecdsa-p256
intermediates:
  - name: server
    servers: {pg1: [192.0.2.1], pg2: [192.0.2.2]}
  - name: client
    clients: [postgres]
"""


@pytest.fixture
def new(environment: Environment) -> Environment:
    """An environment with a spec and an inventory, and without certificates."""
    environment.certs.unlink()
    environment.vault.unlink()
    _write(environment, _SPEC)
    return environment


def _write(environment: Environment, spec: str) -> None:
    path = environment.root / "config" / f"chainsmith_{environment.name}.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(spec)


def _run(environment: Environment, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    command = [str(_RECHAIN), arguments[0], environment.name, *arguments[1:], "--repo", str(environment.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def _number(environment: Environment) -> int:
    return int(json.loads(_run(environment, "generate", "--format", "json").stdout)["next"])


def test_it_is_issued_once_until_it_was_rolled_out(new: Environment) -> None:
    """Again changes no byte; another spec is refused with both ways out; `status` says what is to be done."""
    assert _number(new) == 1
    before = tree(new.root)
    assert _number(new) == 1
    assert tree(new.root) == before
    assert "not rolled out yet: rechain refresh acc --strategy downtime" in _run(new, "status").stdout
    _write(new, _SPEC.replace("[postgres]", "[postgres, etl]"))
    refused = _run(new, "generate", expect=2)
    assert "--strategy downtime" in refused.stderr
    new.certs.unlink()
    new.vault.unlink()
    assert _number(new) == 2, "to begin anew, as the refusal says; numbers are never used again"


def test_it_ends_at_rest_and_can_not_be_rolled_back(new: Environment) -> None:
    """Once it was seen on the fleet the environment is at rest; before, there is nothing to go back to."""
    _number(new)
    rotation = read_rotation(new.root, new.name)
    assert rotation.is_first
    assert not rotation.is_at_rest
    with pytest.raises(TransitionRefused, match="is its first"):
        reopen_rotation.fn(EnvironmentRef(new.root, new.name))
    rested = reached(rotation, NOW)
    assert (rested.phase, rested.current, rested.next) == (Phase.RETIRED, 1, None)
    assert rested.is_at_rest
    assert not AT_REST.is_first


def test_its_ca_keys_are_kept_or_not_as_the_settings_say(new: Environment) -> None:
    """`ca_keys: discard` is about the first generation too."""
    (new.root / "rechain.yml").write_text("ca_keys: discard\n")
    _number(new)
    assert known_generations(new.root, new.name) == (1,)
    assert not has_ca_keys(new.root, new.name, 1)
