"""A generation: one issuance of a whole chain, its public part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rechain.certificate import Bundle, LeafChain


class Side(StrEnum):
    """The two halves of a chain; also the keys of certs.yml."""

    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Generation:
    """One issuance of a whole chain: CA certificates and leaves, no keys.

    Attributes:
        number: Its number; numbers only grow and are never reused.
        server_bundle: The CA certificates above server leaves, intermediate then root.
        client_bundle: The CA certificates above client leaves, intermediate then root.
        servers: Server name to leaf and intermediate.
        clients: Client name to leaf and intermediate.
    """

    number: int
    server_bundle: Bundle
    client_bundle: Bundle
    servers: Mapping[str, LeafChain]
    clients: Mapping[str, LeafChain]

    def bundle(self, side: Side) -> Bundle:
        """The CA certificates of one side."""
        return self.server_bundle if side is Side.SERVER else self.client_bundle

    def leaves(self, side: Side) -> Mapping[str, LeafChain]:
        """The leaves of one side, by name."""
        return self.servers if side is Side.SERVER else self.clients


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKeys:
    """The private keys of leaves, as PEM. Lives inside one task; its text form shows none of them.

    Attributes:
        servers: Server name to PEM.
        clients: Client name to PEM.
    """

    servers: Mapping[str, str] = field(default_factory=dict)
    clients: Mapping[str, str] = field(default_factory=dict)

    def of(self, side: Side) -> Mapping[str, str]:
        """The keys of one side, by name."""
        return self.servers if side is Side.SERVER else self.clients

    def __repr__(self) -> str:
        return f"PrivateKeys({len(self.servers)} servers, {len(self.clients)} clients)"
