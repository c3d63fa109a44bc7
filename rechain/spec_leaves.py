"""Who is in a chain spec: which intermediate is whose, the servers with their names, the clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rechain.generation import Side
from rechain.spec_values import Node, alternative_name, leaf_name

Hosts = Callable[[str], Mapping[str, tuple[str, ...]]]
"""Server names of the inventory at a path of the repository, with further names and addresses of each."""

INTERMEDIATE_FIELDS = frozenset({
    "name", "servers", "clients", "hosts", "environment", "keyusages", "extendedkeyusages", "key", "lifetime",
    "intermediatelifetime", "tmpdir",
})  # fmt: skip


def sides(node: Node) -> dict[Side, dict[str, Node]]:
    """Tell the server intermediate from the client intermediate: by name, else by what they hold.

    Args:
        node: The spec's `intermediates`.

    Raises:
        SpecError: A side is missing, there twice, or can't be told.
    """
    found: dict[Side, dict[str, Node]] = {}
    for name, body in _bodies(node):
        side = _side(name, body)
        if side in found:
            raise node.refused(f"two intermediates are for {side}s", "keep one `server` and one `client`")
        found[side] = body
    for side in Side:
        if side not in found:
            raise node.refused(f"there is no intermediate for {side}s", f"add `- name: {side}`")
    return found


def _bodies(node: Node) -> list[tuple[Node, dict[str, Node]]]:
    """Name and fields of each intermediate, from a list (all of chainsmith's versions) or a mapping (Go)."""
    if isinstance(node.value, Mapping):
        named = [(node.child(name, name), node.child(name, body)) for name, body in node.mapping()]
        return [(name, body.fields(INTERMEDIATE_FIELDS)) for name, body in named]
    bodies = []
    for item in node.items():
        label = item.value.get("name") if isinstance(item.value, Mapping) else None
        entry = node.child(label, item.value) if isinstance(label, str) else item
        fields = entry.fields(INTERMEDIATE_FIELDS)
        if "name" not in fields:
            raise entry.refused("the intermediate has no name", "add `name: server` or `name: client`")
        bodies.append((fields["name"], fields))
    return bodies


def _side(name: Node, body: Mapping[str, Node]) -> Side:
    text = name.text().lower()
    if text in set(Side):
        return Side(text)
    holds = {Side.SERVER: {"servers", "hosts", "environment"} & set(body), Side.CLIENT: {"clients"} & set(body)}
    candidates = [side for side in Side if holds[side]]
    if len(candidates) != 1:
        raise name.refused("can't tell whether it is for servers or clients", "name it `server` or `client`")
    return candidates[0]


def servers(
    body: Mapping[str, Node], top: Mapping[str, Node], hosts: Hosts, inventory: str | None
) -> dict[str, tuple[str, ...]]:
    """The spec's own servers, then those of an inventory that it points at.

    Args:
        body: Fields of the server intermediate.
        top: Fields of the whole spec.
        hosts: Reads an inventory.
        inventory: The inventory to read when the spec names neither servers nor one.

    Raises:
        SpecError: A name is none that a certificate can hold, or the intermediate holds clients.
    """
    _refuse_leaves(body, "clients", Side.CLIENT)
    named: dict[str, tuple[str, ...]] = {}
    if "servers" in body:
        for name, value in body["servers"].mapping():
            node = body["servers"].child(name, value)
            named[_server_name(node, name)] = tuple(alternative_name(item) for item in node.items())
    pointer = next((fields[key] for fields in (body, top) for key in ("hosts", "environment") if key in fields), None)
    if pointer is not None and pointer.value is not None:
        return named | _from_inventory(pointer, pointer.text(), hosts, named)
    if not named and inventory is not None:
        return _from_inventory(Node(inventory, top["intermediates"].where, "hosts"), inventory, hosts, named)
    return named


def _server_name(node: Node, name: str) -> str:
    alternative_name(Node(name, node.where, node.path))  # its own first SAN
    return leaf_name(Node(name, node.where, node.path))


def _from_inventory(
    pointer: Node, path: str, hosts: Hosts, named: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, names in hosts(path).items():
        if name not in named:
            node = pointer.child(name, None)
            found[_server_name(node, name)] = tuple(
                alternative_name(Node(each, node.where, node.path)) for each in names
            )
    return found


def clients(body: Mapping[str, Node]) -> tuple[str, ...]:
    """The clients of the client intermediate, each once. Raises SpecError for a name that can't be used."""
    _refuse_leaves(body, "servers", Side.SERVER)
    if "clients" not in body:
        return ()
    return tuple(dict.fromkeys(leaf_name(item) for item in body["clients"].items()))


def _refuse_leaves(body: Mapping[str, Node], key: str, side: Side) -> None:
    """An intermediate for both sides would let a server's certificate log in."""
    if key in body and body[key].value:
        raise body[key].refused(f"{key} in the intermediate of the other side", f"move them to the {side} intermediate")
