"""Issue the next generation into the environment repository; nothing is deployed."""

from __future__ import annotations

from dataclasses import replace

from rechain.errors import ClaimRefused, InputError
from rechain.generation import Generation
from rechain.issue import ROOT, Issued, issue, key_types
from rechain.phase import Phase
from rechain.revocation import first_crls
from rechain.rotation import Rotation
from rechain.spec import ChainSpec, digest
from tasks.fleet.inventory import read_fleet
from tasks.keys import generate_keys
from tasks.repository.deployment import check_repository, write_first_certs
from tasks.repository.generations import (
    adopt_environment,
    read_generation,
    snapshot,
    spec_digest,
    write_generation,
)
from tasks.repository.intent import settle
from tasks.repository.layout import certs_paths
from tasks.repository.lock import issuing
from tasks.repository.rotation_yaml import read_rotation, update_rotation
from tasks.repository.settings import read_settings
from tasks.repository.spec_file import read_spec
from tasks.state import EnvironmentRef, now
from tasks.step import step


@step("generate")
def issue_next_generation(ref: EnvironmentRef, *, even_expired: bool = False) -> int:
    """Issue the next generation of the chain, once.

    Side effect: writes `rechain/ENV/generation-N`; the first one of an environment becomes certs.yml and vault, too.
    Idempotent: an unfinished next generation, or a first one that was not rolled out, is returned as it is; a run
    that died between writing the folder and recording it finds the folder. Safe to retry.

    Args:
        ref: Which environment.
        even_expired: Whether the present chain may have expired.

    Returns:
        The number of the next generation; of the current one where that is the first.

    Raises:
        InputError: The repository is not fit, or the spec changed since the unfinished generation was issued.
    """
    with issuing(ref.root, ref.environment):
        return _next_generation(ref, even_expired=even_expired)


def _next_generation(ref: EnvironmentRef, *, even_expired: bool) -> int:
    settle(ref.root, ref.environment)
    spec = read_spec(ref.root, ref.environment)
    rotation = read_rotation(ref.root, ref.environment)
    if rotation.next is not None:
        read_generation(ref.root, ref.environment, rotation.next)
        _refuse_changed_spec(ref, rotation.next, spec)
        return rotation.next
    if rotation.current is None or (rotation.is_first and _is_without_files(ref)):
        return _first_generation(ref, rotation.last_generation + 1, spec)
    if rotation.is_first:
        _refuse_changed_spec(ref, rotation.current, spec)
        return rotation.current
    check_repository(ref.root, ref.environment, even_expired=even_expired)
    read_fleet(ref.root, ref.environment, spec.clients, list(spec.servers))  # unreadable: found before anything is made
    _keep_current(ref, rotation)
    number = rotation.last_generation + 1
    _issue_once(ref, number, spec)
    _record(ref, number)
    return number


def _record(ref: EnvironmentRef, number: int) -> None:
    def record(stored: Rotation) -> Rotation:
        if stored.next is not None or stored.last_generation >= number:
            raise ClaimRefused(
                ref.environment, "was moved while its next generation was issued", "look at `rechain status`"
            )
        return replace(stored, phase=Phase.ISSUED, next=number, last_generation=number, approvals=(), reached_at=now())

    update_rotation(ref.root, ref.environment, record)


def _refuse_changed_spec(ref: EnvironmentRef, number: int, spec: ChainSpec) -> None:
    if spec_digest(ref.root, ref.environment, number) == digest(spec):
        return
    finish, discard = f"finish it with `rechain refresh {ref.environment}`", "discard it with `rechain rollback` first"
    if read_rotation(ref.root, ref.environment).is_first:
        finish, discard = f"{finish[:-1]} --strategy downtime`", "remove certs.yml and its vault to begin anew"
    raise InputError(
        f"config/chainsmith_{ref.environment}.yml",
        f"has changed since generation {number} was issued, which is not yet rolled out",
        f"{finish}, or {discard}",
    )


def _is_without_files(ref: EnvironmentRef) -> bool:
    return not any(path.exists() for path in certs_paths(ref.root, ref.environment))


def _keep_current(ref: EnvironmentRef, rotation: Rotation) -> None:
    """Keep the current generation's files byte for byte, so that a rollback restores them."""
    if rotation.last_generation <= 1 and rotation.reached_at is None:
        adopt_environment(ref.root, ref.environment)
    if rotation.current is not None:
        snapshot(ref.root, ref.environment, rotation.current)


def _issue_once(ref: EnvironmentRef, number: int, spec: ChainSpec) -> Generation:
    if spec_digest(ref.root, ref.environment, number) == digest(spec):
        return read_generation(ref.root, ref.environment, number)
    return _write(ref, _issue(spec, number), digest(spec), read_settings(ref.root).ca_keys)


def _write(ref: EnvironmentRef, issued: Issued, spec_digest: str, ca_keys: str) -> Generation:
    """Write a generation with its first revocation lists, and those of its CA keys that are to be kept."""
    keeps_root = ca_keys == "keep"
    kept = {name: key for name, key in issued.ca_keys.items() if keeps_root or name != ROOT}
    write_generation(
        ref.root,
        ref.environment,
        replace(issued, ca_keys=kept),
        spec_digest,
        keep_ca_keys=ca_keys != "discard",
        crls=first_crls(issued, now=now(), keeps_root_key=keeps_root),
    )
    return issued.generation


def _issue(spec: ChainSpec, number: int) -> Issued:
    return issue(spec, number, now=now(), keys=generate_keys(key_types(spec)))


def _first_generation(ref: EnvironmentRef, number: int, spec: ChainSpec) -> int:
    """An environment without certificates gets its first ones as certs.yml and vault, ready to be rolled out."""
    _issue_once(ref, number, spec)
    write_first_certs(ref.root, ref.environment, number)
    return number
