"""`python -m benchmarks.scan.contenders NAME DIRECTORY`: one way to look at all endpoints, measured from within."""

from __future__ import annotations

import json
import resource
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.scan.endpoints import PORT, Place, of_kind, read_endpoints

TIMEOUT_S = 5.0


def _rechain(directory: Path) -> dict[str, Any]:
    """Our scanner, all endpoints."""
    from rechain.fleet import Endpoint
    from rechain.scan.seen import Listener
    from tasks.fleet.wire_scan import look_at_wire

    places = read_endpoints(directory)
    listeners = [Listener(Endpoint(place.address, f"{place.address}.bench", place.address, PORT)) for place in places]
    spent = _Spent()
    served = look_at_wire(listeners, timeout_s=TIMEOUT_S)
    result = spent.so_far()
    found = {one.listener.endpoint.address: one.chain[0].fingerprint for one in served if one.chain}
    return {**result, "found": found}


def _flow(directory: Path) -> dict[str, Any]:
    """Our scanner in a flow: one task for 500 endpoints, in Prefect's hands."""
    from prefect import flow
    from prefect.task_runners import ThreadPoolTaskRunner

    from flows.scan_expiry import TASKS_AT_ONCE
    from rechain.fleet import Endpoint
    from rechain.scan.seen import Listener
    from tasks.scan import look_at_shard
    from tasks.step import as_it_is

    places = read_endpoints(directory)
    listeners = [Listener(Endpoint(place.address, f"{place.address}.bench", place.address, PORT)) for place in places]

    @flow(persist_result=False, task_runner=ThreadPoolTaskRunner(TASKS_AT_ONCE))
    def wire() -> dict[str, str]:
        shards = [listeners[start : start + 500] for start in range(0, len(listeners), 500)]
        futures = [look_at_shard.submit("bench", number, as_it_is(shard)) for number, shard in enumerate(shards)]
        seen = [one for future in futures for one in future.result()]
        return {one.listener.endpoint.address: one.chain[0].fingerprint for one in seen if one.chain}

    spent = _Spent()
    found = wire()
    return {**spent.so_far(), "found": found}


def _bare(directory: Path) -> dict[str, Any]:
    """Nothing but TLS handshakes in memory, both sides; no network, no parsing."""
    places = [place for place in read_endpoints(directory) if place.kind == "live"]
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    contexts = [_server(directory, place) for place in places]
    spent, clients_s = _Spent(), 0.0
    for context in contexts:
        clients_s += _handshake(client, context)
    return {
        **spent.so_far(),
        "client_cpu_s": clients_s,
        "found": {place.address: place.fingerprint for place in places},
    }


def _server(directory: Path, place: Place) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / f"{place.address}.pem")
    return context


def _handshake(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> float:
    """Shake hands once; returns the seconds of CPU on the client's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname="bench")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    spent, done = 0.0, {"client": False, "server": False}
    while not all(done.values()):
        begin = time.thread_time()
        done["client"] = done["client"] or _step(client)
        spent += time.thread_time() - begin
        done["server"] = done["server"] or _step(server)
    return spent


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


class _Spent:
    """What this process and its children spend from now on."""

    def __init__(self) -> None:
        self._cpu, self._wall = _cpu_s(), time.perf_counter()

    def so_far(self) -> dict[str, float]:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"cpu_s": _cpu_s() - self._cpu, "wall_s": time.perf_counter() - self._wall, "rss_mib": memory}


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def live_fingerprints(directory: Path) -> Mapping[str, str]:
    """What a scan must find."""
    return {place.address: place.fingerprint for place in of_kind(read_endpoints(directory), "live")}


WAYS: Mapping[str, Callable[[Path], dict[str, Any]]] = {"rechain": _rechain, "flow": _flow, "bare": _bare}

if __name__ == "__main__":
    json.dump(WAYS[sys.argv[1]](Path(sys.argv[2])), sys.stdout)
