"""An organisation's CA, played by `openssl ca` with a configuration as such a CA has: nothing of ours signs here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """\
[ca]
default_ca = it
[it]
dir = {directory}
database = $dir/index.txt
serial = $dir/serial
new_certs_dir = $dir/issued
default_md = sha256
default_days = 400
unique_subject = no
copy_extensions = copy
policy = policy
preserve = yes
x509_extensions = {extensions}
[policy]
commonName = supplied
[leaf]
basicConstraints = critical,CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[bare]
basicConstraints = critical,CA:FALSE
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[req]
prompt = no
distinguished_name = dn
x509_extensions = root
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[dn]
O = {organisation}
CN = {name}
"""


@dataclass(frozen=True, slots=True)
class OutsideCa:
    """A root or an issuing CA, in a directory of its own.

    Attributes:
        directory: Its key, certificate, database and configuration.
        above: What signed it; None for a root.
    """

    directory: Path
    above: OutsideCa | None = None

    @classmethod
    def root(cls, directory: Path, organisation: str = "Overheid") -> OutsideCa:
        """Make a root CA."""
        made = cls(directory)
        made._prepare(organisation, f"{organisation} root")
        request = ["req", "-x509", "-new", "-key", "ca.key", "-config", "leaf.cnf"]
        made._openssl(*request, "-days", "3000", "-out", "ca.crt")
        return made

    def below(self, directory: Path, organisation: str = "Overheid") -> OutsideCa:
        """Make an issuing CA that this one signs."""
        made = OutsideCa(directory, self)
        made._prepare(organisation, f"{organisation} issuing")
        made._openssl("req", "-new", "-key", "ca.key", "-config", "leaf.cnf", "-out", "ca.csr")
        (directory / "ca.crt").write_text(self.sign(directory / "ca.csr", profile="authority"), "utf-8")
        return made

    @property
    def certificate(self) -> Path:
        """Its own certificate, as it gives it to people."""
        return self.directory / "ca.crt"

    @property
    def chain(self) -> tuple[Path, ...]:
        """Its certificate and those above it."""
        return (self.certificate, *(self.above.chain if self.above else ()))

    def sign(self, request: Path, *options: str, profile: str = "leaf") -> str:
        """Sign a request as `openssl ca` does: the certificate with its text before it."""
        out = self.directory / "last.pem"
        config = ["-config", f"{profile}.cnf", "-batch", "-notext" if "-notext" in options else "-utf8"]
        self._openssl("ca", *config, *options, "-in", str(request.resolve()), "-out", str(out.resolve()))
        return out.read_text("utf-8")

    def sign_all(self, requests: Iterable[Path], target: Path, *options: str, profile: str = "leaf") -> Path:
        """Sign requests into one file."""
        target.write_text("".join(self.sign(one, *options, profile=profile) for one in requests), "utf-8")
        return target

    def revocation_list(self) -> Path:
        """The list of what it has revoked, which is nothing."""
        self._openssl("ca", "-gencrl", "-config", "leaf.cnf", "-crldays", "30", "-out", "ca.crl")
        return self.directory / "ca.crl"

    def _prepare(self, organisation: str, name: str) -> None:
        (self.directory / "issued").mkdir(parents=True)
        (self.directory / "index.txt").touch()
        (self.directory / "serial").write_text("1000\n", "ascii")
        for extensions in ("leaf", "bare", "authority"):
            text = _CONFIG.format(
                directory=self.directory.resolve(), organisation=organisation, name=name, extensions=extensions
            )
            if extensions == "bare":  # as `openssl ca` does unless it is told otherwise
                text = text.replace("copy_extensions = copy", "copy_extensions = none")
            (self.directory / f"{extensions}.cnf").write_text(text, "utf-8")
        self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "ca.key")

    def _openssl(self, *arguments: str) -> None:
        if arguments[0] == "ca":
            arguments = (*arguments, "-cert", "ca.crt", "-keyfile", "ca.key")
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.directory, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
