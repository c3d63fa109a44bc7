"""The canary beside a run: it starts before anything moves, follows the phases, and is judged by the gates."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from rechain.canary import attempted_since, failures_since, has_watched
from rechain.errors import RechainError
from rechain.fleet import Host, ServiceKind
from rechain.generation import Generation
from rechain.phase import Phase, material
from rechain.revocation import refused_clients
from tasks.access import deployed_phase, leaf_keys, trusted_by_clients
from tasks.fleet.canary import Canary, read_segments, start_canary
from tasks.fleet.credentials import credentials, key_directory, present
from tasks.fleet.watch import Watch
from tasks.reporting import show_so_far
from tasks.run_page import show_canary
from tasks.state import EnvironmentRef, FleetState, now, observe


@dataclass(frozen=True, slots=True)
class Watched:
    """A rotation that is being watched.

    Attributes:
        ref: Which environment.
        started: Since when this run watches, aware UTC.
        quiet_s: Seconds that must pass after a phase's last action before it is judged.
    """

    ref: EnvironmentRef
    started: datetime
    quiet_s: float
    _canary: Canary
    _record: Path
    _keys: Path

    def failures(self, since: datetime) -> tuple[str, ...]:
        """Failures over TLS since a moment; the moment's quiet period is waited out first.

        Raises:
            VerificationFailed: The canary ended by itself.
        """
        self._wait_until(max(since, self.started).timestamp() + self.quiet_s)
        self._canary.check()
        return tuple(str(attempt) for attempt in failures_since(read_segments(self._record), since))

    def has_tried_since(self, moment: datetime) -> bool:
        """Whether any login was tried since a moment: without one, no failure proves nothing."""
        return attempted_since(read_segments(self._record), moment) > 0

    def has_watched(self, moment: datetime) -> bool:
        """Whether logins were recorded here from that moment on; another worker's recording is not here."""
        return has_watched(read_segments(self._record), moment)

    def follow(self, phase: Phase) -> None:
        """Present what the phase wants of the clients that are watched from this machine, external ones included."""
        _present(observe(self.ref), phase, self._keys)

    def watch_on(self) -> None:
        """Watch for one more quiet period."""
        self._wait_until(time.time() + self.quiet_s)
        self._canary.check()

    def _wait_until(self, moment: float) -> None:
        time.sleep(max(0.0, moment - time.time()))


@contextmanager
def watched(ref: EnvironmentRef, record: Path, *, without: Collection[str] = ()) -> Iterator[Watched]:
    """Watch logins for as long as the block lasts: files on this machine as they are, other clients with our keys.

    Side effect: a process that ends with this one, a recording in `record`, a 0700 directory on tmpfs, and on the
    run's page what was seen, whichever way the block ends.

    Args:
        ref: Which environment.
        record: Where the recording goes.
        without: Clients that are not watched, because their logins are to end; those with a revoked leaf never are.
    """
    state = observe(ref)
    state = _without(state, {*without, *_refused(state)})
    try:
        with key_directory() as keys:
            extra = _present(state, deployed_phase(state), keys)
            with start_canary(state.fleet, state.settings, record, extra) as canary:
                yield Watched(ref, now(), state.settings.gates.quiet_s, canary, record, keys)
    except RechainError as error:
        show_so_far(ref, record, error=error)
        raise
    finally:
        show_canary(ref, record)


def _refused(state: FleetState) -> frozenset[str]:
    """Clients that present, or may come to present, a certificate that servers refuse: that is no failure to count."""
    generations = [one.clients for one in (state.current, state.next) if one]
    return refused_clients(state.revoked, (*generations, state.certs.clients))


def _without(state: FleetState, clients: Collection[str]) -> FleetState:
    def others(host: Host) -> Host:
        return replace(host, clients=tuple(one for one in host.clients if one.name not in clients))

    def fewer(one: Generation) -> Generation:
        return replace(one, clients={name: leaf for name, leaf in one.clients.items() if name not in clients})

    fleet = replace(state.fleet, hosts=tuple(map(others, state.fleet.hosts)))
    upcoming = fewer(state.next) if state.next else None
    return replace(state, fleet=fleet, current=fewer(state.current), next=upcoming)


def _present(state: FleetState, phase: Phase, directory: Path) -> tuple[Watch, ...]:
    """Give every client that has no files on this machine those of a phase, where we have its key.

    One that was issued a moment ago and is not deployed yet is left out: servers would log that they refuse it.
    """
    here = {client.name for host in state.fleet.hosts if host.is_local for client in host.clients}
    generation = state.rotating.generation(material(phase).client_leaves) if state.next else state.current
    trusted = trusted_by_clients(state, phase)
    endpoints = state.fleet.endpoints(ServiceKind.POSTGRESQL, ServiceKind.PGBOUNCER)
    watches: list[Watch] = []
    for credential in credentials(generation, leaf_keys(state, generation), trusted):
        if credential.client not in here and credential.client in state.certs.clients:
            files = present(directory, credential)
            watches += [Watch(credential.client, "", endpoint, files, pinned=True) for endpoint in endpoints]
    return tuple(watches)
