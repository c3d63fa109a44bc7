"""The steps of the nightly scan: one look at each source, one for each shard of endpoints."""

from __future__ import annotations

from collections.abc import Sequence

from rechain.scan.report import Scanned
from rechain.scan.seen import Blind, HostSeen, InUse, Listener, Seen, Served
from tasks import scan_look
from tasks.fleet.wire_scan import look_at_wire
from tasks.repository.settings import read_settings
from tasks.scan_look import Asked
from tasks.state import EnvironmentRef
from tasks.step import step


@step("look-at-repository", run_name="look-at-repository-{ref.environment}")
def look_at_repository(ref: EnvironmentRef, ask: Asked) -> Seen:
    """Read the repository and the inventory. Side effect: none. Idempotent, safe to retry.

    Raises:
        RepositoryError: There is no such environment.
    """
    return scan_look.begin(ref, ask)


@step("look-at-wire", run_name="look-at-wire-{environment}-{number}")
def look_at_shard(environment: str, number: int, shard: Sequence[Listener]) -> tuple[Served, ...]:
    """See what a shard of endpoints serves. Side effect: one TLS handshake each. Idempotent, safe to retry."""
    return look_at_wire(shard)


@step("look-at-hosts", run_name="look-at-hosts-{ref.environment}")
def look_at_hosts(ref: EnvironmentRef, begun: Seen) -> tuple[HostSeen, ...]:
    """See what lies on the hosts, by one Ansible run. Side effect: none. Idempotent, safe to retry."""
    return scan_look.hosts_of(ref, begun)


@step("look-at-sessions", run_name="look-at-sessions-{ref.environment}")
def look_at_sessions(ref: EnvironmentRef, ask: Asked, begun: Seen) -> tuple[tuple[InUse, ...], tuple[Blind, ...]]:
    """See which client certificates are in use. Side effect: one short session on each server. Safe to retry."""
    return scan_look.sessions_of(ref, ask, begun)


def shards(begun: Seen, size: int) -> list[tuple[Listener, ...]]:
    """The endpoints of an environment in portions: a task each, so that no task is too small to be worth one."""
    found = scan_look.endpoints(begun)
    return [found[start : start + size] for start in range(0, len(found), size)]


def judge(ref: EnvironmentRef, seen: Seen) -> Scanned:
    """What is found, and what fails next, by the repository's settings."""
    return scan_look.judge(seen, read_settings(ref.root))
