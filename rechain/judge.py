"""Judges of one leaf before one bundle: by a handshake where the key is ours, else by another judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rechain.certificate import EMPTY, Bundle, Certificate, LeafChain
from rechain.generation import PrivateKeys, Side
from rechain.handshake import Identity, client_leaf_refused, server_leaf_refused
from rechain.x509_parts import public_key_digest


class Judge(Protocol):
    """Says whether a peer accepts a leaf: None, or the reason why it does not."""

    def server_leaf(self, name: str, chain: LeafChain, trusted: Bundle, own: Bundle = EMPTY) -> str | None:
        """Judge a server leaf before a client.

        Args:
            name: The server name that the client connects to.
            chain: What the server presents.
            trusted: The client's bundle.
            own: The server's own bundle, from which OpenSSL completes a leaf without intermediates.
        """

    def client_leaf(self, name: str, chain: LeafChain, trusted: Bundle, own: Bundle = EMPTY) -> str | None:
        """Judge a client leaf before a server.

        Args:
            name: The client.
            chain: What the client presents.
            trusted: The server's bundle.
            own: The client's own bundle, from which OpenSSL completes a leaf without intermediates.
        """


class HandshakeJudge:
    """Judges by a TLS handshake in memory. Its text form shows no key.

    Args:
        keys: Generation number to that generation's private keys. A key counts when it fits the leaf's public key.
        fallback: Judges the leaves whose key is not among them; without one they are refused as not judged.
    """

    def __init__(self, keys: Mapping[int, PrivateKeys], fallback: Judge | None = None) -> None:
        self._keys = dict(keys)
        self._fallback = fallback
        self._found: dict[str, str | None] = {}

    def __repr__(self) -> str:
        return f"HandshakeJudge(generations {sorted(self._keys)})"

    def server_leaf(self, name: str, chain: LeafChain, trusted: Bundle, own: Bundle = EMPTY) -> str | None:
        """Judge a server leaf before a client; see Judge."""
        if key := self._key(Side.SERVER, name, chain):
            return server_leaf_refused(Identity(chain.pem, key), own.pem, trusted.pem, name)
        return self._fallback.server_leaf(name, chain, trusted, own) if self._fallback else _NOT_OURS

    def client_leaf(self, name: str, chain: LeafChain, trusted: Bundle, own: Bundle = EMPTY) -> str | None:
        """Judge a client leaf before a server; see Judge."""
        if key := self._key(Side.CLIENT, name, chain):
            return client_leaf_refused(Identity(chain.pem, key), own.pem, trusted.pem)
        return self._fallback.client_leaf(name, chain, trusted, own) if self._fallback else _NOT_OURS

    def _key(self, side: Side, name: str, chain: LeafChain) -> str | None:
        """The key that fits a leaf, whichever generation holds it; looked for once, because parsing keys is slow."""
        leaf = chain.leaf
        if leaf.fingerprint not in self._found:
            self._found[leaf.fingerprint] = next((key for key in self._held(side, name) if _fits(key, leaf)), None)
        return self._found[leaf.fingerprint]

    def _held(self, side: Side, name: str) -> Iterator[str]:
        held = (keys.of(side).get(name) for keys in self._keys.values())
        return (key for key in held if key)


_NOT_OURS = "not judged: its private key is not ours, and no other judge was given"


def _fits(key_pem: str, leaf: Certificate) -> bool:
    try:
        key = load_pem_private_key(key_pem.encode("utf-8"), None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # unreadable, encrypted or of an unknown kind: not usable
        return False
    return public_key_digest(key.public_key()) == leaf.public_key
