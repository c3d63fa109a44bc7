"""What lies on the hosts of a fleet: one Ansible run, one module call a host, no vault and no key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rechain.crl import read_crls
from rechain.errors import PemError
from rechain.fleet import Fleet, Host, ManagedClient, Service
from rechain.scan.seen import CrlFile, FileFacts, HostSeen, SetOnHost, Source, Text, Use
from rechain.scan.texts import read_what_can_be
from tasks.fleet.asking import ask_hosts, why_not

_PLAYBOOK = "look.yml"


def look_at_hosts(
    root: Path,
    environment: str,
    fleet: Fleet,
    *,
    timeout_s: float | None = None,
    on_seen: Callable[[HostSeen], None] | None = None,
) -> tuple[HostSeen, ...]:
    """Look at the certificate files of every host that has services or managed clients.

    Side effect: none. Idempotent, safe to retry; a host that can't be looked at is part of the answer.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        fleet: Its hosts.
        timeout_s: Seconds for all of it; None for a minute, or for two seconds a host where that is more.
        on_seen: Hears each host as it answers.

    Returns:
        One result for each such host, in the order of the inventory.

    Raises:
        RepositoryError: There is no such environment, or Ansible is not installed.
    """
    hosts = [host for host in fleet.hosts if host.services or host.clients]
    if not hosts:
        return ()
    heard = _Heard({host.name: host for host in hosts}, on_seen or (lambda _seen: None))
    asked = {"rechain_look_sets": {host.name: wanted_of(host) for host in hosts}}
    silent = ask_hosts(root, environment, _PLAYBOOK, asked, on_event=heard.hear, timeout_s=timeout_s)
    return tuple(
        heard.seen.get(host.name) or HostSeen(host.name, problem=f"can't be looked at: {silent}") for host in hosts
    )


def clock_ahead_s(clock: float, start: float, end: float) -> float:
    """Seconds that a clock is ahead of ours, as far as that is certain.

    Args:
        clock: What it said, seconds since 1970.
        start: Our clock when it was asked.
        end: Our clock when its answer was heard.

    Returns:
        0 when it may have been right; negative when it is behind.
    """
    return min(clock - start, 0.0) or max(clock - end, 0.0)


def wanted_of(host: Host) -> list[dict[str, str]]:
    """The sets of a host as the module wants them: its services' first, then its clients'."""
    every: list[Service | ManagedClient] = [*host.services, *host.clients]
    return [
        {"cert_dir": one.cert_dir, "owner": one.owner, "cert": one.cert, "key": one.key, "ca": one.ca} for one in every
    ]


class _Heard:
    """Makes results of Ansible's events."""

    def __init__(self, hosts: Mapping[str, Host], tell: Callable[[HostSeen], None]) -> None:
        self.seen: dict[str, HostSeen] = {}
        self._hosts, self._tell = hosts, tell

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        host = self._hosts[event["host"]]
        self.seen[host.name] = _seen(host, event, time.time())
        self._tell(self.seen[host.name])


def _seen(host: Host, event: Mapping[str, Any], heard: float) -> HostSeen:
    result = event["result"]
    if event["event"] != "runner_on_ok" or "looks" not in result:
        return HostSeen(host.name, problem=why_not(event))
    ahead = clock_ahead_s(result["clock"], result["asked"], heard)
    return HostSeen(host.name, tuple(sets_of(host, result["looks"])), ahead)


def sets_of(host: Host, looks: list[Mapping[str, Any]]) -> Iterable[SetOnHost]:
    """What the module told of a host, as values: its services' sets first, then its clients'."""
    of_services, of_clients = looks[: len(host.services)], looks[len(host.services) :]
    yield from (_service_set(host, *pair) for pair in zip(host.services, of_services, strict=True))
    yield from (_client_set(host, *pair) for pair in zip(host.clients, of_clients, strict=True))


def _service_set(host: Host, service: Service, look: Mapping[str, Any]) -> SetOnHost:
    endpoint = host.endpoint(service)
    return SetOnHost(
        reader=f"{service.kind} on {service.address}:{service.port}" if endpoint else f"files in {service.cert_dir}",
        name=host.server_name,
        is_server=True,
        endpoint=endpoint,
        owner=service.owner,
        kind=service.kind,
        **_contents(host, look, host.server_name, Use.SERVER_LEAF, Use.CLIENT_BUNDLE),
    )


def _client_set(host: Host, client: ManagedClient, look: Mapping[str, Any]) -> SetOnHost:
    return SetOnHost(
        reader=f"client {client.name}",
        name=client.name,
        is_server=False,
        endpoint=None,
        owner=client.owner,
        **_contents(host, look, client.name, Use.CLIENT_LEAF, Use.SERVER_BUNDLE),
    )


def _contents(host: Host, look: Mapping[str, Any], name: str, leaf: Use, bundle: Use) -> dict[str, Any]:
    return {
        "cert": _facts(look["cert"]),
        "key": _facts(look["key"]),
        "ca": _facts(look["ca"]),
        "cert_text": _text(host, look["cert"], leaf, name),
        "ca_text": _text(host, look["ca"], bundle, name),
        "pair_problem": look["pair"],
        "crls": tuple(_crl_file(one) for one in look["lists"]),
    }


def _facts(file: Mapping[str, Any]) -> FileFacts:
    return FileFacts(file["path"], file["problem"], file["mode"], file["owner"], file["group"], file["readable"])


def _text(host: Host, file: Mapping[str, Any], use: Use, name: str) -> Text:
    certificates, problem = read_what_can_be(file["text"])
    problem = file["problem"] or file["unread"] or problem
    return Text(Source.HOSTS, f"{host.name}: {file['path']}", use, name, certificates, problem)


def _crl_file(file: Mapping[str, Any]) -> CrlFile:
    if file["problem"]:
        return CrlFile(file["path"], (), file["problem"])
    try:
        return CrlFile(file["path"], read_crls(file["text"], file["path"]))
    except PemError as error:
        return CrlFile(file["path"], (), error.what)
