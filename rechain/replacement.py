"""The plan of strategy `downtime`: everything is replaced in one step, and logins fail while it is under way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rechain.certs import Certs, ForeignCAs, foreign_issuers
from rechain.fleet import Fleet
from rechain.phase import Phase
from rechain.plan import RotationPlan, Step, changes, intended_files, reloads
from rechain.report import Strategy

_REASON = "everything is replaced in one step: every leaf, every bundle, on every host"


def plan_replacement(
    fleet: Fleet, before: Certs | None, after: Certs, foreign: ForeignCAs, notes: Iterable[str] = ()
) -> RotationPlan:
    """Plan to replace a chain in one step.

    Args:
        fleet: Hosts, services and clients.
        before: What the hosts hold; None when they hold nothing yet.
        after: What they will hold.
        foreign: CAs that stay in the bundles.
        notes: What else the person who starts it must know.
    """
    changed = changes(intended_files(fleet, before) if before else {}, intended_files(fleet, after))
    step = Step(Phase.RETIRED, _REASON, changed, tuple(reloads(fleet, changed)))
    return RotationPlan(
        environment=fleet.environment,
        strategy=Strategy.DOWNTIME,
        steps=(step,) if changed else (),
        tell=tuple(_advice(fleet, foreign)),
        notes=(*_outage(fleet, before), *notes),
    )


def _outage(fleet: Fleet, before: Certs | None) -> Iterator[str]:
    if before is None:
        yield "hosts hold nothing yet: nobody logs in before it, and services that do not run are started"
        return
    managed = ", ".join(fleet.managed_clients) or "no managed client"
    yield f"logins fail in between: {managed} from the first host until the last one is done, replication too"
    if fleet.external_clients:
        yield (
            f"logins of {', '.join(fleet.external_clients)} fail from the first host until their owners have installed "
            "what they are given, however long that takes"
        )


def _advice(fleet: Fleet, foreign: ForeignCAs) -> Iterator[str]:
    for authority in foreign_issuers(foreign):
        name = authority.common_name or authority.subject
        yield f"{name} (a foreign CA): its users are out until they have added the new server chain to sslrootcert"
    for client in fleet.external_clients:
        delivery = f"`rechain deliver {fleet.environment} {client}`"
        yield (
            f"{client}: out from the roll-out on, until all files of {delivery} are installed, together, and every "
            "connection is opened anew"
        )
