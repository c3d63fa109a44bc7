"""Each policy of a scan on a running server, real files and a real repository: one step trips it, before it nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import yaml

from rechain.phase import Phase
from rechain.rotation import Rotation
from rechain.scan.report import Scanned, Status
from rechain.scan.rules import scan_policies
from rechain.scan.seen import Source
from tasks.repository.layout import generation_folder
from tasks.repository.rotation_yaml import write_rotation
from tasks.repository.settings import read_settings
from tasks.scan_look import asked, judge, look
from tasks.state import EnvironmentRef
from tests.plugins.authority import Authority, write_files
from tests.plugins.site import CLIENT, ENVIRONMENT, HOST, Generation, Site, make_generation, site

_SETTINGS = "thresholds: {warning: 10d, critical: 5d}\nverify: {role: app}\n"
_STRANGER = "batch"
Step = Callable[["Scene"], object]
STEPS: dict[str, Step] = {}
ALSO: dict[str, tuple[str, ...]] = {}
_DAYS = (-1, 25)  # the CAs have 30


class Scene:
    """A site, what a step needs of the test's machinery, and what is scanned."""

    def __init__(self, made: Site, stack: ExitStack, tmp_path: Path, faketime: Path) -> None:
        self.site, self.stack, self.tmp_path, self.faketime = made, stack, tmp_path, faketime
        self.old = made.old
        self.sources: list[Source] = []
        self.client_directory = made.add_client_host("apps.example")

    def install(self, generation: Generation) -> None:
        """Deploy a generation as a roll-out would: repository, host, server."""
        self.site.put(self.site.pki, generation.server_texts)
        self.site.put(self.client_directory, generation.client_texts)
        self.site.server.reload()
        self.site.wait_for(generation.server)
        self.site.deploy(generation)

    def scan(self) -> Scanned:
        """All sources by default, as `rechain scan` asks them."""
        self.site.write_inventory()
        ref = EnvironmentRef(self.site.root, ENVIRONMENT)
        return judge(look(ref, asked(self.sources)), read_settings(self.site.root))


def step(policy: str, *also: str) -> Callable[[Step], Step]:
    """Register what trips a policy, and others with it."""

    def register(take: Step) -> Step:
        STEPS[policy], ALSO[policy] = take, also
        return take

    return register


@step("not-readable")
def _not_readable(scene: Scene) -> None:
    certs = scene.old.certs
    cut = {**certs["client"], CLIENT: certs["client"][CLIENT][:400]}
    scene.site.deploy(scene.old, {**certs, "client": cut})


@step("expires-critical")
def _expires_critical(scene: Scene) -> None:
    scene.install(replace(scene.old, server=scene.old.authority.server(HOST, (-1, 3))))


@step("expires-soon")
def _expires_soon(scene: Scene) -> None:
    scene.install(replace(scene.old, server=scene.old.authority.server(HOST, (-1, 8))))


@step("ca-ends-first", "outlives-issuer")
def _ca_ends_first(scene: Scene) -> None:
    short = Authority("short", (-1, 20))
    scene.install(Generation(short, short.server(HOST, (-1, 25)), short.client(CLIENT, days=(-1, 25))))


@step("clock-skew")
def _clock_skew(scene: Scene) -> None:
    """The host's Python believes in another time, as all of a host with a wrong clock does."""
    wrapper = scene.tmp_path / "python"
    variables = f"LD_PRELOAD={scene.faketime} FAKETIME=+20m FAKETIME_DONT_FAKE_MONOTONIC=1"
    wrapper.write_text(f'#!/bin/sh\n{variables} exec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    scene.site.hosts[HOST]["ansible_python_interpreter"] = str(wrapper)


@step("served-differs-from-disk")
def _served_differs_from_disk(scene: Scene) -> None:
    new = replace(scene.old, server=scene.old.authority.server(HOST, _DAYS))
    scene.site.put(scene.site.pki, new.server_texts)
    scene.site.deploy(new)


@step("disk-differs-from-repository")
def _disk_differs_from_repository(scene: Scene) -> None:
    other = replace(scene.old, client=scene.old.authority.client(CLIENT, days=_DAYS))
    scene.site.put(scene.client_directory, other.client_texts)


@step("served-differs-from-repository")
def _served_differs_from_repository(scene: Scene) -> None:
    scene.site.deploy(replace(scene.old, server=scene.old.authority.server(HOST, _DAYS)))
    scene.sources = [Source.REPOSITORY, Source.WIRE]


@step("would-not-restart")
def _would_not_restart(scene: Scene) -> None:
    (scene.site.pki / "server.key").chmod(0o644)


@step("client-files")
def _client_files(scene: Scene) -> None:
    other = scene.old.authority.client(CLIENT, days=_DAYS)
    scene.site.put(scene.client_directory, {**scene.old.client_texts, "postgresql.key": other.key_pem})


@step("intermediate-not-served", "disk-differs-from-repository")
def _intermediate_not_served(scene: Scene) -> None:
    leaf = scene.old.authority.server(HOST, _DAYS)
    scene.site.put(scene.site.pki, {"server.crt": leaf.value.pem, "server.key": leaf.key_pem})
    scene.site.server.reload()
    scene.site.wait_for(leaf)


@step("name-not-in-san")
def _name_not_in_san(scene: Scene) -> None:
    scene.install(replace(scene.old, server=scene.old.authority.server("db2.example", _DAYS)))


@step("twin-issuers", "same-name-cas", "missing-aki", "disk-differs-from-repository")
def _twin_issuers(scene: Scene) -> None:
    old, new = (Authority("twins", has_aki=False) for _ in range(2))
    certs = Generation(old, old.server(HOST), old.client(CLIENT)).certs
    certs["client"]["chain"] += new.client_bundle
    scene.site.deploy(scene.old, certs)


@step("retired-ca-in-bundle", "disk-differs-from-repository")
def _retired_ca_in_bundle(scene: Scene) -> None:
    """A rotation is over, and on one host the old root still stands."""
    gone = make_generation("gone")
    for number, generation in ((1, gone), (2, scene.old)):
        folder = generation_folder(scene.site.root, ENVIRONMENT, number)
        folder.mkdir(parents=True)
        (folder / "certs.yml").write_text(yaml.safe_dump({"certs": generation.certs}), "utf-8")
    write_rotation(scene.site.root, ENVIRONMENT, Rotation(Phase.RETIRED, 2, None, 2))
    both = scene.old.authority.client_bundle + gone.authority.client_bundle
    scene.site.put(scene.site.pki, {"root.crt": both})


@step("client-not-in-repository")
def _client_not_in_repository(scene: Scene) -> None:
    """Somebody logs in with a leaf of our CA that stands in no file of ours."""
    leaf, where = scene.old.authority.client(_STRANGER), scene.site.endpoint
    files = write_files(scene.tmp_path / "stranger", leaf.chain_pem, leaf.key_pem, scene.old.authority.server_bundle)
    scene.stack.enter_context(
        psycopg.connect(
            host=where.address, port=where.port, user=_STRANGER, dbname="postgres", sslmode="verify-ca",
            sslcert=files.cert, sslkey=files.key, sslrootcert=files.ca, connect_timeout=10,
        )
    )  # fmt: skip


@step("crl-expired")
def _crl_expired(scene: Scene) -> None:
    _put_lists(scene, (-2, -1), (-2, -1))


@step("crl-expires")
def _crl_expires(scene: Scene) -> None:
    _put_lists(scene, (-1, 3), (-1, 3))


@step("crl-incomplete")
def _crl_incomplete(scene: Scene) -> None:
    _put_lists(scene, (-1, 300), None)


@step("crl-unreadable")
def _crl_unreadable(scene: Scene) -> None:
    scene.site.put(scene.site.pki, {"root.crl": "-----BEGIN X509 CRL-----\nnothing\n-----END X509 CRL-----\n"})


def _put_lists(scene: Scene, root: tuple[int, int], clients: tuple[int, int] | None) -> None:
    authority = scene.old.authority
    lists = authority.empty_crl(days=root) + (authority.empty_crl(authority.clients, clients) if clients else "")
    scene.site.put(scene.site.pki, {"root.crl": lists})


@pytest.fixture(scope="module")
def running() -> Iterator[Site]:
    """A site whose server knows the client, and a stranger."""
    with site() as made:
        with made.server.connect() as session:
            for role in (CLIENT, _STRANGER):
                session.execute(f"create role {role} login in role pg_monitor")
        yield made


@pytest.fixture
def scene(running: Site, tmp_path: Path, faketime: Path) -> Iterator[Scene]:
    """The site as it is at first: sound."""
    running.reset()
    (running.root / "rechain.yml").write_text(_SETTINGS)
    with ExitStack() as stack:
        yield Scene(running, stack, tmp_path, faketime)


def _found(scanned: Scanned) -> set[str]:
    every = [*scanned.findings, *(finding for row in scanned.rows for finding in row.findings)]
    return {finding.policy for finding in every}


def test_nothing_trips_before_a_step_is_taken(scene: Scene) -> None:
    """With revocation lists that cover the bundle, and the client at work: what every step starts from is sound."""
    _put_lists(scene, (-1, 300), (-1, 300))
    scanned = scene.scan()
    assert _found(scanned) == set()
    assert (scanned.status, scanned.unreachable) == (Status.OK, ())


@pytest.mark.parametrize("policy", STEPS)
def test_a_step_trips_its_policy(scene: Scene, policy: str) -> None:
    """That one, those that the step can't spare, and no other."""
    STEPS[policy](scene)
    scanned = scene.scan()
    assert _found(scanned) == {policy, *ALSO[policy]}


def test_every_policy_has_a_step() -> None:
    """What is not here could be right on paper alone."""
    assert {policy.name for policy in scan_policies()} == STEPS.keys()
