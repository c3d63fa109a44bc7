"""A chain as chainsmith makes it, made with the openssl program: what rechain finds when it adopts an environment.

The two styles differ in what decides whether an overlap works:

`go`      chainsmith's Go version: the same DNs in every chain, random serials, no AKI below the root.
`python`  chainsmith's Python version: the same DNs, AKI and SKI everywhere, intermediates numbered 01 and 02.
"""

from __future__ import annotations

import secrets
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path

from lab.errors import LabError
from rechain.generation import PrivateKeys, Side

_USAGES = "keyEncipherment,dataEncipherment,digitalSignature"
_PURPOSE = {Side.SERVER: "serverAuth", Side.CLIENT: "clientAuth"}
_REQUEST = "[req]\nprompt = no\nstring_mask = utf8only\nutf8 = yes\ndistinguished_name = dn\n[dn]\n"
_ROOT_DAYS, _INTERMEDIATE_DAYS, _LEAF_DAYS = 3650, 2650, 365


class Style(StrEnum):
    """Which chainsmith the chain looks like."""

    GO = "go"
    PYTHON = "python"


@dataclass(frozen=True, slots=True, repr=False)
class Chain:
    """A chain as texts, the way certs.yml and the vault hold it; its own text form shows no key.

    Attributes:
        bundles: Side to intermediate and root.
        leaves: Side to name to leaf and intermediate.
        keys: The leaves' private keys.
        ca_keys: Side to the intermediate's encrypted key, which the `python` style leaves in the vault.
    """

    bundles: Mapping[Side, str]
    leaves: Mapping[Side, Mapping[str, str]]
    keys: PrivateKeys
    ca_keys: Mapping[Side, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class ForeignClient:
    """An organisation's own root CA and a client leaf below it.

    Attributes:
        ca: The root CA, to be appended to the client bundle.
        leaf: The client's leaf.
        key: The client's private key.
    """

    ca: str
    leaf: str
    key: str


def make_chain(
    subject: Mapping[str, str], servers: Mapping[str, Sequence[str]], clients: Sequence[str], style: Style
) -> Chain:
    """Make root, two intermediates and all leaves.

    Args:
        subject: The spec's subject; values may smuggle further RDNs, as in `NL/postalCode=1261 WZ`.
        servers: Server name to its names and addresses.
        clients: Client names.
        style: Which chainsmith it looks like.

    Raises:
        LabError: The openssl program is missing or refuses.
    """
    names = {Side.SERVER: list(servers), Side.CLIENT: list(clients)}
    with _workshop() as directory:
        shop = _Workshop(Path(directory), style)
        requests = {("root", ""): _dn(subject, subject["CN"])}
        for side in Side:
            requests[side, ""] = _dn(subject, side)
            requests |= {(side, name): _dn(subject, name) for name in names[side]}
        shop.request(requests)
        root = shop.sign_root()
        intermediates = {side: shop.sign_intermediate(side, number) for number, side in enumerate(Side, start=1)}
        return Chain(
            bundles={side: intermediates[side] + root for side in Side},
            leaves={
                side: {
                    name: shop.sign_leaf(side, name, servers[name] if side is Side.SERVER else ()) + intermediates[side]
                    for name in names[side]
                }
                for side in Side
            },
            keys=PrivateKeys(*({name: shop.key(side, name) for name in names[side]} for side in Side)),
            ca_keys={side: shop.encrypted_key(side) for side in Side} if style is Style.PYTHON else {},
        )


def make_foreign_client(organisation: str, client: str) -> ForeignClient:
    """Make an organisation's own root CA with a client leaf right below it. Raises LabError."""
    with _workshop() as directory:
        shop = _Workshop(Path(directory), Style.PYTHON)
        shop.request(
            {("root", ""): f"/O={organisation}/CN={organisation} root", (Side.CLIENT, client): f"/CN={client}"}
        )
        ca = shop.sign_root()
        leaf = shop.sign_leaf(Side.CLIENT, client, (), issuer="root")
        return ForeignClient(ca, leaf, shop.key(Side.CLIENT, client))


def _workshop() -> tempfile.TemporaryDirectory[str]:
    """A directory for keys in use: closed to others, in memory where the machine has such a place."""
    memory = Path("/dev/shm")  # noqa: S108
    return tempfile.TemporaryDirectory(prefix="rechain-lab-keys-", dir=memory if memory.is_dir() else None)


def _dn(subject: Mapping[str, str], common_name: str) -> str:
    """The subject in the form of openssl's -subj; a slash in a value starts another RDN, as in chainsmith."""
    return "".join(f"/{name}={value}" for name, value in {**subject, "CN": common_name}.items())


@dataclass(frozen=True, slots=True)
class _Workshop:
    """Files of one issuance: SIDE-NAME.key, .csr and .crt."""

    directory: Path
    style: Style

    def request(self, subjects: Mapping[tuple[str, str], str]) -> None:
        """Make a key and a signing request for each subject; the keys take the time, so side by side."""
        (self.directory / "request.cnf").write_text(_REQUEST, "utf-8")
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda each: self._request(each[0], each[1], subjects[each]), subjects))

    def sign_root(self) -> str:
        extensions = ["basicConstraints=critical,CA:TRUE"]
        if self.style is Style.GO:
            extensions.append("keyUsage=critical,digitalSignature,keyCertSign,cRLSign")
        signer = ["-signkey", str(self._path("root", "", "key"))]
        return self._sign("root", "", [*extensions, *self._identifiers(is_root=True)], signer=signer, days=_ROOT_DAYS)

    def sign_intermediate(self, side: Side, number: int) -> str:
        extensions = ["keyUsage=critical,digitalSignature,keyCertSign,cRLSign", *self._identifiers()]
        if self.style is Style.GO:
            extensions += ["basicConstraints=critical,CA:TRUE", f"extendedKeyUsage={_PURPOSE[side]}"]
            return self._sign(side, "", extensions, signer=self._issuer("root"), days=_INTERMEDIATE_DAYS)
        extensions.append("basicConstraints=critical,CA:TRUE,pathlen:0")
        return self._sign(side, "", extensions, signer=self._issuer("root"), days=_INTERMEDIATE_DAYS, serial=number)

    def sign_leaf(self, side: Side, name: str, names: Sequence[str], issuer: str | None = None) -> str:
        critical = "critical," if self.style is Style.GO else ""
        extensions = [f"keyUsage={critical}{_USAGES}", f"extendedKeyUsage={_PURPOSE[side]}"]
        if self.style is Style.PYTHON:
            extensions.append("basicConstraints=CA:FALSE")
        if names:
            extensions.append("subjectAltName=" + ",".join(_alternative(each) for each in names))
        extensions += self._identifiers(is_leaf=True)
        return self._sign(side, name, extensions, signer=self._issuer(issuer or side), days=_LEAF_DAYS)

    def key(self, side: str, name: str) -> str:
        return self._path(side, name, "key").read_text("ascii")

    def encrypted_key(self, side: Side) -> str:
        """The intermediate's key under a passphrase that nobody keeps."""
        path = str(self._path(side, "", "key"))
        return self._openssl("pkey", "-in", path, "-aes256", "-passout", "stdin", entry=secrets.token_hex() + "\n")

    def _request(self, side: str, name: str, subject: str) -> None:
        key, request = (str(self._path(side, name, suffix)) for suffix in ("key", "csr"))
        config = str(self.directory / "request.cnf")
        new = ["-new", "-newkey", "rsa:2048", "-nodes", "-sha256", "-keyout", key, "-out", request]
        self._openssl("req", *new, "-config", config, "-subj", subject)

    def _sign(
        self,
        side: str,
        name: str,
        extensions: Sequence[str],
        *,
        signer: Sequence[str],
        days: int,
        serial: int | None = None,
    ) -> str:
        request, certificate, config = (self._path(side, name, suffix) for suffix in ("csr", "crt", "cnf"))
        config.write_text("\n".join(extensions) + "\n", "utf-8")
        number = ["-set_serial", str(serial or secrets.randbits(126) | 1 << 126)]
        what = ["-req", "-in", str(request), "-extfile", str(config), "-days", str(days), "-sha256"]
        self._openssl("x509", *what, *number, *signer, "-out", str(certificate))
        return certificate.read_text("ascii")

    def _issuer(self, side: str) -> list[str]:
        return ["-CA", str(self._path(side, "", "crt")), "-CAkey", str(self._path(side, "", "key"))]

    def _identifiers(self, *, is_root: bool = False, is_leaf: bool = False) -> list[str]:
        # Go gives SKI to CAs alone, and no AKI because chainsmith signs with templates that were never parsed.
        if self.style is Style.GO:
            return [f"subjectKeyIdentifier={'none' if is_leaf else 'hash'}", "authorityKeyIdentifier=none"]
        return ["subjectKeyIdentifier=hash", f"authorityKeyIdentifier={'none' if is_root else 'keyid'}"]

    def _path(self, side: str, name: str, suffix: str) -> Path:
        return self.directory / f"{side}-{name}.{suffix}"

    def _openssl(self, *arguments: str, entry: str | None = None) -> str:
        try:
            result = subprocess.run(
                ["openssl", *arguments], input=entry or "", capture_output=True, text=True, timeout=60, check=False
            )
        except FileNotFoundError:
            raise LabError("openssl", "the program is not on PATH", "install OpenSSL 3") from None
        if result.returncode:
            raise LabError(f"openssl {arguments[0]}", result.stderr.strip(), "the lab needs OpenSSL 3")
        return result.stdout


def _alternative(name: str) -> str:
    try:
        return f"IP:{ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"
