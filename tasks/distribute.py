"""Roll a phase out to hosts: distribute, reload, prove; host by host in batches, by Ansible."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby

from rechain.fleet import Fleet, ServiceKind
from rechain.phase import Phase
from tasks.fleet.rollout import HostEvent, RollOutResult, command_line, raise_for, roll_out
from tasks.repository.settings import read_settings
from tasks.run_page import show_hosts
from tasks.state import EnvironmentRef, observe
from tasks.step import progress, step


@step("distribute-and-reload", run_name="{ref.environment}: distribute {phase} to {hosts}")
def distribute(
    ref: EnvironmentRef,
    phase: Phase,
    hosts: Sequence[str],
    claim: int,
    *,
    alone: Collection[str] = (),
    start: bool = False,
) -> RollOutResult:
    """Install what the repository holds on hosts, in the order given, and prove each reload.

    Side effect: files and reloads on hosts, and a table on the run's page. Idempotent: a host that has it all, and
    serves it, is left alone.

    Args:
        ref: Which environment.
        phase: What is rolled out, for logs and ledgers.
        hosts: Inventory names, in the order to take them.
        claim: Number of the claim.
        alone: Those of them that no batch holds together with another: primaries, see `hosts_in_order`.
        start: Whether services that do not run are started with their restart command, and proven.

    Raises:
        RollOutFailed: Names the host that failed and what it said; it was restored, later hosts were not touched.
    """

    def tell(event: HostEvent) -> None:
        progress.info("%s: %s", phase, event)

    def tell_ledger(left: RollOutResult) -> None:
        progress.warning("%s: cut short; %s", phase, left.ledger())
        show_hosts(ref, phase, left)

    settings = read_settings(ref.root)
    batch = hosts_at_a_time(observe(ref).fleet, hosts, settings.batch, alone)
    by_hand = command_line(ref.root, ref.environment, hosts, phase.value, claim=claim, batch=batch)
    progress.info("%s, by hand: %s", phase, by_hand)
    result = roll_out(
        ref.root,
        ref.environment,
        hosts=list(hosts),
        claim=claim,
        phase=phase.value,
        batch=batch,
        timeout_s=settings.roll_out_s,
        on_event=tell,
        on_cut=tell_ledger,
        settings_playbook=settings.playbook,
        start=start,
    )
    show_hosts(ref, phase, result)
    raise_for(result)
    return result


def hosts_at_a_time(fleet: Fleet, hosts: Sequence[str], wanted: int, alone: Collection[str] = ()) -> int | list[int]:
    """How many hosts a roll-out takes at a time; a number for each batch where some are taken by themselves.

    One, where etcd is among their services: it is restarted for a new bundle, and a cluster that loses more than half
    of its members is an outage. A primary has a batch of its own: a fault that shows after a reload then never meets
    it together with the standby that would take over.
    """
    members = {host.name for host in fleet.hosts if any(one.kind is ServiceKind.ETCD for one in host.services)}
    if members & set(hosts):
        return 1
    if wanted == 1 or not set(alone) & set(hosts):
        return wanted
    sizes: list[int] = []
    for by_itself, together in groupby(hosts, key=lambda host: host in alone):
        count = len(list(together))
        size = 1 if by_itself else wanted
        sizes += [min(size, count - taken) for taken in range(0, count, size)]
    return sizes
