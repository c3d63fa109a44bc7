"""Every certificate of an environment that the repository holds, entry by entry, however broken a file may be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from rechain.errors import RechainError
from rechain.generation import Side
from rechain.scan.seen import Source, Text, Use
from rechain.scan.texts import read_what_can_be
from tasks.repository.files import parse_yaml, read_text
from tasks.repository.generations import known_generations
from tasks.repository.layout import certs_paths, generation_folder
from tasks.repository.vault import read_vault

_CERTIFICATES = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_LEAF = {Side.SERVER: Use.SERVER_LEAF, Side.CLIENT: Use.CLIENT_LEAF}
_BUNDLE = {Side.SERVER: Use.SERVER_BUNDLE, Side.CLIENT: Use.CLIENT_BUNDLE}
_CHAIN = "chain"


def read_entries(root: Path, environment: str) -> tuple[Text, ...]:
    """Read certs.yml and the generations' folders. Idempotent, reads only; what can't be read is a `Text` too.

    Raises:
        RepositoryError: There is no such environment.
    """
    certs, _ = certs_paths(root, environment)
    texts = list(_entries(certs, root, None)) if certs.exists() else []
    for number in known_generations(root, environment):
        texts += _entries(generation_folder(root, environment, number) / "certs.yml", root, number)
    return tuple(texts)


def read_vault_entries(root: Path, environment: str) -> tuple[Text, ...]:
    """Read the certificates that a vault holds besides keys. No key leaves this function.

    Raises:
        RepositoryError: The vault can't be opened.
    """
    _, vault = certs_paths(root, environment)
    if not vault.exists():
        return ()
    document = parse_yaml(read_vault(vault), str(vault))
    return tuple(_in_vault(document, (), str(vault.relative_to(root))))


def _entries(path: Path, root: Path, generation: int | None) -> Iterator[Text]:
    where = str(path.relative_to(root))
    try:
        document = parse_yaml(read_text(path), where)
    except RechainError as error:
        yield Text(Source.REPOSITORY, where, Use.SERVER_BUNDLE, None, (), error.what, generation)
        return
    certs = document.get("certs") if isinstance(document, Mapping) else None
    for side in Side:
        entries = certs.get(side.value) if isinstance(certs, Mapping) else None
        if not isinstance(entries, Mapping):
            place, problem = f"{where}: certs.{side}", "is no mapping of names to PEM texts"
            yield Text(Source.REPOSITORY, place, _BUNDLE[side], None, (), problem, generation)
            continue
        yield from (_entry(f"{where}: certs.{side}", side, str(name), entries[name], generation) for name in entries)


def _entry(where: str, side: Side, name: str, content: object, generation: int | None) -> Text:
    found, problem = read_what_can_be(content) if isinstance(content, str) else ((), "is not a PEM text")
    use, owner = (_BUNDLE[side], None) if name == _CHAIN else (_LEAF[side], name)
    return Text(Source.REPOSITORY, f"{where}.{name}", use, owner, found, problem, generation)


def _in_vault(content: object, keys: tuple[str, ...], vault: str) -> Iterator[Text]:
    """Texts with certificates anywhere in a vault; their keys tell the side where one of them names it."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _in_vault(value, (*keys, str(key)), vault)
    elif isinstance(content, str):
        found, problem = read_what_can_be("\n".join(_CERTIFICATES.findall(content)))
        if found or "BEGIN CERTIFICATE" in content:
            side = Side.CLIENT if Side.CLIENT.value in keys else Side.SERVER
            use = _BUNDLE[side] if found and all(one.is_ca for one in found) else _LEAF[side]
            name = keys[-1] if keys and use is _LEAF[side] else None
            yield Text(Source.REPOSITORY, f"{vault}: {'.'.join(keys)}", use, name, found, problem)
