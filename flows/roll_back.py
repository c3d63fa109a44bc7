"""Walk a rotation back, in reverse order and under the same rules."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.gates import WayBackInput, pass_gate
from flows.move import move
from rechain.errors import RechainError, RollOutFailed, TransitionRefused
from rechain.phase import Phase
from rechain.report import Outcome, RotationReport, Strategy
from rechain.rotation import Claim, Direction, Rotation, is_replaced_half
from rechain.route import stations
from tasks.claim import claimed
from tasks.discard import discard_next_generation
from tasks.ending import ended
from tasks.notify_hooks import on_crashed, on_failure
from tasks.order import hosts_in_order
from tasks.plan_artifacts import publish_proven
from tasks.prove import prove_steps
from tasks.put_back import put_back
from tasks.record import run_directory
from tasks.reopen import close_reopened, refuse_expiring, reopen_rotation
from tasks.reporting import report
from tasks.repository.generations import has_private_keys
from tasks.repository.location import repository_root
from tasks.repository.rotation_yaml import read_rotation
from tasks.settle import settle_environment
from tasks.state import EnvironmentRef
from tasks.suspension import finished_meanwhile
from tasks.watch import Watched, watched


@flow(
    name="roll-back",
    flow_run_name="roll-back-{environment}",
    persist_result=False,
    validate_parameters=True,
    on_failure=[on_failure],
    on_crashed=[on_crashed],
)
def roll_back(
    environment: str,
    repository: str = "",
    take_over: bool = False,
    accept_non_atomic: bool = False,
) -> RotationReport:
    """Walk back to `issued`; at `issued` discard the next generation; from `retired` trust the previous CAs again.

    Args:
        environment: Name of the environment, as in `environments/ENV`.
        repository: Directory of the environment repository on the worker; where RECHAIN_REPO says when empty.
        take_over: Take the claim of a run that has expired.
        accept_non_atomic: Accept that your own playbook does not swap pairs atomically and restores nothing.

    Raises:
        RechainError: Says where, what, and what to do next; the fleet is at a safe resting point.
    """
    ref = EnvironmentRef(repository_root(repository), environment)
    settle_environment(ref, accept_non_atomic=accept_non_atomic, take_over=take_over)
    if finished := finished_meanwhile(ref):
        return ended(report(ref, run_directory(ref, finished), Outcome.DONE))
    until = _until(ref, read_rotation(ref.root, environment))
    with claimed(ref, Direction.ROLLBACK, until, take_over=take_over) as claim:
        rotation = reopen_rotation(ref)
        record = run_directory(ref, rotation.next or rotation.last_generation)
        if rotation.phase is Phase.ISSUED and rotation.target is None:
            discard_next_generation(ref)
            return ended(report(ref, record, Outcome.DONE))
        if is_replaced_half(rotation):
            return _undo_replacement(ref, record, claim)
        phases = _allowed(ref, rotation, until)
        with watched(ref, record) as canary:
            return _walk(ref, record, phases, claim, canary)


def _undo_replacement(ref: EnvironmentRef, record: Path, claim: Claim) -> RotationReport:
    """What `downtime` left half way: no phase's proof holds between its ends, so hosts get back what they had."""
    refuse_expiring(ref, Phase.ISSUED)
    put_back(ref, hosts_in_order(ref).hosts, claim)
    if read_rotation(ref.root, ref.environment).target is not None:
        raise RollOutFailed(
            ref.environment, "some host did not get back what it had", "mend it, and run the same again"
        )
    return ended(report(ref, record, Outcome.DONE, strategy=Strategy.DOWNTIME))


def _allowed(ref: EnvironmentRef, rotation: Rotation, until: Phase) -> tuple[Phase, ...]:
    """The phases to deploy, once it is certain that every one of them can be; otherwise nothing has changed."""
    try:
        refuse_expiring(ref, until)
        phases = stations(rotation, Direction.ROLLBACK, until)
        start = rotation.phase or until
        publish_proven(ref, start, until, prove_steps(ref, start, until))
    except RechainError:
        close_reopened(ref)
        raise
    return phases


def _walk(
    ref: EnvironmentRef, record: Path, phases: tuple[Phase, ...], claim: Claim, canary: Watched
) -> RotationReport:
    for phase in phases:
        passage = pass_gate(ref, phase, canary, WayBackInput)
        if not passage.is_open:
            return ended(report(ref, record, Outcome.WAITING, waiting=passage.waiting))
        move(ref, phase, claim, canary)
    canary.watch_on()
    return ended(report(ref, record, Outcome.DONE))


def _until(ref: EnvironmentRef, rotation: Rotation) -> Phase:
    """To `clients` and no further once the previous generation was retired: the keys of its leaves are gone.

    Raises:
        TransitionRefused: It rests there already.
    """
    current = rotation.current
    if rotation.phase is Phase.RETIRED:
        return Phase.CLIENTS
    if rotation.next is None or current is None or has_private_keys(ref.root, ref.environment, current):
        return Phase.ISSUED
    if rotation.phase is Phase.CLIENTS and rotation.target is None:
        raise TransitionRefused(
            ref.environment,
            f"can't be walked back any further: the keys of generation {current} were deleted when it was retired",
            f"its CAs are trusted again; go forward when nobody needs them: `rechain refresh {ref.environment}`",
        )
    return Phase.CLIENTS
