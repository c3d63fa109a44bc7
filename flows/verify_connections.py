"""Log in as every client on every endpoint, and say what came of it."""

from __future__ import annotations

from prefect import flow

from tasks.access import deployed_phase
from tasks.notify_hooks import on_crashed, on_failure
from tasks.repository.location import repository_root
from tasks.state import EnvironmentRef, observe
from tasks.verify import Verification, verify_phase


@flow(
    name="verify-connections",
    flow_run_name="verify-{environment}",
    persist_result=False,
    on_failure=[on_failure],
    on_crashed=[on_crashed],
)
def verify_connections(environment: str, repository: str = "") -> Verification:
    """Prove that every client can log in on every endpoint, with every generation that the present phase accepts.

    Args:
        environment: Name of the environment, as in `environments/ENV`.
        repository: Directory of the environment repository on the worker; where RECHAIN_REPO says when empty.

    Raises:
        VerificationFailed: Names every login that failed and every endpoint that serves something else.
    """
    ref = EnvironmentRef(repository_root(repository), environment)
    return verify_phase(ref, deployed_phase(observe(ref)))
