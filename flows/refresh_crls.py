"""Renew revocation lists long before they end: a list that has ended stops every client, not only the revoked ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect import flow

from rechain.errors import InputError, RechainError
from rechain.rotation import Direction
from tasks.access import deployed_phase
from tasks.claim import claimed, publish
from tasks.deploy_crls import lacking_crls, refuse_unsettled, write_crls
from tasks.distribute import distribute
from tasks.logs import own_refusals
from tasks.notify_hooks import on_crashed, on_failure
from tasks.order import hosts_in_order
from tasks.record import rotation_record
from tasks.renew_crls import renew_crls, require_crls, take_crls
from tasks.repository.layout import environments as all_environments
from tasks.repository.location import repository_root
from tasks.repository.rotation_yaml import read_rotation
from tasks.settle import settle_environment
from tasks.state import EnvironmentRef, observe
from tasks.step import progress
from tasks.verify import verify_phase


@flow(
    name="refresh-crls",
    persist_result=False,
    timeout_seconds=3 * 3600,  # one that hangs would keep every later night's from starting
    validate_parameters=True,
    on_failure=[on_failure],
    on_crashed=[on_crashed],
)
def refresh_crls(
    environments: list[str] | None = None,
    repository: str = "",
    lists: list[Path] | None = None,
    take_over: bool = False,
    accept_non_atomic: bool = False,
) -> tuple[str, ...]:
    """Sign the lists that are due, install them where servers read them, and prove that everybody logs in.

    Environments whose servers read no lists are passed over. An environment where all is in place is left alone.

    Args:
        environments: Names of the environments; all when empty.
        repository: Directory of the environment repository on the worker; where RECHAIN_REPO says when empty.
        lists: Files with lists of CAs whose keys are not ours; for one environment.
        take_over: Take the claim of a run that has expired.
        accept_non_atomic: Accept that your own playbook does not swap pairs atomically and restores nothing.

    Returns:
        The environments that got new lists.

    Raises:
        RechainError: The first environment that could not be served, once all were tried.
    """
    root = repository_root(repository)
    names = tuple(dict.fromkeys(environments or all_environments(root)))
    if lists and len(names) != 1:
        raise InputError("--crl", f"belongs to one environment, and {len(names)} are named", "name the one")
    done, failed = [], []
    for name in names:
        try:
            if _refresh_readable(EnvironmentRef(root, name), lists or (), take_over, accept_non_atomic):
                done.append(name)
        except RechainError as error:
            failed.append(error)
    for one in failed[1:]:
        progress.warning("%s", one)
    if failed and done:  # no longer "nothing was changed"
        raise RechainError(failed[0].where, failed[0].what, f"{failed[0].fix}; new lists are in {', '.join(done)}")
    if failed:
        raise failed[0]
    return tuple(done)


def _refresh_readable(ref: EnvironmentRef, lists: Sequence[Path], take_over: bool, accept_non_atomic: bool) -> bool:
    """One environment that can't be read keeps no other from its lists. Raises RechainError."""
    try:
        return _refresh(ref, lists, take_over, accept_non_atomic)
    except OSError as error:
        where, what = str(error.filename or ref.environment), error.strerror or str(error)
        raise RechainError(where, what, "see that the worker may read and write it") from None


def _refresh(ref: EnvironmentRef, lists: Sequence[Path], take_over: bool, accept_non_atomic: bool) -> bool:
    is_new = read_rotation(ref.root, ref.environment).current is None
    if is_new or not observe(ref).fleet.reads_crls:
        return _pass_over(ref, lists)
    settle_environment(ref, accept_non_atomic=accept_non_atomic, take_over=take_over)
    take_crls(ref, lists)
    renew_crls(ref)
    if observe(ref).rotation.is_first:
        progress.info("%s: the lists go out with its first roll-out", ref.environment)
        return False
    refuse_unsettled(observe(ref))  # the lists are kept: without them the move could never be finished
    lacking = lacking_crls(ref)
    if lacking:
        progress.info("%s: to be installed: %s", ref.environment, ", ".join(lacking))
        _deploy(ref, take_over)
    _require_all(ref, is_deployed=bool(lacking))
    if not lacking:
        progress.info("%s: every list is in place and holds", ref.environment)
    return bool(lacking)


def _require_all(ref: EnvironmentRef, *, is_deployed: bool) -> None:
    """In place is not enough: a CA without a list that holds is shut out. What was installed is told with it."""
    try:
        require_crls(observe(ref))
    except InputError as error:
        if not is_deployed:
            raise
        what = f"new lists were installed, and still {error.what}"
        raise RechainError(error.where, what, "give its owner's list with --crl FILE") from None


def _deploy(ref: EnvironmentRef, take_over: bool) -> None:
    state = observe(ref)
    phase = deployed_phase(state)
    with claimed(ref, Direction.REFRESH, phase, take_over=take_over) as claim:
        write_crls(ref, claim)
        publish(ref, claim, f"{ref.environment}: renew the revocation lists")
        order = hosts_in_order(ref)
        distribute(ref, phase, order.hosts, claim.number, alone=order.primaries)
        with own_refusals(rotation_record(ref), state):
            verify_phase(ref, phase, tries_revoked=True)


def _pass_over(ref: EnvironmentRef, lists: Sequence[Path]) -> bool:
    if lists:
        raise InputError(
            ref.environment,
            "no service of it reads revocation lists",
            "add `crl: root.crl` to its services in rechain_services first",
        )
    progress.info("%s: no service reads revocation lists", ref.environment)
    return False
