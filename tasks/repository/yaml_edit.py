"""Replace texts inside a YAML file that people wrote, and leave every other byte as it is.

A round trip through a YAML library drops comments above `---`, moves others and re-indents the file, and takes five
seconds for a thousand certificates; so the places come from the parser and the lines are replaced one by one. The
result is parsed again and compared with what was asked for: an edit that went wrong is refused, never written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import yaml

from rechain.errors import RepositoryError
from tasks.repository.files import compose_yaml, parse_yaml

Texts = Mapping[str, Mapping[str, str]]
_LITERAL = re.compile(r":\s*\|[-+0-9]*(?P<comment>\s+#.*)?$")


@dataclass(frozen=True, slots=True, repr=False)
class Replacement:
    """What a two-level mapping of texts is to hold.

    Attributes:
        top: The key at the left margin: `certs` or `private_keys`.
        wanted: Side, then name, to text.
        keep: Whether an existing text says the same as the wanted one, so that its lines stay untouched.
        prune: Whether names that are not wanted are removed from the sides that are given.
        where: What to call the file in an error.
    """

    top: str
    wanted: Texts
    keep: Callable[[str, str], bool]
    prune: bool
    where: str


@dataclass(frozen=True, slots=True, repr=False)
class _Edit:
    """New lines for those from `start` up to `end`; an insertion where both are the same."""

    start: int
    end: int
    lines: tuple[str, ...]


def replace_texts(text: str, change: Replacement) -> str:
    """Put texts into a file, as literal blocks; every line that need not change stays as it is.

    Args:
        text: The file as it is; empty for a new one.
        change: What it is to hold.

    Returns:
        The new file.

    Raises:
        RepositoryError: The file is not YAML in block style that can be edited in place.
    """
    before = parse_yaml(text, change.where)
    if before is None:
        return text + _separator(text) + "".join(_block(change.top, change.wanted, 0))
    lines = text.splitlines(keepends=True)
    edited = _apply(lines, _edits(_block_mapping(compose_yaml(text), change.where), lines, change))
    _confirm(before, parse_yaml(edited, change.where), change)
    return edited


def _separator(text: str) -> str:
    newline = "" if not text or text.endswith("\n") else "\n"
    return newline if "---" in text else f"{newline}---\n"


def _edits(document: yaml.MappingNode, lines: list[str], change: Replacement) -> Iterable[_Edit]:
    if change.top not in _names(document):
        yield _Edit(len(lines), len(lines), tuple(_block(change.top, change.wanted, 0)))
        return
    sides = _block_mapping(_names(document)[change.top], change.where)
    for side, texts in change.wanted.items():
        if side in _names(sides):
            yield from _side_edits(_block_mapping(_names(sides)[side], change.where), lines, texts, change)
        else:
            end = _value_end(sides.value[-1][1], lines)
            yield _Edit(end, end, tuple(_block(side, texts, sides.value[0][0].start_mark.column)))


def _side_edits(
    side: yaml.MappingNode, lines: list[str], texts: Mapping[str, str], change: Replacement
) -> Iterable[_Edit]:
    for key, value in side.value:
        start, end = key.start_mark.line, _value_end(value, lines)
        if key.value not in texts:
            if change.prune:
                yield _Edit(start, end, ())
        elif not (isinstance(value, yaml.ScalarNode) and change.keep(value.value, texts[key.value])):
            head = lines[start][: key.end_mark.column] + ": |" + _comment(lines[start])
            yield _Edit(start, end, (head + "\n", *_indented(texts[key.value], key.start_mark.column + 2)))
    indent, end = side.value[0][0].start_mark.column, _value_end(side.value[-1][1], lines)
    added = {name: text for name, text in texts.items() if name not in _names(side)}
    if added:
        yield _Edit(end, end, tuple(line for name, text in added.items() for line in _entry(name, text, indent)))


def _comment(line: str) -> str:
    found = _LITERAL.search(line.rstrip())
    return (found["comment"] or "") if found else ""


def _block_mapping(node: yaml.Node | None, where: str) -> yaml.MappingNode:
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return node
    raise _not_editable(where)


def _names(mapping: yaml.MappingNode) -> dict[str, yaml.Node]:
    return {key.value: value for key, value in mapping.value}


def _value_end(value: yaml.Node, lines: list[str]) -> int:
    """The line after a value, comments and blank lines that follow it left out."""
    while isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
        value = value.value[-1][1]
    end = value.end_mark.line + (1 if value.end_mark.column else 0)
    while end > value.start_mark.line + 1 and not lines[end - 1].strip():
        end -= 1
    return end


def _block(key: str, content: Texts | Mapping[str, str], indent: int) -> Iterable[str]:
    yield f"{' ' * indent}{_plain(key)}:\n"
    for name, value in content.items():
        if isinstance(value, str):
            yield from _entry(name, value, indent + 2)
        else:
            yield from _block(name, value, indent + 2)


def _entry(name: str, text: str, indent: int) -> Iterable[str]:
    yield f"{' ' * indent}{_plain(name)}: |\n"
    yield from _indented(text, indent + 2)


def _indented(text: str, indent: int) -> Iterable[str]:
    return (f"{' ' * indent}{line}\n" for line in text.splitlines())


def _plain(name: str) -> str:
    """A key as YAML: as it is where that reads back as the same text, else quoted."""
    try:
        is_plain = re.fullmatch(r"[\w.-]+", name) is not None and yaml.safe_load(name) == name
    except yaml.YAMLError:
        is_plain = False
    return name if is_plain else json.dumps(name)


def _apply(lines: list[str], edits: Iterable[_Edit]) -> str:
    """Edit from the end of the file, so that line numbers stay right; insertions at one line keep their order."""
    edited = [line if line.endswith("\n") else line + "\n" for line in lines]
    in_order = sorted(edits, key=lambda edit: (edit.start, edit.end))
    for edit in in_order[::-1]:
        edited[edit.start : edit.end] = edit.lines
    return "".join(edited)


def _confirm(before: object, after: object, change: Replacement) -> None:
    """Compare the edited file with what it must hold: all that was there, and what was wanted."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        raise _not_editable(change.where)
    sides, new_sides = before.get(change.top) or {}, after.get(change.top) or {}
    same_rest = _without(before, {change.top}) == _without(after, {change.top})
    same_sides = _without(sides, change.wanted) == _without(new_sides, change.wanted)
    if not (same_rest and same_sides and all(_holds(sides, new_sides, side, change) for side in change.wanted)):
        raise _not_editable(change.where)


def _holds(sides: Mapping[str, object], new_sides: Mapping[str, object], side: str, change: Replacement) -> bool:
    old, new = sides.get(side) or {}, new_sides.get(side)
    if not isinstance(old, dict) or not isinstance(new, dict):
        return False
    wanted = change.wanted[side]
    others = {} if change.prune else _without(old, wanted)
    given = {str(name): str(text) for name, text in new.items()}
    right = all(change.keep(given.get(name, ""), text) for name, text in wanted.items())
    return right and _without(new, wanted) == others


def _without(mapping: Mapping[str, object], names: Iterable[str]) -> dict[str, object]:
    left_out = set(names)
    return {name: value for name, value in mapping.items() if str(name) not in left_out}


def _not_editable(where: str) -> RepositoryError:
    return RepositoryError(
        where, "can't be edited in place: it is not a plain mapping in block style", "write it without {}, & and *"
    )
