"""Add clients and servers to a chain spec as a person would in an editor: every other byte stays as it is.

The places come from the YAML parser, the lines are inserted one by one, and the result is read again: an edit that
says anything but what was asked for is refused, never written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from rechain.errors import InputError, RepositoryError, SpecError
from rechain.generation import Side
from rechain.spec import ChainSpec, digest
from tasks.repository.files import compose_yaml, mode_of, read_text, rename_durably, write_durably
from tasks.repository.spec_file import parse_text, spec_path

_PLAIN = re.compile(r"[A-Za-z][\w.-]*")


def add_clients(root: Path, environment: str, names: Sequence[str]) -> Path:
    """Add clients to the spec of an environment, all or none.

    Side effect: the spec, by rename. Not idempotent: a client that is there already is refused.

    Returns:
        The spec's path.

    Raises:
        InputError: A client is there, a name can't be in a certificate, or the file can't be edited in place.
    """
    path = spec_path(root, environment)
    return _write(path, with_clients(root, environment, read_text(path), names))


def add_server(root: Path, environment: str, name: str, names: Sequence[str]) -> Path:
    """Add a server, with its further names and addresses, to the spec of an environment.

    Side effect: the spec, by rename. Not idempotent: a server that is there already is refused.

    Returns:
        The spec's path.

    Raises:
        InputError: The server is there, a name can't be in a certificate, or the file can't be edited in place.
    """
    path = spec_path(root, environment)
    return _write(path, with_server(root, environment, read_text(path), name, names))


def with_clients(root: Path, environment: str, text: str, names: Sequence[str]) -> str:
    """The text of an environment's spec with further clients; raises as `add_clients` does."""
    spec, path = parse_text(root, environment, text), spec_path(root, environment)
    for name in names:
        if name in spec.clients or list(names).count(name) > 1:
            raise InputError(str(path), f"has client {name} already", "leave it out")
    entries = _entries(path, text, Side.CLIENT, "clients", yaml.SequenceNode)
    scalars = [_scalar(name) for name in names]
    edited = _inserted(text, entries, [f"- {scalar}" for scalar in scalars], ", ".join(scalars))
    return _checked(root, environment, edited, replace(spec, clients=(*spec.clients, *names)))


def with_server(root: Path, environment: str, text: str, name: str, names: Sequence[str]) -> str:
    """The text of an environment's spec with a further server; raises as `add_server` does."""
    spec, path = parse_text(root, environment, text), spec_path(root, environment)
    if name in spec.servers:
        raise InputError(str(path), f"has server {name} already", "change its names in an editor")
    entries = _entries(path, text, Side.SERVER, "servers", yaml.MappingNode)
    line = f"{_scalar(name)}: [{', '.join(map(_scalar, names))}]"
    wanted = replace(spec, servers={**spec.servers, name: tuple(names)})
    return _checked(root, environment, _inserted(text, entries, [line], line), wanted)


def _entries(path: Path, text: str, side: Side, key: str, kind: type[yaml.CollectionNode]) -> yaml.CollectionNode:
    """The list or mapping that takes the new entry."""
    for intermediate in _intermediates(compose_yaml(text)):
        names = {_spelled(each.value): value for each, value in intermediate.value}
        if isinstance(names.get(key), kind) and names[key].value:
            found: yaml.CollectionNode = names[key]
            return found
    raise SpecError(
        str(path), f"the {side} intermediate has no `{key}` of its own to add to", f"write `{key}:` with a first entry"
    )


def _intermediates(document: yaml.Node | None) -> list[yaml.MappingNode]:
    top = document.value if isinstance(document, yaml.MappingNode) else []
    nodes = [value for key, value in top if _spelled(key.value) == "intermediates"]
    listed = nodes[0].value if nodes else []
    items = [item[1] if isinstance(item, tuple) else item for item in listed]
    return [item for item in items if isinstance(item, yaml.MappingNode)]


def _spelled(key: object) -> str:
    """A key as chainsmith's versions read it, whatever its spelling."""
    return re.sub(r"[_-]", "", str(key)).lower()


def _inserted(text: str, entries: yaml.CollectionNode, added: Sequence[str], inline: str) -> str:
    if entries.flow_style:
        end = entries.end_mark.index - 1
        before = text[:end].rstrip().removesuffix(",")
        return f"{before}, {inline}{text[end:]}"
    lines = text.splitlines(keepends=True)
    at = _line_after(entries)
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    lines[at - 1] = lines[at - 1].rstrip("\r\n") + newline
    lines[at:at] = [f"{' ' * entries.start_mark.column}{line}{newline}" for line in added]
    return "".join(lines)


def _line_after(entries: yaml.Node) -> int:
    """The line after the last entry, comments and blank lines that follow it left out."""
    node = entries
    while isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return max(int(node.end_mark.line) + (1 if node.end_mark.column else 0), int(node.start_mark.line) + 1)


def _scalar(text: str) -> str:
    """A name as YAML: as it is where that reads back as the same text, else quoted."""
    return text if _PLAIN.fullmatch(text) and yaml.safe_load(text) == text else json.dumps(text)


def _checked(root: Path, environment: str, text: str, wanted: ChainSpec) -> str:
    if digest(parse_text(root, environment, text)) != digest(wanted):
        path = spec_path(root, environment)
        raise SpecError(str(path), "can't be edited in place without changing more than that", "edit it by hand")
    return text


def _write(path: Path, text: str) -> Path:
    file = path.resolve()  # a link stays one: what it points at is the file
    staged = file.with_name(f".{file.name}.new")
    write_durably(staged, text, mode_of(file, 0o644))
    try:
        rename_durably(staged, file)
    except RepositoryError:
        staged.unlink(missing_ok=True)
        raise
    return path
