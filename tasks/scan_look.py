"""Look at one environment through every source. Plain functions: no Prefect is imported here."""

from __future__ import annotations

import logging
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time

from rechain.errors import RechainError
from rechain.fleet import Fleet
from rechain.rotation import Rotation
from rechain.scan.case import Case, Limits
from rechain.scan.report import Scanned, report
from rechain.scan.seen import Blind, HostSeen, InUse, Listener, Seen, Served, Source, Text, Use, listeners
from tasks.fleet.host_look import look_at_hosts
from tasks.fleet.inventory import read_readable_fleet
from tasks.fleet.wire_scan import look_at_wire
from tasks.repository.entries import read_entries, read_vault_entries
from tasks.repository.rotation_yaml import read_rotation
from tasks.repository.settings import Settings
from tasks.repository.vault import password_file
from tasks.session_look import look_at_sessions
from tasks.state import EnvironmentRef, now, observe

progress = logging.getLogger("rechain")

_BY_FLEET = frozenset({Source.WIRE, Source.HOSTS, Source.SESSIONS})


@dataclass(frozen=True, slots=True)
class Asked:
    """Which sources a scan asks.

    Attributes:
        sources: Which.
        by_name: Whether a person named them: what was asked for by name and can't be asked is an unknown, what is
            asked by default and needs what is not there (a vault password) is left out with a word.
    """

    sources: frozenset[Source] = frozenset(Source)
    by_name: bool = False


def asked(names: Collection[Source]) -> Asked:
    """What `--source` means; without any name, all that are reachable."""
    return Asked(frozenset(names), by_name=True) if names else Asked()


def look(ref: EnvironmentRef, ask: Asked) -> Seen:
    """Look at an environment. Changes nothing; what can't be seen is part of the answer.

    Raises:
        RepositoryError: There is no such environment.
    """
    begun = begin(ref, ask)
    with ThreadPoolExecutor(max_workers=len(_BY_FLEET)) as pool:
        served = pool.submit(look_at_wire, endpoints(begun))
        hosts = pool.submit(hosts_of, ref, begun)
        sessions = pool.submit(sessions_of, ref, ask, begun)
        return finish(begun, served.result(), hosts.result(), sessions.result())


def begin(ref: EnvironmentRef, ask: Asked) -> Seen:
    """The repository, and the inventory that tells where else to look.

    Raises:
        RepositoryError: There is no such environment.
    """
    seen = look_at_repository(ref, ask, now())
    fleet, blind = _fleet(ref, ask, seen)
    return replace(seen, fleet=fleet, blind=(*seen.blind, *blind))


def endpoints(begun: Seen) -> tuple[Listener, ...]:
    """The endpoints to look at on the wire; none when the wire is not asked, or nobody knows them."""
    return listeners(begun.fleet) if begun.fleet and Source.WIRE in begun.sources else ()


def hosts_of(ref: EnvironmentRef, begun: Seen) -> tuple[HostSeen, ...]:
    """What lies on the hosts; nothing when they are not asked."""
    if begun.fleet is None or Source.HOSTS not in begun.sources:
        return ()
    return look_at_hosts(ref.root, ref.environment, begun.fleet)


def sessions_of(ref: EnvironmentRef, ask: Asked, begun: Seen) -> tuple[tuple[InUse, ...], tuple[Blind, ...]]:
    """Client certificates in use; nothing when sessions are not asked, or by default when nobody can log in."""
    if begun.fleet is None or Source.SESSIONS not in begun.sources:
        return (), ()
    if password_file() is None and not ask.by_name:
        progress.info("%s: sessions are not looked at, there is no vault password to log in with", ref.environment)
        return (), ()
    try:
        return look_at_sessions(observe(ref))
    except RechainError as error:
        return (), (Blind(Source.SESSIONS, error.where, error.what),)


def finish(
    begun: Seen,
    served: tuple[Served, ...],
    hosts: tuple[HostSeen, ...],
    sessions: tuple[tuple[InUse, ...], tuple[Blind, ...]],
) -> Seen:
    """All sources together."""
    in_use, unreadable = sessions
    return replace(begun, served=served, hosts=hosts, sessions=in_use, blind=(*begun.blind, *unreadable))


def judge(seen: Seen, settings: Settings) -> Scanned:
    """What is found, and what fails next."""
    days = settings.thresholds
    planned = settings.next_refresh
    refresh = datetime.combine(planned, time(), UTC) if planned else None
    return report(Case(seen, Limits(days.warning_days, days.critical_days, refresh)))


def look_at_repository(ref: EnvironmentRef, ask: Asked, at: datetime) -> Seen:
    """What the repository alone tells. What is deployed is read even when other sources alone are asked: to compare.

    Raises:
        RepositoryError: There is no such environment.
    """
    texts = read_entries(ref.root, ref.environment)
    blind: list[Blind] = []
    if not texts and Source.REPOSITORY in ask.sources:
        nothing = "holds no certificates yet: make the first ones with `rechain generate`"
        blind.append(Blind(Source.REPOSITORY, f"environment {ref.environment}", nothing))
    rotation = _rotation(ref, blind)
    if Source.REPOSITORY in ask.sources:
        texts += _vault(ref, blind)
    return Seen(
        ref.environment,
        at,
        ask.sources,
        phase=rotation.phase if rotation else None,
        current=rotation.current if rotation else None,
        next=rotation.next if rotation else None,
        texts=texts,
        blind=tuple(blind),
    )


def _rotation(ref: EnvironmentRef, blind: list[Blind]) -> Rotation | None:
    try:
        return read_rotation(ref.root, ref.environment)
    except RechainError as error:
        blind.append(Blind(Source.REPOSITORY, error.where, error.what))
        return None


def _vault(ref: EnvironmentRef, blind: list[Blind]) -> tuple[Text, ...]:
    if password_file() is None:
        return ()
    try:
        return read_vault_entries(ref.root, ref.environment)
    except RechainError as error:
        blind.append(Blind(Source.REPOSITORY, error.where, error.what))
        return ()


def _fleet(ref: EnvironmentRef, ask: Asked, seen: Seen) -> tuple[Fleet | None, tuple[Blind, ...]]:
    if not ask.sources & _BY_FLEET:
        return None, ()
    servers, clients = _names(seen, Use.SERVER_LEAF), _names(seen, Use.CLIENT_LEAF)
    try:
        fleet, refusals = read_readable_fleet(ref.root, ref.environment, clients, servers)
    except RechainError as error:
        return None, (Blind(Source.HOSTS, error.where, error.what),)
    return fleet, tuple(Blind(Source.HOSTS, error.where, error.what) for error in refusals)


def _names(seen: Seen, use: Use) -> list[str]:
    of_now = (None, seen.next)
    return list(
        dict.fromkeys(one.name for one in seen.texts if one.use is use and one.name and one.generation in of_now)
    )
