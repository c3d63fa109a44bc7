"""Lint files: chain specs, PEM certificates, and certs.yml."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from rechain.errors import RechainError
from rechain.finding import Finding
from rechain.generation import Side
from rechain.policy import lint_certificates, lint_spec, unreadable
from rechain.spec import parse_shape
from tasks.repository.files import read_text
from tasks.repository.spec_file import InventoryServers, load_document


def lint_files(paths: Iterable[Path], *, root: Path | None = None, now: datetime | None = None) -> tuple[Finding, ...]:
    """Judge files by every policy.

    Idempotent, reads only; what can't be read is a finding too, so that one bad file does not hide the others.

    Args:
        paths: Chain specs, PEM files or certs.yml files.
        root: The environment repository, which a spec's `hosts:` is relative to; by default the parent of the
            spec's folder, as specs lie in `config/`.
        now: Aware UTC instant that validity is judged at; by default the clock's.

    Returns:
        The findings, in the order of the files.
    """
    instant = now or datetime.now(UTC)
    return tuple(finding for path in paths for finding in _lint_file(Path(path), root, instant))


def _lint_file(path: Path, root: Path | None, now: datetime) -> tuple[Finding, ...]:
    try:
        text = read_text(path)
        if text.lstrip().startswith("-----BEGIN") or "\n-----BEGIN" in text:
            return lint_certificates(text, str(path), now=now)
        document = load_document(path)
        if isinstance(document, Mapping) and "certs" in document:
            return tuple(_lint_certs(document["certs"], path, now))
        return _lint_spec(document, path, root or path.absolute().parent.parent)
    except RechainError as error:
        return (unreadable(error),)


def _lint_spec(document: object, path: Path, root: Path) -> tuple[Finding, ...]:
    own = root / "environments" / path.stem.removeprefix("chainsmith_") / "hosts"
    inventory = str(own.relative_to(root)) if own.exists() else None
    spec = parse_shape(document, str(path), InventoryServers(root, path), inventory=inventory)
    return lint_spec(spec, str(path))


def _lint_certs(certs: object, path: Path, now: datetime) -> Iterator[Finding]:
    """Each entry of a certs.yml; entries that are no text are somebody else's."""
    for side in Side:
        entries = certs.get(side) if isinstance(certs, Mapping) else None
        for name, text in (entries if isinstance(entries, Mapping) else {}).items():
            if not isinstance(text, str):
                continue
            try:
                yield from lint_certificates(text, f"{path}: certs.{side}.{name}", now=now, side=side)
            except RechainError as error:
                yield unreadable(error)
