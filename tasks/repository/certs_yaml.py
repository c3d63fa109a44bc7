"""certs.yml and the content of the vault: the shapes that the users' own roles copy to hosts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from rechain.certificate import read_bundle, read_leaf_chain
from rechain.certs import Certs
from rechain.crl import Crl, read_crls
from rechain.errors import RepositoryError
from rechain.generation import PrivateKeys, Side
from tasks.repository.files import parse_yaml, read_text
from tasks.repository.yaml_edit import Replacement, replace_texts

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?-----END [A-Z0-9 ]+-----", re.DOTALL)
_CHAIN = "chain"
_CRL, _OF_CLIENTS = "crl", "client"


def read_certs(path: Path) -> Certs:
    """Read a certs.yml.

    Raises:
        RepositoryError: It is unreadable or has another shape.
        PemError: An entry does not hold certificates.
    """
    return parse_certs(read_text(path), str(path))


def parse_certs(text: str, where: str) -> Certs:
    """Parse the text of a certs.yml; raises as `read_certs` does."""
    document = parse_yaml(text, where)
    certs = _sides(document, "certs", where)
    chains = {side: _chain(texts, f"{where}: certs.{side}") for side, texts in certs.items()}
    leaves = {
        side: {
            name: read_leaf_chain(pem, f"{where}: certs.{side}.{name}")
            for name, pem in certs[side].items()
            if name != _CHAIN
        }
        for side in Side
    }
    return Certs(
        server_chain=read_bundle(chains[Side.SERVER], f"{where}: certs.server.chain"),
        client_chain=read_bundle(chains[Side.CLIENT], f"{where}: certs.client.chain"),
        servers=leaves[Side.SERVER],
        clients=leaves[Side.CLIENT],
        crls=_crls(document, where),
    )


def render_certs(existing_text: str, certs: Certs, where: str = "certs.yml") -> str:
    """Put certificates into the text of a certs.yml; comments, order and other keys stay.

    An entry that holds the right certificates already keeps its lines, with whatever is written between them.

    Args:
        existing_text: The file as it is; empty for a new one.
        certs: What it is to hold. Leaves that are not among them are removed; without lists those there are stay.
        where: What to call the file in an error.

    Raises:
        RepositoryError: The file can't be edited in place.
    """
    wanted = {
        side.value: {_CHAIN: certs.chain(side).pem} | {name: chain.pem for name, chain in certs.leaves(side).items()}
        for side in Side
    }
    if certs.crls:
        wanted[_CRL] = {_OF_CLIENTS: "".join(crl.pem for crl in certs.crls)}
    return replace_texts(existing_text, Replacement("certs", wanted, keep=_same_pem, prune=True, where=where))


def read_keys(plaintext: str, where: str) -> PrivateKeys:
    """Read a decrypted vault.

    Raises:
        RepositoryError: It has another shape; the message quotes nothing of it.
    """
    keys = _sides(parse_yaml(plaintext, where), "private_keys", where)
    return PrivateKeys(servers=keys[Side.SERVER], clients=keys[Side.CLIENT])


def render_keys(existing_plaintext: str, keys: PrivateKeys) -> str:
    """Put private keys into the plaintext of a vault; keys that are not named, and all else, stay.

    Returns:
        The new plaintext; the same text, when every key was there already.

    Raises:
        RepositoryError: The text can't be edited in place.
    """
    wanted = {side.value: dict(keys.of(side)) for side in Side if keys.of(side)}
    change = Replacement("private_keys", wanted, keep=_same_pem, prune=False, where="the vault's content")
    return replace_texts(existing_plaintext, change)


def _crls(document: object, where: str) -> tuple[Crl, ...]:
    """The lists of the CAs above clients: beside the two sides, where no role takes them for a client."""
    certs = document.get("certs") if isinstance(document, dict) else None
    texts = _texts(certs.get(_CRL) if isinstance(certs, dict) else None, f"{where}: certs.{_CRL}")
    return read_crls(texts[_OF_CLIENTS], f"{where}: certs.{_CRL}.{_OF_CLIENTS}") if _OF_CLIENTS in texts else ()


def _sides(document: object, top: str, where: str) -> dict[Side, dict[str, str]]:
    content = document.get(top) if isinstance(document, dict) else None
    if not isinstance(content, dict):
        raise RepositoryError(
            where, f"has no mapping `{top}`", f"give it the shape {top}.server.NAME, {top}.client.NAME"
        )
    return {side: _texts(content.get(side.value), f"{where}: {top}.{side}") for side in Side}


def _texts(content: object, where: str) -> dict[str, str]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise RepositoryError(where, "is no mapping of names to PEM texts", "restore it from Git")
    for name, text in content.items():
        if not isinstance(text, str):
            raise RepositoryError(f"{where}.{name}", "is not a PEM text", "put the PEM there as a literal block (|)")
    return {str(name): text for name, text in content.items()}


def _chain(texts: Mapping[str, str], where: str) -> str:
    if _CHAIN not in texts:
        raise RepositoryError(where, "has no `chain`", "add the intermediate and the root CA certificate under it")
    return texts[_CHAIN]


def _same_pem(existing: str, wanted: str) -> bool:
    """Whether two texts hold the same PEM blocks, whatever else is written between them."""
    return _PEM.findall(_normal(existing)) == _PEM.findall(_normal(wanted)) != []


def _normal(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())
