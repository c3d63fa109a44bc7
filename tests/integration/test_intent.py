"""certs.yml and the vault change together, killed from outside at any instant."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rechain.errors import ClaimRefused, RepositoryError
from rechain.phase import Phase
from rechain.rotation import Approval, Gate, Rotation
from tasks.repository import intent
from tasks.repository.certs_yaml import read_certs
from tasks.repository.intent import MARK, deploy_files, pending, settle
from tasks.repository.rotation_yaml import read_rotation, write_rotation
from tasks.state import EnvironmentRef
from tasks.status import status
from tests.chains import NOW
from tests.environments import ISSUED, Environment, sealed, tree

NEW_CERTS = "# next\ncerts: {}\n"
NEW_VAULT = sealed("next")
OLD_VAULT = sealed("first")
UNDER_WAY = replace(ISSUED, target=Phase.SERVERS)


def _deploy(environment: Environment, rotation: Rotation = UNDER_WAY) -> Rotation:
    return deploy_files(environment.root, "acc", rotation, NEW_CERTS, NEW_VAULT)


@pytest.fixture
def interrupted(closed_environment: Environment) -> Environment:
    """An environment whose change was killed between the renames of vault and certs.yml."""
    write_rotation(closed_environment.root, "acc", ISSUED)
    with closed_environment.certs.open("a") as file:
        file.write("# a long comment makes the moment long\n" * 200_000)
    for _ in range(20):
        process = _changes(closed_environment.root, "once")
        while closed_environment.vault.read_text() != NEW_VAULT and process.poll() is None:
            pass
        process.kill()
        process.communicate()
        if closed_environment.certs.read_text().startswith(MARK):
            return closed_environment
        deploy_files(closed_environment.root, "acc", ISSUED, _old(closed_environment), OLD_VAULT)
    pytest.fail("no kill met the moment between the renames")


def _old(environment: Environment) -> str:
    return (environment.root / "old.yml").read_text()


def _changes(root: Path, how: str) -> subprocess.Popen[str]:
    """A process that deploys the new files; `again` and again with the old ones in between, until it is killed."""
    script = textwrap.dedent(
        """
        import sys
        from dataclasses import replace
        from pathlib import Path
        from rechain.phase import Phase
        from tasks.repository.intent import deploy_files
        from tasks.repository.layout import certs_paths
        from tasks.repository.rotation_yaml import read_rotation

        root, how, *new = Path(sys.argv[1]), *sys.argv[2:]
        old = [path.read_text() for path in certs_paths(root, "acc")]
        (root / "old.yml").write_text(old[0])
        issued = read_rotation(root, "acc")
        print("ready", flush=True)
        while True:
            deploy_files(root, "acc", replace(issued, target=Phase.SERVERS), *new)
            if how == "once":
                break
            deploy_files(root, "acc", issued, *old)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(root), how, NEW_CERTS, NEW_VAULT], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_files_and_rotation_change_together(closed_environment: Environment) -> None:
    """After a change all three say the same, nothing is staged, and modes are as they were."""
    closed_environment.vault.chmod(0o640)
    written = _deploy(closed_environment)
    assert written == read_rotation(closed_environment.root, "acc") == UNDER_WAY
    assert closed_environment.certs.read_text() == NEW_CERTS
    assert closed_environment.vault.read_text() == NEW_VAULT
    assert closed_environment.vault.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in closed_environment.state.iterdir()] == ["rotation.yml"]
    assert sorted(path.name for path in closed_environment.certs.parent.iterdir()) == ["certs.vault.yml", "certs.yml"]
    assert pending(closed_environment.root, "acc") is None
    assert settle(closed_environment.root, "acc") is None


def test_what_others_wrote_meanwhile_is_kept(closed_environment: Environment) -> None:
    """An approval that was given after the phase's content was composed is not lost."""
    approval = Approval(Gate.CLIENTS, None, 2, "seen on the phone", "dba", NOW)
    write_rotation(closed_environment.root, "acc", replace(ISSUED, approvals=(approval,)))
    assert _deploy(closed_environment).approvals == (approval,)


def test_one_who_was_overtaken_changes_nothing(closed_environment: Environment) -> None:
    """A higher claim in rotation.yml than the one that the change was composed under stops it."""
    write_rotation(closed_environment.root, "acc", replace(ISSUED, last_claim=4))
    before = tree(closed_environment.root)
    with pytest.raises(ClaimRefused, match="took claim 4 in the meantime"):
        _deploy(closed_environment, replace(UNDER_WAY, last_claim=3))
    assert tree(closed_environment.root) == before


def test_a_plain_text_vault_is_never_deployed(closed_environment: Environment) -> None:
    """Keys must not reach the repository in plain text, whoever asks."""
    before = tree(closed_environment.root)
    with pytest.raises(RepositoryError, match="is not encrypted"):
        deploy_files(closed_environment.root, "acc", UNDER_WAY, NEW_CERTS, "private_keys: {}\n")
    assert tree(closed_environment.root) == before


def test_killed_between_the_renames_the_file_says_so_and_the_next_command_completes(interrupted: Environment) -> None:
    """Must-show row 14: the file's first line forbids the roll-out, status names it, and settling completes it."""
    text = interrupted.certs.read_text()
    assert text.startswith("# DO NOT ROLL OUT")
    assert read_certs(interrupted.certs).servers.keys() == {"pg1", "pg2"}
    said = pending(interrupted.root, "acc")
    assert said is not None
    assert "certs.yml and certs.vault.yml are being replaced" in said
    before = tree(interrupted.root)
    assert pending(interrupted.root, "acc") == said
    assert tree(interrupted.root) == before
    assert settle(interrupted.root, "acc") == "completed an interrupted change of certs.yml and certs.vault.yml"
    assert read_rotation(interrupted.root, "acc") == UNDER_WAY
    assert (interrupted.certs.read_text(), interrupted.vault.read_text()) == (NEW_CERTS, NEW_VAULT)
    assert settle(interrupted.root, "acc") is None


def test_without_the_new_files_it_reverts(interrupted: Environment) -> None:
    """Staged files that somebody cleaned away: what was deployed before comes back, rotation.yml too."""
    (interrupted.state / "staged" / "certs.after.yml").unlink()
    assert settle(interrupted.root, "acc") == "reverted an interrupted change of certs.yml and certs.vault.yml"
    assert read_rotation(interrupted.root, "acc") == ISSUED
    assert (interrupted.certs.read_text(), interrupted.vault.read_text()) == (_old(interrupted), OLD_VAULT)


def test_with_nothing_left_to_go_on_it_says_where_to_look(interrupted: Environment) -> None:
    """Both copies gone: nothing is guessed."""
    for name in ("certs.after.yml", "certs.before.yml"):
        (interrupted.state / "staged" / name).unlink()
    with pytest.raises(RepositoryError, match=r"certs\.yml: its replacement was interrupted.*restore it from Git"):
        settle(interrupted.root, "acc")


def test_an_edit_in_between_is_not_overwritten(interrupted: Environment) -> None:
    """Somebody who mended the file by hand is told, not overruled."""
    interrupted.certs.write_text("certs: {mended: by hand}\n")
    before = tree(interrupted.root)
    with pytest.raises(RepositoryError, match="was edited while its replacement was interrupted"):
        settle(interrupted.root, "acc")
    assert tree(interrupted.root) == before


def test_an_unchanged_vault_needs_no_mark(closed_environment: Environment) -> None:
    """When only bundles change, one rename does it: there is no instant at which a roll-out is forbidden."""
    inode = closed_environment.vault.stat().st_ino
    deploy_files(closed_environment.root, "acc", UNDER_WAY, NEW_CERTS, OLD_VAULT)
    assert closed_environment.certs.read_text() == NEW_CERTS
    assert closed_environment.vault.stat().st_ino == inode


def test_the_first_certificates_of_an_environment(closed_environment: Environment) -> None:
    """There is nothing to mark and nothing to keep; killed and run again it ends the same."""
    closed_environment.certs.unlink()
    closed_environment.vault.unlink()
    assert _deploy(closed_environment) == UNDER_WAY
    assert (closed_environment.certs.read_text(), closed_environment.vault.read_text()) == (NEW_CERTS, NEW_VAULT)


def test_status_of_first_certificates_that_were_cut_short(
    closed_environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no certs.yml to read yet: what was being changed is all that can be told."""
    closed_environment.certs.unlink()
    closed_environment.vault.unlink()
    monkeypatch.setattr(intent, "rename_durably", _killed)
    with pytest.raises(KeyboardInterrupt):
        _deploy(closed_environment)
    seen = status(EnvironmentRef(closed_environment.root, "acc"))
    assert seen.unfinished == pending(closed_environment.root, "acc")
    assert seen.unfinished is not None
    assert seen.observed == ()


def _killed(*_paths: Path) -> None:
    raise KeyboardInterrupt


def test_killed_at_any_instant_the_pair_fits_or_is_forbidden(closed_environment: Environment) -> None:
    """SIGKILL at random instants: never a mismatched pair that nothing warns of; settling makes all three agree."""
    root = closed_environment.root
    write_rotation(root, "acc", ISSUED)
    old = closed_environment.certs.read_text()
    states = {(old, OLD_VAULT): None, (NEW_CERTS, NEW_VAULT): Phase.SERVERS}
    chance, open_intents = random.Random(14), 0  # noqa: S311 - which instant is no secret
    for _ in range(40):
        process = _changes(root, "again")
        time.sleep(chance.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        pair = (closed_environment.certs.read_text(), closed_environment.vault.read_text())
        open_intents += pending(root, "acc") is not None
        assert pair in states or (pair[0].startswith(MARK) and pending(root, "acc"))
        settle(root, "acc")
        pair = (closed_environment.certs.read_text(), closed_environment.vault.read_text())
        rotation = read_rotation(root, "acc")
        assert rotation == replace(ISSUED, target=states[pair])
        deploy_files(root, "acc", replace(rotation, target=None), old, OLD_VAULT)
        if open_intents >= 8:
            break
    assert open_intents, "no kill met an open intent: the test proved nothing"
    assert read_certs(closed_environment.certs)
