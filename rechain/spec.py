"""The chain spec: what an environment's chain is to look like, in every shape that chainsmith reads.

    subject: {C: NL/postalCode=1261 WZ, O: Company, CN: postgres}
    key: rsa-3072                   # or rsa-2048, rsa-4096, ecdsa-p256; an intermediate may have its own
    root_lifetime: 10y
    intermediate_lifetime: 5y       # here, or in an intermediate
    lifetime: 365d                  # of the leaves; here, or in an intermediate
    hosts: environments/poc/hosts   # an inventory with further servers; here, or in the server intermediate
    intermediates:
      - name: server
        keyUsages: [digitalSignature, keyEncipherment, dataEncipherment]    # of the leaves
        extendedKeyUsages: [serverAuth]                                     # of the leaves
        servers: {db1.example.com: [10.0.0.1], db2.example.com: null}
      - name: client
        clients: [postgres, applicatie]

Everything but the intermediates has a default. Keys may be written in any of chainsmith's spellings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace

from rechain.errors import SpecError
from rechain.generation import Side
from rechain.spec_leaves import Hosts, clients, servers, sides
from rechain.spec_values import KeyType, Node, days, key_type, usages
from rechain.subject import Subject, parse_subject
from rechain.usages import (
    CLIENT_AUTH,
    DIGITAL_SIGNATURE,
    EXTENDED_KEY_USAGES,
    JAVA_KEY_USAGES,
    LEAF_KEY_USAGES,
    SERVER_AUTH,
)

__all__ = ["ChainSpec", "Hosts", "IntermediateSpec", "KeyType", "digest", "parse_shape", "parse_spec", "wrong_usages"]

_ROOT_DAYS, _INTERMEDIATE_DAYS, _LEAF_DAYS = 3650, 1825, 365
_PURPOSE = {Side.SERVER: SERVER_AUTH, Side.CLIENT: CLIENT_AUTH}

# Known to one of chainsmith's versions and without a meaning here: where files go, and what CAs may always do.
_NOT_OURS = frozenset({
    "tmpdir", "debug", "configfile", "certspath", "privatekeyspath",
    "rootcapath", "intermediatecapath", "rootkeyusages", "rootextrakeyusages",
})  # fmt: skip
_TOP_LEVEL = _NOT_OURS | {
    "subject", "intermediates", "hosts", "environment", "key", "lifetime", "intermediatelifetime",
    "rootlifetime", "rootexpiry", "chain",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class IntermediateSpec:
    """One intermediate CA and what its leaves have in common.

    Attributes:
        key_usages: Key usages of the leaves, by OpenSSL's names.
        extended_key_usages: Extended key usages of the leaves, and of the intermediate.
        key: Key type of the intermediate and its leaves.
        lifetime_days: Days that the intermediate is valid.
        leaf_days: Days that a leaf is valid.
    """

    key_usages: tuple[str, ...]
    extended_key_usages: tuple[str, ...]
    key: KeyType
    lifetime_days: int
    leaf_days: int


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """What a chain is to look like.

    Attributes:
        subject: What all subjects share.
        servers: Server name to its further DNS names and IP addresses.
        clients: Client names; each is a PostgreSQL role, or another service's user.
        server: The intermediate above the servers.
        client: The intermediate above the clients.
        root_key: Key type of the root CA.
        root_days: Days that the root CA is valid.
    """

    subject: Subject
    servers: Mapping[str, tuple[str, ...]]
    clients: tuple[str, ...]
    server: IntermediateSpec
    client: IntermediateSpec
    root_key: KeyType
    root_days: int

    def intermediate(self, side: Side) -> IntermediateSpec:
        """The intermediate of one side."""
        return self.server if side is Side.SERVER else self.client


def digest(spec: ChainSpec) -> str:
    """A stable digest of what a spec asks for; the order of servers, clients and usages does not matter.

    Returns:
        Lower-case hex SHA-256.
    """
    content = asdict(spec)
    content["servers"] = {name: sorted(names) for name, names in spec.servers.items()}
    content["clients"] = sorted(spec.clients)
    for side in Side:
        for kind in ("key_usages", "extended_key_usages"):
            content[side][kind] = sorted(content[side][kind])
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def digest_without_clients(spec: ChainSpec) -> str:
    """A digest of everything that a spec asks for but its clients."""
    return digest(replace(spec, clients=()))


def parse_spec(document: object, where: str, hosts: Hosts, *, inventory: str | None = None) -> ChainSpec:
    """Read a chain spec, and refuse one whose leaves could not log in.

    Args:
        document: What the YAML parser made of the file.
        where: The file, for errors.
        hosts: Reads the inventory that `hosts:` points at.
        inventory: The environment's own inventory, used when the spec names neither servers nor `hosts:`,
            as pgvillage's `chainsmith.sh` does.

    Raises:
        SpecError: A shape that can't be served; names file, key and fix.
    """
    spec = parse_shape(document, where, hosts, inventory=inventory)
    for key, what, fix in wrong_usages(spec):
        raise SpecError(where, f"{key}: {what}", fix)
    return spec


def wrong_usages(spec: ChainSpec) -> list[tuple[str, str, str]]:
    """Usages with which no leaf of an intermediate could be used: key, what is wrong, and the fix."""
    found = []
    for side in Side:
        intermediate, purpose = spec.intermediate(side), _PURPOSE[side]
        key = f"intermediates.{side}"
        if purpose not in intermediate.extended_key_usages:
            found.append((f"{key}.extendedKeyUsages", _WITHOUT[side], f"add {purpose} to the list"))
        if DIGITAL_SIGNATURE not in intermediate.key_usages:
            what = f"{DIGITAL_SIGNATURE} is missing, and TLS proves the possession of a key by signing with it"
            found.append((f"{key}.keyUsages", what, f"add {DIGITAL_SIGNATURE} to the list"))
    return found


_WITHOUT = {
    Side.SERVER: "serverAuth is missing, and libpq and Java refuse a server leaf without it",
    Side.CLIENT: "clientAuth is missing, and PostgreSQL refuses a client leaf without it; the runbook's list, "
    "serverAuth alone on both sides, is right for servers only",
}


def parse_shape(document: object, where: str, hosts: Hosts, *, inventory: str | None = None) -> ChainSpec:
    """Read a chain spec without judging its usages, so that `lint` can list all that is wrong. See `parse_spec`."""
    top = Node(document, where)
    if document is None or document == {}:
        raise top.refused("the spec is empty", "write subject and intermediates, as chainsmith reads them")
    fields = top.fields(_TOP_LEVEL)
    if "chain" in fields:
        raise fields["chain"].refused(
            "this nested shape is not read", "write subject and intermediates at the top level"
        )
    bodies = sides(fields.get("intermediates", top.child("intermediates", None)))
    server, client = (bodies[side] for side in Side)
    spec = ChainSpec(
        subject=parse_subject(fields["subject"].value if "subject" in fields else None, where),
        servers=servers(server, fields, hosts, inventory),
        clients=clients(client),
        server=_intermediate(Side.SERVER, server, fields),
        client=_intermediate(Side.CLIENT, client, fields),
        root_key=_key(fields),
        root_days=_days(_ROOT_DAYS, fields, "rootlifetime", "rootexpiry"),
    )
    _refuse_outliving(spec, top)
    if not spec.servers and not spec.clients:
        raise top.refused("names no server and no client", "add servers to the server intermediate, or `hosts:`")
    return spec


def _intermediate(side: Side, body: Mapping[str, Node], top: Mapping[str, Node]) -> IntermediateSpec:
    inherited = {key: top[key] for key in ("key", "lifetime", "intermediatelifetime") if key in top}
    fields = {**inherited, **body}
    return IntermediateSpec(
        key_usages=_usages(fields.get("keyusages"), LEAF_KEY_USAGES, JAVA_KEY_USAGES),
        extended_key_usages=_usages(fields.get("extendedkeyusages"), EXTENDED_KEY_USAGES, (_PURPOSE[side],)),
        key=_key(fields),
        lifetime_days=_days(_INTERMEDIATE_DAYS, fields, "intermediatelifetime"),
        leaf_days=_days(_LEAF_DAYS, fields, "lifetime"),
    )


def _usages(node: Node | None, known: Collection[str], otherwise: tuple[str, ...]) -> tuple[str, ...]:
    return otherwise if node is None or node.value is None else usages(node, known)


def _key(fields: Mapping[str, Node]) -> KeyType:
    return key_type(fields["key"]) if "key" in fields else KeyType.RSA_3072


def _days(otherwise: int, fields: Mapping[str, Node], *keys: str) -> int:
    return next((days(fields[key]) for key in keys if key in fields), otherwise)


def _refuse_outliving(spec: ChainSpec, top: Node) -> None:
    """No certificate outlives its issuer: the chain would end earlier than the leaf says."""
    for side in Side:
        intermediate = spec.intermediate(side)
        if intermediate.leaf_days > intermediate.lifetime_days:
            what = (
                f"a {side} leaf would live {intermediate.leaf_days} days, its intermediate {intermediate.lifetime_days}"
            )
            raise top.refused(what, "shorten `lifetime`, or lengthen `intermediate_lifetime`")
        if intermediate.lifetime_days > spec.root_days:
            what = f"the {side} intermediate would live {intermediate.lifetime_days} days, the root {spec.root_days}"
            raise top.refused(what, "shorten `intermediate_lifetime`, or lengthen `root_lifetime`")
