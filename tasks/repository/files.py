"""Files of the environment repository: read with clear refusals, written by rename."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import yaml
from pydantic import ValidationError

from rechain.errors import InputError, RepositoryError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_text(path: Path) -> str:
    """Read a file exactly as it is, line ends included.

    Raises:
        RepositoryError: It is missing, unreadable, not UTF-8, or empty.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise RepositoryError(str(path), "there is no such file", "check the name, or restore it from Git") from None
    except UnicodeDecodeError:
        raise RepositoryError(str(path), "is not UTF-8 text", "restore it from Git") from None
    except OSError as error:
        raise RepositoryError(
            str(path), f"can't be read: {error.strerror}", "make it a file that you may read"
        ) from None
    if not text.strip():
        raise RepositoryError(str(path), "is empty", "restore it from Git, or remove it")
    return text


def read_given(path: Path) -> bytes:
    """Read a file that a person names, in whatever form it is. Raises InputError when it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(str(path), f"can't be read: {error.strerror}", "name a file that you may read") from None


def parse_yaml(text: str, where: str) -> object:
    """Parse YAML; an error quotes nothing of the text, which may be a vault's.

    Raises:
        RepositoryError: It is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # it is one of PyYAML's safe loaders
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark is not None else ""
        raise RepositoryError(where, f"is not valid YAML{place}", "correct it, or restore it from Git") from None
    except ValueError:  # PyYAML's own, from dates and numbers that look like some
        fix = "correct it, or put it in quotes when it is text"
        raise RepositoryError(where, "holds a date or a number that does not exist", fix) from None
    except RecursionError:
        raise RepositoryError(where, "is nested too deeply", "restore it from Git") from None


def compose_yaml(text: str) -> yaml.Node | None:
    """The nodes of a YAML text that was parsed before, with their places in it."""
    node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return node


def explain(error: ValidationError) -> str:
    """The first thing that a model refuses, as one line that quotes no value."""
    first, *others = error.errors(include_url=False, include_input=False, include_context=False)
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(others)} more)" if others else ""
    return f"{place}: {first['msg']}{more}" if place else f"{first['msg']}{more}"


def write_durably(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file in place and wait until it is on disk; for staging, where nobody reads yet.

    Raises:
        RepositoryError: It can't be written: rights, space, or something else in its place.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except OSError as error:
        raise not_writable(path, error) from None


def not_writable(path: Path, error: OSError) -> RepositoryError:
    """The refusal of a place that can't be written to."""
    return RepositoryError(str(path), f"can't be written: {error.strerror}", "make it a place that you may write to")


def rename_durably(source: Path, target: Path) -> None:
    """Put a staged file or folder in its place, in one step that survives a power cut.

    Raises:
        RepositoryError: It can't be put there: rights, or the two are on different file systems.
    """
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise not_writable(target, error) from None
        raise RepositoryError(
            str(target), f"is not on the file system of {source.parent}", "keep the repository on one file system"
        ) from None
    for folder in {source.parent, target.parent}:
        sync_folder(folder)


def remove_empty(folder: Path) -> None:
    """Remove a staging folder unless somebody's file is in it."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def mode_of(path: Path, otherwise: int) -> int:
    """A file's permission bits, or others when there is no such file."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        return otherwise
