"""Revoke a client's certificates, and prove that they are refused while everybody else logs in."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from rechain.errors import InputError
from rechain.revocation_report import RevocationReport
from rechain.rotation import Direction
from tasks.access import deployed_phase
from tasks.claim import claimed, publish
from tasks.deploy_crls import write_crls
from tasks.distribute import distribute
from tasks.logs import own_refusals
from tasks.notify_hooks import on_crashed, on_failure
from tasks.order import hosts_in_order
from tasks.record import rotation_record, run_directory
from tasks.repository.location import repository_root
from tasks.revoke import check_revocable, revocation_report, revoke_client
from tasks.settle import settle_environment
from tasks.state import EnvironmentRef, FleetState, observe
from tasks.verify import verify_phase
from tasks.watch import watched


@flow(
    name="revoke-certificate",
    flow_run_name="revoke-{client}-{environment}",
    persist_result=False,
    validate_parameters=True,
    on_failure=[on_failure],
    on_crashed=[on_crashed],
)
def revoke_certificate(  # noqa: PLR0917  # the fields of the run form
    environment: str,
    client: str,
    reason: str,
    repository: str = "",
    generation: int | None = None,
    take_over: bool = False,
    accept_non_atomic: bool = False,
) -> RevocationReport:
    """Make every server refuse a client's certificates before they end; nobody else is disturbed.

    Args:
        environment: Name of the environment, as in `environments/ENV`.
        client: The client whose certificates are revoked.
        reason: Why; kept in revoked.yml.
        repository: Directory of the environment repository on the worker; where RECHAIN_REPO says when empty.
        generation: Revoke the certificate of this generation alone; all that are in use when empty.
        take_over: Take the claim of a run that has expired.
        accept_non_atomic: Accept that your own playbook does not swap pairs atomically and restores nothing.

    Raises:
        RechainError: Says where, what, and what to do next; run it again to go on.
    """
    if not reason.strip():
        raise InputError("--reason", "is empty, and a revocation is asked about for years", "say why")
    ref = EnvironmentRef(repository_root(repository), environment)
    settle_environment(ref, accept_non_atomic=accept_non_atomic, take_over=take_over)
    check_revocable(ref, client, generation)
    state = observe(ref)
    phase, record = deployed_phase(state), _record(ref, state, client, generation)
    claim_it = claimed(ref, Direction.REFRESH, phase, take_over=take_over)
    with claim_it as claim, watched(ref, record, without=[client]) as canary:
        canary.watch_on()  # what the others' logins are like before anything is changed
        revoked = revoke_client(ref, client, generation, reason)
        write_crls(ref, claim)
        publish(ref, claim, f"{environment}: revoke {client}\n\n{reason}")
        order = hosts_in_order(ref)
        distribute(ref, phase, order.hosts, claim.number, alone=order.primaries)
        with own_refusals(rotation_record(ref), state):
            verified = verify_phase(ref, phase, tries_revoked=True)
        canary.watch_on()
    return revocation_report(ref, record, revoked, verified)


def _record(ref: EnvironmentRef, state: FleetState, client: str, generation: int | None) -> Path:
    """A run that is started again goes on with the record of the first; a new certificate's begins anew."""
    used = [one for one in (state.current, state.next) if one and generation in (None, one.number)]
    serials = [f"{one.clients[client].leaf.serial:x}" for one in used if client in one.clients]
    return run_directory(ref, state.current.number, "-".join(("revoke", client, *serials)))
