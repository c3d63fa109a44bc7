"""Change certs.yml and the vault together, though no two files can be renamed at once.

In order, each step on disk before the next begins:

1. both new files, both old ones and the old rotation.yml are written whole into `rechain/ENV/staged/`;
2. rotation.yml records the *intent*: SHA-256 of both files before and after;
3. certs.yml gets a first comment that forbids a roll-out (only when the vault changes too);
4. the vault is renamed into place;
5. certs.yml is renamed into place, without the comment;
6. rotation.yml is written without the intent, and the staged files are removed.

A process that dies anywhere leaves a state that `settle` completes, or reverts when the new files are gone.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from rechain.errors import ClaimRefused, RepositoryError
from rechain.rotation import Intent, Rotation
from tasks.repository.files import mode_of, read_text, rename_durably, sync_folder, write_durably
from tasks.repository.layout import certs_paths, rotation_path, staged_folder
from tasks.repository.lock import locked
from tasks.repository.rotation_yaml import parse_rotation, read_rotation, store_rotation
from tasks.repository.vault import require_encrypted

MARK = """\
# DO NOT ROLL OUT: rechain is replacing this file and the vault beside it, and the two may not fit each other.
# If no rechain runs any more, start it again for this environment: it completes the change and removes this comment.
"""
ABSENT = "absent"
_VAULT_MODE = 0o600
_CERTS_MODE = 0o644


@dataclass(frozen=True, slots=True)
class _Pair:
    """One of the two files: where it lies, and its staged copies."""

    path: Path
    after: Path
    before: Path

    def found(self) -> str:
        """Digest of what is in place, the mark not counted."""
        return _digest(_unmarked(self.path))

    def is_as(self, wanted: str) -> bool:
        """Whether the file in place is exactly that one, without a mark."""
        return _digest(_text(self.path)) == wanted


@dataclass(frozen=True, slots=True)
class _Files:
    certs: _Pair
    vault: _Pair
    staged: Path

    @property
    def rotation_before(self) -> Path:
        return self.staged / "rotation.before.yml"


def deploy_files(
    root: Path, environment: str, rotation: Rotation, certs_text: str, vault_ciphertext: str
) -> Rotation:  # fmt: skip
    """Make certs.yml and the vault hold new content, and rotation.yml say so; survives a kill at any instant.

    Side effect: the three files. Idempotent, safe to retry.

    Args:
        root: The environment repository.
        environment: Name of the environment.
        rotation: What rotation.yml is to say with the new files; claim and approvals are kept as they are on disk.
        certs_text: New content of certs.yml.
        vault_ciphertext: New content of the vault; pass the present one when no key changes, then one rename does it.

    Returns:
        The rotation as written.

    Raises:
        RepositoryError: The vault's new content is not encrypted, or an earlier change can't be settled.
        ClaimRefused: Somebody else took the claim since `rotation` was read.
    """
    require_encrypted(vault_ciphertext, "the vault's new content")
    with locked(root, environment):
        _settle(root, environment)
        stored = read_rotation(root, environment)
        _refuse_overtaken(rotation, stored)
        final = replace(rotation, intent=None, claim=stored.claim, approvals=stored.approvals)
        files = _files(root, environment)
        intent = _stage(files, certs_text, vault_ciphertext, rotation_path(root, environment))
        store_rotation(root, environment, replace(final, intent=intent))
        _complete(files, intent)
        store_rotation(root, environment, final)
        _clear(files)
    return final


def settle(root: Path, environment: str) -> str | None:
    """Complete or revert a change that was interrupted. Every command that may write calls it first.

    Returns:
        What was done, for a person; None when there was nothing to do.

    Raises:
        RepositoryError: It can be neither completed nor reverted; the message says how to restore the files.
    """
    with locked(root, environment):
        return _settle(root, environment)


def pending(root: Path, environment: str) -> str | None:
    """Whether a change of the two files is under way or was interrupted; reads only, for `status`."""
    if read_rotation(root, environment).intent is None:
        return None
    certs, vault = certs_paths(root, environment)
    return f"{certs.name} and {vault.name} are being replaced, or that was interrupted: do not roll them out"


def _settle(root: Path, environment: str) -> str | None:
    rotation, files = read_rotation(root, environment), _files(root, environment)
    intent = rotation.intent
    if intent is None:
        _clear(files)
        return None
    _refuse_edited(files, intent)
    if _can_place(files.certs, files.certs.after, intent.certs_after) and _can_place(
        files.vault, files.vault.after, intent.vault_after
    ):
        _complete(files, intent)
        return _finish(root, environment, files, replace(rotation, intent=None), "completed")
    _revert(files, intent)
    return _finish(root, environment, files, _rotation_before(files, rotation), "reverted")


def _finish(root: Path, environment: str, files: _Files, rotation: Rotation, done: str) -> str:
    store_rotation(root, environment, rotation)
    _clear(files)
    return f"{done} an interrupted change of {files.certs.path.name} and {files.vault.path.name}"


def _stage(files: _Files, certs_text: str, vault_text: str, rotation_file: Path) -> Intent:
    for pair, text, mode in ((files.certs, certs_text, _CERTS_MODE), (files.vault, vault_text, _VAULT_MODE)):
        write_durably(pair.after, text, mode_of(pair.path, mode))
        before = _text(pair.path)
        if before is not None:
            write_durably(pair.before, before, mode_of(pair.path, mode))
    if rotation_file.exists():
        write_durably(files.rotation_before, read_text(rotation_file))
    sync_folder(files.staged)
    return Intent(
        certs_before=_digest(_text(files.certs.path)),
        vault_before=_digest(_text(files.vault.path)),
        certs_after=_digest(certs_text),
        vault_after=_digest(vault_text),
    )


def _complete(files: _Files, intent: Intent) -> None:
    """Steps 3 to 5; each is left out when it is done already."""
    if not files.vault.is_as(intent.vault_after):
        _mark(files)
        _place(files.vault, files.vault.after)
    if not files.certs.is_as(intent.certs_after):
        _place(files.certs, files.certs.after)


def _revert(files: _Files, intent: Intent) -> None:
    for pair, before in ((files.vault, intent.vault_before), (files.certs, intent.certs_before)):
        if pair.is_as(before):
            continue
        if before == ABSENT:
            pair.path.unlink()
        elif _digest(_text(pair.before)) == before:
            _place(pair, pair.before)
        else:
            raise RepositoryError(
                str(pair.path), "its replacement was interrupted, and the staged files are gone", "restore it from Git"
            )


def _can_place(pair: _Pair, staged: Path, wanted: str) -> bool:
    return pair.is_as(wanted) or _digest(_text(staged)) == wanted


def _place(pair: _Pair, staged: Path) -> None:
    pair.path.parent.mkdir(parents=True, exist_ok=True)
    rename_durably(staged, pair.path.resolve())


def _mark(files: _Files) -> None:
    text = _text(files.certs.path)
    if text is None or text.startswith(MARK):
        return
    marked = files.staged / "certs.marked.yml"
    write_durably(marked, MARK + text, mode_of(files.certs.path, _CERTS_MODE))
    rename_durably(marked, files.certs.path.resolve())


def _refuse_edited(files: _Files, intent: Intent) -> None:
    """A person's edit between a kill and the next command is neither overwritten nor taken for ours."""
    for pair, known in (
        (files.certs, (intent.certs_before, intent.certs_after)),
        (files.vault, (intent.vault_before, intent.vault_after)),
    ):
        if pair.found() not in known:
            raise RepositoryError(
                str(pair.path),
                "was edited while its replacement was interrupted",
                "restore it from Git, then run again",
            )


def _refuse_overtaken(rotation: Rotation, stored: Rotation) -> None:
    if stored.last_claim > rotation.last_claim:
        owner = stored.claim.owner if stored.claim else "somebody else"
        raise ClaimRefused(
            "rotation.yml", f"{owner} took claim {stored.last_claim} in the meantime", "look at `rechain status`"
        )


def _rotation_before(files: _Files, rotation: Rotation) -> Rotation:
    text = _text(files.rotation_before)
    if text is None:
        return replace(rotation, intent=None)
    before = parse_rotation(text, str(files.rotation_before))
    return replace(before, claim=rotation.claim, last_claim=rotation.last_claim, approvals=rotation.approvals)


def _files(root: Path, environment: str) -> _Files:
    certs, vault = certs_paths(root, environment)
    staged = staged_folder(root, environment)
    return _Files(
        certs=_Pair(certs, staged / "certs.after.yml", staged / "certs.before.yml"),
        vault=_Pair(vault, staged / "vault.after.yml", staged / "vault.before.yml"),
        staged=staged,
    )


def _clear(files: _Files) -> None:
    shutil.rmtree(files.staged, ignore_errors=True)


def _text(path: Path) -> str | None:
    return path.read_bytes().decode() if path.exists() else None


def _unmarked(path: Path) -> str | None:
    text = _text(path)
    return text.removeprefix(MARK) if text is not None else None


def _digest(text: str | None) -> str:
    return ABSENT if text is None else hashlib.sha256(text.encode()).hexdigest()
