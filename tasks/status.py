"""Where an environment stands, answered within two seconds: no Prefect is imported here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rechain.fleet import Endpoint
from rechain.gate import Waiting
from rechain.rotation import Rotation
from rechain.scan.seen import Listener, listeners
from rechain.signing_request import Requests
from tasks.evidence import first_end
from tasks.fleet.wire import WireUnreadable, served
from tasks.gates import waiting_now
from tasks.repository.intent import pending
from tasks.repository.layout import certs_paths
from tasks.repository.requests import read_requests
from tasks.repository.rotation_yaml import read_rotation
from tasks.state import EnvironmentRef, FleetState, observe

_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What an endpoint serves.

    Attributes:
        endpoint: Which.
        generation: Number of the generation whose leaf it is; None when it is of none, or not seen.
        not_after: When that leaf ends, as an ISO date; None when not seen.
        problem: Why it was not seen, or what contradicts; None when all is well.
    """

    endpoint: Endpoint
    generation: int | None
    not_after: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """Where an environment stands.

    Attributes:
        environment: Which.
        rotation: What rotation.yml says.
        waiting: What the gate out of the present phase waits for.
        observed: What every endpoint serves.
        unfinished: A file change that was cut short; None when there is none.
        outage: Subject and end of the certificate that ends first: waiting longer is an outage. None without any.
        requests: Signing requests that wait for an outside CA; None when there are none.
    """

    environment: str
    rotation: Rotation
    waiting: tuple[Waiting, ...]
    observed: tuple[Seen, ...]
    unfinished: str | None
    outage: tuple[str, str] | None
    requests: Requests | None


def status(ref: EnvironmentRef) -> Status:
    """Look at an environment. Changes nothing; unreachable endpoints are part of the answer."""
    rotation = read_rotation(ref.root, ref.environment)
    unfinished, requests = pending(ref.root, ref.environment), read_requests(ref.root, ref.environment)
    if rotation.current is None or (unfinished and not certs_paths(ref.root, ref.environment)[0].exists()):
        return Status(ref.environment, rotation, (), (), unfinished, None, requests)
    state = observe(ref)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(waiting_now, state)
        observed = tuple(pool.map(lambda listener: _look(state, listener), listeners(state.fleet)))
        end = first_end(state)
        outage = (end.subject, end.not_after.date().isoformat()) if end else None
        return Status(ref.environment, rotation, waiting.result(), observed, unfinished, outage, requests)


def _look(state: FleetState, listener: Listener) -> Seen:
    endpoint = listener.endpoint
    try:
        leaf = served(endpoint, _TIMEOUT_S, listener.kind)[0]
    except WireUnreadable as error:
        return Seen(endpoint, None, None, error.what)
    generations = [state.current, *([state.next] if state.next else [])]
    number = next((one.number for one in generations if leaf in [chain.leaf for chain in one.servers.values()]), None)
    wanted = state.certs.servers.get(endpoint.server_name)
    fits = wanted is not None and wanted.leaf == leaf
    problem = None if fits else "serves another certificate than certs.yml holds"
    return Seen(endpoint, number, leaf.not_after.date().isoformat(), problem)
