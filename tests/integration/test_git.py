"""What rechain commits and pushes, on real Git repositories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rechain.errors import InputError, RepositoryError
from rechain.phase import Phase
from rechain.rotation import Gate
from tasks.approve import record_approval
from tasks.repository.claim import commit_phase
from tasks.repository.generations import write_generation
from tasks.repository.layout import rotation_path
from tasks.repository.programs import find_program
from tasks.repository.rotation_branch import is_on_base
from tasks.repository.rotation_yaml import parse_rotation, update_rotation, write_rotation
from tasks.repository.settings import read_settings
from tasks.state import EnvironmentRef
from tests.chains import make_chain
from tests.environments import CLIENTS, ISSUED, SERVERS, Shared, files_in, git, issued

BRANCH = "rechain/acc-g2"


def test_commits_need_no_configured_name(shared: Shared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker's account often has no Git identity."""
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    git(shared.ours, "config", "user.useConfigOnly", "true")
    commit_phase(shared.ours, "acc", "generation 2 is issued")
    assert git(shared.remote, "log", "-1", "--format=%an", BRANCH) == "rechain\n"


def test_a_phase_is_a_commit_of_this_environment_alone(shared: Shared) -> None:
    """What else was changed in the clone stays out, and nothing staged is shared; again is no second commit."""
    (shared.ours / "README.md").write_text("unfinished\n")
    (shared.ours / "rechain" / "acc" / "staged").mkdir()
    (shared.ours / "rechain" / "acc" / "staged" / "half").write_text("half\n")
    commit = commit_phase(shared.ours, "acc", "generation 2 is issued")
    assert commit is not None
    assert commit == commit_phase(shared.ours, "acc", "generation 2 is issued")
    changed = git(shared.remote, "diff", "--name-only", "dev", BRANCH).split()
    assert changed == ["rechain/acc/rotation.yml"]
    assert git(shared.remote, "rev-parse", BRANCH).strip() == commit.commit


_HANGS_UP = """\
#!/bin/sh
case " $* " in *" push "*) test -e {marker} || {{ : >{marker}; {first}; kill -PIPE $$; }} ;; esac
exec {git} "$@"
"""


@pytest.mark.parametrize("first", [":", '{git} "$@" >/dev/null 2>&1'], ids=["before", "after"])
def test_a_remote_that_hangs_up_is_asked_again(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: str
) -> None:
    """Whether the push had arrived or not: git ends without a word then, which is nobody's refusal."""
    program, wrapper = find_program("git"), tmp_path / "git"
    marker = tmp_path / "pushed"
    wrapper.write_text(_HANGS_UP.format(marker=marker, git=program, first=first.format(git=program)))
    wrapper.chmod(0o755)
    monkeypatch.setattr("tasks.repository.git.find_program", lambda _name: str(wrapper))
    commit = commit_phase(shared.ours, "acc", "generation 2 is issued")
    assert marker.exists()
    assert commit is not None
    assert git(shared.remote, "rev-parse", BRANCH).strip() == commit.commit


def test_a_vault_in_plain_text_is_never_committed(shared: Shared) -> None:
    """One git push of plain keys can't be taken back."""
    files_in(shared.ours).vault.write_text("private_keys: {}\n")
    with pytest.raises(RepositoryError, match="is not encrypted"):
        commit_phase(shared.ours, "acc", "oops")
    assert git(shared.remote, "branch", "--list", BRANCH) == ""


def test_a_merge_request_is_asked_for_where_the_remote_takes_push_options(shared: Shared) -> None:
    """GitLab reads them; a remote without push options gets a plain push, as in the other tests."""
    git(shared.remote, "config", "receive.advertisePushOptions", "true")
    hook = shared.remote / "hooks" / "post-receive"
    hook.write_text('#!/bin/sh\nenv | grep GIT_PUSH_OPTION_ | sort > "$GIT_DIR/options"\n')
    hook.chmod(0o755)
    commit_phase(shared.ours, "acc", "generation 2 is issued")
    options = (shared.remote / "options").read_text()
    assert "GIT_PUSH_OPTION_0=merge_request.create" in options
    assert "merge_request.target=dev" in options
    assert "merge_request.title=Refresh the certificates of acc" in options


def test_a_phase_counts_as_merged_when_the_base_branch_has_its_files(shared: Shared, tmp_path: Path) -> None:
    """Not before, also after a squash, and no more once somebody undoes it; the clone then pulls without a conflict."""
    settings = read_settings(shared.ours)
    files_in(shared.ours).certs.write_text("certs: {of: overlap}\n")
    commit_phase(shared.ours, "acc", "overlap is deployed")
    assert not is_on_base(shared.ours, "acc", settings)
    git(tmp_path, "clone", "--quiet", str(shared.remote), "merger")
    git(tmp_path / "merger", "merge", "--squash", "--quiet", f"origin/{BRANCH}")
    git(tmp_path / "merger", "commit", "--quiet", "-m", "Squashed")
    git(tmp_path / "merger", "push", "--quiet")
    assert not is_on_base(shared.ours, "acc", settings, fetch=False), "nobody asked the remote yet"
    assert is_on_base(shared.ours, "acc", settings)
    assert is_on_base(shared.ours, "acc", settings, fetch=False)
    git(shared.ours, "pull", "--quiet", "--ff-only", "origin", "dev")
    assert git(shared.ours, "status", "--porcelain") == ""
    git(tmp_path / "merger", "revert", "--no-edit", "HEAD")
    git(tmp_path / "merger", "push", "--quiet")
    assert not is_on_base(shared.ours, "acc", settings)


@pytest.mark.usefixtures("vault_password")
def test_an_approval_reaches_every_clone_and_only_for_a_gate_that_can_wait(shared: Shared) -> None:
    """It is pushed with its reason; one for another phase's gate is refused, since it would end with the next move."""
    ref = EnvironmentRef(shared.ours, "acc")
    rotation_path(shared.ours, "acc").unlink()
    write_generation(shared.ours, "acc", issued(make_chain(2, SERVERS, CLIENTS)), "digest", keep_ca_keys=False)
    write_rotation(shared.ours, "acc", replace(ISSUED, phase=Phase.CLIENTS))
    commit_phase(shared.ours, "acc", "clients is deployed")
    with pytest.raises(InputError, match="external-trust does not wait at phase clients"):
        record_approval(ref, Gate.EXTERNAL_TRUST, None, "too late")
    with pytest.raises(InputError, match="not about single clients"):
        record_approval(ref, Gate.SERVER_LOG, "applicatie", "would open nothing")
    record_approval(ref, Gate.CLIENTS, "applicatie", "its owner says so", "dba")
    pushed = parse_rotation(git(shared.remote, "show", f"{BRANCH}:rechain/acc/rotation.yml"), "pushed")
    assert [(one.gate, one.client, one.who) for one in pushed.approvals] == [(Gate.CLIENTS, "applicatie", "dba")]
    assert "its owner says so" in git(shared.remote, "log", "-1", "--format=%B", BRANCH)
    update_rotation(shared.ours, "acc", lambda stored: replace(stored, target=Phase.RETIRED))
    with pytest.raises(InputError, match="clients does not wait"):
        record_approval(ref, Gate.CLIENTS, None, "half way")
    record_approval(ref, Gate.SERVER_LOG, None, "the log was read by hand")  # `retired` listens to logs all the time


def test_a_base_branch_that_does_not_exist_is_named(shared: Shared) -> None:
    """A wrong git.base is found, not taken for merged."""
    commit_phase(shared.ours, "acc", "overlap is deployed")
    (shared.ours / "rechain.yml").write_text("git: {base: master}\n")
    with pytest.raises(RepositoryError, match=r"check the remote and git\.base in rechain\.yml"):
        is_on_base(shared.ours, "acc", read_settings(shared.ours))
    (shared.ours / "rechain.yml").write_text("git: {remote: upstream}\n")
    with pytest.raises(RepositoryError, match=r"git\.remote names 'upstream'"):
        is_on_base(shared.ours, "acc", read_settings(shared.ours))


def test_without_a_remote_a_phase_is_committed_where_there_is_git(alone: Path) -> None:
    """A local branch where there is a clone, nothing where there is none; never in a clone around it."""
    commit = commit_phase(alone, "acc", "adopted")
    assert (commit is not None) == (alone / ".git").exists()
    assert git(alone.parent, "for-each-ref") == ""
    if commit:
        assert git(alone, "rev-parse", "rechain/acc-g1").strip() == commit.commit
