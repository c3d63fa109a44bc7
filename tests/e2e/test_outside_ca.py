"""Rotations whose certificates an organisation's CA signs, played by `openssl ca`, on a live fleet under watch."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.environment import ENVIRONMENT, EXTERNAL
from lab.login import Identity, log_in
from lab.watch import summarise
from tests.outside_ca import OutsideCa
from tests.plugins.desk import WAITING, Desk


def _import(desk: Desk, authority: OutsideCa, folder: Path, *asked: str) -> dict[str, Any]:
    """Ask, carry the archive to the CA, have it sign, carry everything back."""
    folder.mkdir()
    told = desk.json("csr", ENVIRONMENT, *asked, "--output", str(folder))
    with tarfile.open(told["archive"]) as archive:
        archive.extractall(folder, filter="data")
    requests = sorted(folder.rglob("*.csr"))
    assert len(requests) == len(told["requests"])
    returned = authority.sign_all(requests, folder / "returned.txt")
    return desk.json("import", ENVIRONMENT, str(returned), *map(str, authority.chain))


def _rotate(desk: Desk) -> dict[str, Any]:
    """Every phase, with the external owner's part; each gate was shut until then."""
    assert desk.refresh(expect=WAITING)["resting_phase"] == "overlap"
    desk.trust()
    assert desk.refresh(expect=WAITING)["resting_phase"] == "clients"
    desk.lab.owner.take_delivery()
    desk.approve("clients")
    return desk.refresh()


def _watched_rotation(desk: Desk) -> dict[str, Any]:
    watcher = desk.lab.run_watcher()
    report = _rotate(desk)
    desk.lab.finish(watcher)
    seen = summarise(desk.lab.journal("watch"))
    assert seen.failures == ()
    assert seen.attempted > 200
    assert report["canary"]["failed"] == 0
    assert report["resting_phase"] == "retired"
    return report


@pytest.fixture
def authority(tmp_path: Path) -> OutsideCa:
    """A root and the CA below it that issues."""
    return OutsideCa.root(tmp_path / "root").below(tmp_path / "issuing")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_an_outside_server_chain_beside_our_own_client_chain(
    new_desk: Callable[..., Desk], authority: OutsideCa, tmp_path: Path
) -> None:
    """Servers move onto the organisation's certificates, clients onto ours; nobody fails to log in meanwhile."""
    desk = new_desk()
    imported = _import(desk, authority, tmp_path / "csrs", "--side", "server")
    assert (imported["next"], imported["trusted_for_logins"]) == (2, [])
    assert _watched_rotation(desk)["retired_refused"] is True
    again = desk.run("generate", ENVIRONMENT, expect=2).stderr
    assert f"rechain csr {ENVIRONMENT} --side server" in again
    assert "--own-ca" in again


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_rotation_within_one_outside_ca(new_desk: Callable[..., Desk], authority: OutsideCa, tmp_path: Path) -> None:
    """Both sides, and the present generation is of that CA already: nobody fails, and old leaves log in as before.

    That is no refusal that could be tested, so the report says null, and the plan says until when.
    """
    desk = new_desk()
    lab = desk.lab
    imported = _import(desk, authority, tmp_path / "first")
    assert imported["trusted_for_logins"] == ["CN=Overheid root,O=Overheid"]
    desk.refresh("--strategy", "downtime")
    lab.owner.install_bundle()
    lab.owner.take_delivery()
    old = Identity(EXTERNAL, "old", str(shutil.copytree(lab.owner.directory / "current", tmp_path / "old")))

    assert _import(desk, authority, tmp_path / "second")["next"] == 3
    assert "have the same CA as the next ones" in " ".join(desk.json("plan", ENVIRONMENT)["notes"])
    report = _watched_rotation(desk)
    assert report["retired_refused"] is None
    assert [phase["name"] for phase in report["phases"]] == ["issued", "overlap", "servers", "clients", "retired"]
    assert all(log_in(old, endpoint).ok for endpoint in lab.endpoints)
