"""Generation folders, with real vaults."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from rechain.certificate import merge
from rechain.errors import RepositoryError
from rechain.generation import Side
from rechain.phase import Phase
from tasks.repository import generations
from tasks.repository.certs_yaml import read_certs, read_keys, render_certs
from tasks.repository.deployment import check_repository, write_first_certs
from tasks.repository.files import rename_durably
from tasks.repository.generation_yaml import outside_sides, spec_digest
from tasks.repository.generations import (
    adopt_environment,
    delete_generation,
    delete_private_keys,
    has_ca_keys,
    has_private_keys,
    known_generations,
    read_ca_keys,
    read_generation,
    read_generation_keys,
    restore_texts,
    snapshot,
    write_generation,
)
from tasks.repository.intent import deploy_files
from tasks.repository.rotation_yaml import read_rotation, write_rotation
from tasks.repository.vault import read_vault
from tests.chains import make_chain
from tests.environments import AT_REST, CLIENTS, ISSUED, SERVERS, Environment, certs_of, issued, sealed, tree
from tests.places import MEMORY

NEXT = make_chain(2, SERVERS, CLIENTS)


def test_a_generation_is_kept_with_its_keys_apart_from_its_cas(environment: Environment) -> None:
    """What was issued is read back; keys are in two vaults that only their owner may read, and nowhere else."""
    root = environment.root
    write_generation(root, "acc", issued(NEXT), "digest", keep_ca_keys=True)
    assert known_generations(root, "acc") == (2,)
    assert read_generation(root, "acc", 2) == NEXT.generation
    assert read_generation_keys(root, "acc", 2) == NEXT.keys
    assert read_ca_keys(root, "acc", 2) == issued(NEXT).ca_keys
    assert spec_digest(root, "acc", 2) == "digest"
    folder = environment.state / "generation-2"
    assert sorted(tree(folder)) == ["ca.vault.yml", "certs.vault.yml", "certs.yml", "generation.yml"]
    assert (folder / "ca.vault.yml").read_text().startswith("$ANSIBLE_VAULT;1.2;AES256;rechain-ca\n")
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("ca.vault.yml", "certs.vault.yml")} == {0o600}
    assert not any(b"PRIVATE" in content for content in tree(root).values())
    assert sorted(tree(environment.state)) == sorted(f"generation-2/{name}" for name in tree(folder))


def test_ca_keys_can_be_discarded(environment: Environment) -> None:
    """`ca_keys: discard` leaves none behind."""
    write_generation(environment.root, "acc", issued(NEXT), "digest", keep_ca_keys=False)
    assert has_private_keys(environment.root, "acc", 2)
    assert not has_ca_keys(environment.root, "acc", 2)


def test_a_generation_that_is_in_use_is_never_overwritten(environment: Environment) -> None:
    """One that no rotation.yml names may be: the run that issued it died before it was recorded."""
    root = environment.root
    write_generation(root, "acc", issued(NEXT), "first", keep_ca_keys=False)
    write_generation(root, "acc", issued(NEXT), "second", keep_ca_keys=False)
    assert spec_digest(root, "acc", 2) == "second"
    write_rotation(root, "acc", ISSUED)
    with pytest.raises(RepositoryError, match=r"generation-2: is in use"):
        write_generation(root, "acc", issued(NEXT), "third", keep_ca_keys=False)
    assert spec_digest(root, "acc", 2) == "second"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is missing"),
        ("", "is empty"),
        ("- server", "Input should be a valid dictionary"),
        ("{", "is not valid YAML"),
        ("schema: 2\nspec_digest: x\n", "schema: is not 1"),
        ("schema: 1\n", "spec_digest: Field required"),
        ("schema: 1\nspec_digest: x\noutside: server\n", "outside: "),
        ("schema: 1\nspec_digest: x\noutside: [servers]\n", "outside.0: "),
        ("schema: 1\nspec_digest: x\noutsides: [server]\n", "outsides: Extra inputs are not permitted"),
    ],
)
def test_a_damaged_record_is_refused(environment: Environment, content: str | None, said: str) -> None:
    """An own CA would take over from an outside one, and a changed spec would be blamed."""
    write_generation(environment.root, "acc", issued(NEXT), "digest", keep_ca_keys=False, outside=[Side.SERVER])
    assert outside_sides(environment.root, "acc", 2) == (Side.SERVER,)
    path = environment.state / "generation-2" / "generation.yml"
    path.unlink() if content is None else path.write_text(content)
    for read in (outside_sides, spec_digest):
        with pytest.raises(RepositoryError, match=re.escape(said)) as caught:
            read(environment.root, "acc", 2)
        assert str(path) in str(caught.value)
        assert "restore it from Git" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_folder_that_is_new_appears_whole(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short while the current generation is kept for the first time, nothing of it is there; else all is broken."""
    monkeypatch.setattr(generations, "sync_folder", _power_cut)
    with pytest.raises(KeyboardInterrupt):
        snapshot(environment.root, "acc", 1)
    assert known_generations(environment.root, "acc") == ()
    monkeypatch.undo()
    snapshot(environment.root, "acc", 1)
    assert restore_texts(environment.root, "acc", 1) == (environment.certs.read_text(), environment.vault.read_text())


def test_what_can_not_be_put_in_its_place_is_one_line(tmp_path: Path) -> None:
    """Whatever keeps a staged file from its name: it says where, and the staged one is still there."""
    staged, taken, far = tmp_path / "staged", tmp_path / "taken", MEMORY / f"far-{os.getpid()}"
    staged.write_text("new")
    taken.mkdir()
    for target, says in ((taken, "can't be written: Is a directory"), (far, "is not on the file system of")):
        with pytest.raises(RepositoryError, match=says) as caught:
            rename_durably(staged, target)
        assert str(caught.value).startswith(f"{target}: ")
        assert "\n" not in str(caught.value)
        assert staged.read_text() == "new"
    assert not far.exists()


def _power_cut(_folder: Path) -> None:
    raise KeyboardInterrupt


def test_an_adopted_environment_is_kept_byte_for_byte(environment: Environment) -> None:
    """Both files as chainsmith wrote them; a foreign CA in them is not taken for the generation's own."""
    foreign = make_chain(9, (), ()).generation.client_bundle
    certs = certs_of(environment.chain)
    with_foreign = replace(certs, client_chain=merge(certs.client_chain, foreign))
    environment.certs.write_text("# ours\r\n" + render_certs("", with_foreign))
    adopt_environment(environment.root, "acc")
    adopt_environment(environment.root, "acc")
    kept = environment.state / "generation-1"
    assert (kept / "certs.yml").read_bytes() == environment.certs.read_bytes()
    assert (kept / "certs.vault.yml").read_bytes() == environment.vault.read_bytes()
    assert read_generation(environment.root, "acc", 1) == environment.chain.generation
    assert spec_digest(environment.root, "acc", 1) is None


def test_adoption_needs_both_files_and_a_vault(closed_environment: Environment) -> None:
    """A vault in plain text is not copied to yet another place."""
    closed_environment.vault.write_text("private_keys: {}\n")
    with pytest.raises(RepositoryError, match="is not encrypted"):
        adopt_environment(closed_environment.root, "acc")
    assert not (closed_environment.root / "rechain").exists()


def test_a_snapshot_is_what_a_rollback_restores(closed_environment: Environment) -> None:
    """Taken before a rotation, it holds later edits of the current generation too, and keeps its CA keys."""
    root = closed_environment.root
    folder = closed_environment.state / "generation-1"
    folder.mkdir(parents=True)
    (folder / "ca.vault.yml").write_text(sealed("ca"))
    (folder / "certs.yml").write_text("older\n")
    closed_environment.certs.write_text(closed_environment.certs.read_text() + "# edited since\r\n")
    before = tree(closed_environment.folder)
    snapshot(root, "acc", 1)
    deploy_files(root, "acc", replace(ISSUED, target=Phase.OVERLAP), "certs: {}\n", sealed("other"))
    deploy_files(root, "acc", ISSUED, *restore_texts(root, "acc", 1))
    assert tree(closed_environment.folder) == before
    assert (folder / "ca.vault.yml").read_text() == sealed("ca")


def test_an_environment_not_yet_adopted_is_its_own_generation_1(environment: Environment) -> None:
    """A plan needs no write."""
    assert read_generation(environment.root, "acc", 1) == environment.chain.generation
    assert not (environment.root / "rechain").exists()
    with pytest.raises(RepositoryError, match="there is no such file"):
        read_generation(environment.root, "acc", 2)


def test_retired_keys_are_deleted_and_the_public_part_stays(closed_environment: Environment) -> None:
    """The leaves' keys and the CAs'; a rollback needs public material alone."""
    snapshot(closed_environment.root, "acc", 1)
    (closed_environment.state / "generation-1" / "ca.vault.yml").write_text(sealed("ca"))
    for _ in range(2):
        delete_private_keys(closed_environment.root, "acc", 1)
        assert sorted(tree(closed_environment.state)) == ["generation-1/certs.yml"]
    assert not has_private_keys(closed_environment.root, "acc", 1)
    assert read_generation(closed_environment.root, "acc", 1) == closed_environment.chain.generation
    write_rotation(closed_environment.root, "acc", replace(AT_REST, current=2, last_generation=2))
    adopt_environment(closed_environment.root, "acc")
    assert not has_private_keys(closed_environment.root, "acc", 1)


def test_a_discarded_generation_is_gone(closed_environment: Environment) -> None:
    """Folder, keys and all; again is no error."""
    snapshot(closed_environment.root, "acc", 2)
    for _ in range(2):
        delete_generation(closed_environment.root, "acc", 2)
        assert tree(closed_environment.state) == {}


def test_an_environment_s_first_certificates(environment: Environment) -> None:
    """Generation 1 becomes certs.yml and vault at once, recorded as on its way, and passes every check."""
    environment.certs.unlink()
    first = make_chain(1, SERVERS, CLIENTS)
    write_generation(environment.root, "acc", issued(first), "digest", keep_ca_keys=True)
    with pytest.raises(RepositoryError, match=r"exists, and certs\.yml does not"):
        write_first_certs(environment.root, "acc", 1)
    environment.vault.unlink()
    begun = replace(AT_REST, phase=Phase.ISSUED, target=Phase.RETIRED)
    assert write_first_certs(environment.root, "acc", 1) == begun
    assert read_rotation(environment.root, "acc") == begun
    assert read_certs(environment.certs) == certs_of(first)
    assert read_keys(read_vault(environment.vault), "vault") == first.keys
    check_repository(environment.root, "acc")
