"""The openssl loop: what an administrator's shell script does, two `openssl` calls a certificate.

SPEC is the same chain spec; BITS the size of the RSA keys.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

_CA = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
_LEAF = "keyUsage=digitalSignature,keyEncipherment,dataEncipherment\nsubjectKeyIdentifier=hash\n"
_BELOW = "authorityKeyIdentifier=keyid\n"


def make_chain(spec: dict[str, Any], bits: str, folder: Path) -> None:
    """Make root, intermediates and leaves in a folder."""
    sign(folder, "root", spec["subject"]["CN"], _CA, bits, issuer=None)
    for side in spec["intermediates"]:
        name = side["name"]
        sign(folder, f"int_{name}", name, _CA + _BELOW, bits, issuer="root")
        for leaf in [*side.get("servers", {}), *side.get("clients", [])]:
            names = [f"DNS:{leaf}", *(f"IP:{address}" for address in side.get("servers", {}).get(leaf, ()))]
            extensions = f"{_LEAF}{_BELOW}extendedKeyUsage={name}Auth\n"
            extensions += f"subjectAltName={','.join(names)}\n" if name == "server" else ""
            sign(folder, leaf, leaf, extensions, bits, issuer=f"int_{name}")


def sign(folder: Path, file: str, common_name: str, extensions: str, bits: str, *, issuer: str | None) -> None:
    """Make a key and a request, then the certificate."""
    (folder / f"{file}.cnf").write_text(extensions)
    key = ["-newkey", f"rsa:{bits}", "-nodes", "-keyout", f"{file}.key"]
    openssl(folder, "req", "-new", *key, "-subj", f"/CN={common_name}", "-out", f"{file}.csr")
    signer = ["-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key"] if issuer else ["-signkey", f"{file}.key"]
    request = ["-req", "-in", f"{file}.csr", "-days", "365", "-extfile", f"{file}.cnf"]
    openssl(folder, "x509", *request, *signer, "-out", f"{file}.crt")


def openssl(folder: Path, *arguments: str) -> None:
    """Run the openssl program."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        make_chain(yaml.safe_load(Path(sys.argv[1]).read_text()), sys.argv[2], Path(directory))
