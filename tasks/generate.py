"""Issue the next generation into the environment repository; nothing is deployed."""

from __future__ import annotations

from rechain.generation import Generation
from rechain.issue import Issued, issue, key_types
from rechain.spec import ChainSpec
from tasks.fleet.inventory import read_fleet
from tasks.keys import generate_keys
from tasks.next_generation import keep_current, record_next, refuse_changed_spec, refuse_outside, write_next
from tasks.repository.deployment import check_repository, write_first_certs
from tasks.repository.generation_yaml import outside_sides
from tasks.repository.generations import is_of_spec, read_generation
from tasks.repository.intent import settle
from tasks.repository.layout import certs_paths
from tasks.repository.lock import issuing
from tasks.repository.rotation_yaml import read_rotation
from tasks.repository.spec_file import read_spec
from tasks.state import EnvironmentRef, now
from tasks.step import step


@step("generate")
def issue_next_generation(ref: EnvironmentRef, *, even_expired: bool = False, own_ca: bool = False) -> int:
    """Issue the next generation of the chain, once.

    Side effect: writes `rechain/ENV/generation-N`; the first one of an environment becomes certs.yml and vault, too.
    Idempotent: an unfinished next generation, or a first one that was not rolled out, is returned as it is; a run
    that died between writing the folder and recording it finds the folder. Safe to retry.

    Args:
        ref: Which environment.
        even_expired: Whether the present chain may have expired.
        own_ca: Whether our own CA takes over from an outside one.

    Returns:
        The number of the next generation; of the current one where that is the first.

    Raises:
        InputError: The repository is not fit, the spec changed since the unfinished generation was issued, or the
            next generation is an outside CA's to sign.
    """
    with issuing(ref.root, ref.environment):
        return _next_generation(ref, even_expired=even_expired, own_ca=own_ca)


def _next_generation(ref: EnvironmentRef, *, even_expired: bool, own_ca: bool) -> int:
    settle(ref.root, ref.environment)
    spec = read_spec(ref.root, ref.environment)
    rotation = read_rotation(ref.root, ref.environment)
    if rotation.next is not None:
        read_generation(ref.root, ref.environment, rotation.next)
        refuse_changed_spec(ref, rotation.next, spec)
        return rotation.next
    if rotation.is_first and rotation.current is not None and not _is_without_files(ref):
        refuse_changed_spec(ref, rotation.current, spec)
        return rotation.current
    refuse_outside(ref, rotation, own_ca=own_ca)
    if rotation.current is None or rotation.is_first:
        return _first_generation(ref, rotation.last_generation + 1, spec)
    check_repository(ref.root, ref.environment, even_expired=even_expired)
    read_fleet(ref.root, ref.environment, spec.clients, list(spec.servers))  # unreadable: found before anything is made
    keep_current(ref, rotation)
    number = rotation.last_generation + 1
    _issue_once(ref, number, spec)
    record_next(ref, number)
    return number


def _is_without_files(ref: EnvironmentRef) -> bool:
    return not any(path.exists() for path in certs_paths(ref.root, ref.environment))


def _issue_once(ref: EnvironmentRef, number: int, spec: ChainSpec) -> Generation:
    is_ours = not outside_sides(ref.root, ref.environment, number)
    if is_ours and is_of_spec(ref.root, ref.environment, number, spec):
        return read_generation(ref.root, ref.environment, number)
    issued = _issue(spec, number)
    write_next(ref, issued, spec)
    return issued.generation


def _issue(spec: ChainSpec, number: int) -> Issued:
    return issue(spec, number, now=now(), keys=generate_keys(key_types(spec)))


def _first_generation(ref: EnvironmentRef, number: int, spec: ChainSpec) -> int:
    """An environment without certificates gets its first ones as certs.yml and vault, ready to be rolled out."""
    _issue_once(ref, number, spec)
    write_first_certs(ref.root, ref.environment, number)
    return number
