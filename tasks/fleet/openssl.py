"""The judge for leaves whose private key is not ours: `openssl verify`, which needs public material only."""

from __future__ import annotations

import re
import ssl
import subprocess
import tempfile
from ipaddress import ip_address
from pathlib import Path

from rechain.certificate import EMPTY, Bundle, LeafChain
from rechain.errors import InputError
from rechain.handshake import verify_failure

_FAILURE = re.compile(r"^error (\d+) at \d+ depth lookup: ?(.*)$", re.MULTILINE)
_TIMEOUT_S = 30


class OpensslJudge:
    """Judges by `openssl verify -purpose`, with the checks that a handshake makes.

    Side effect: public certificates in a temporary directory, for the length of a judgement. Safe to retry.

    References: openssl-verify(1), openssl-verification-options(1).
    """

    def server_leaf(self, name: str, chain: LeafChain, trusted: Bundle, own: Bundle = EMPTY) -> str | None:
        """Judge a server leaf before a client; see rechain.judge.Judge."""
        return _verify(chain, trusted, own, ["-purpose", "sslserver", *_name_check(name)])

    def client_leaf(self, name: str, chain: LeafChain, trusted: Bundle, own: Bundle = EMPTY) -> str | None:
        """Judge a client leaf before a server; see rechain.judge.Judge."""
        return _verify(chain, trusted, own, ["-purpose", "sslclient"])


def _verify(chain: LeafChain, trusted: Bundle, own: Bundle, checks: list[str]) -> str | None:
    """Run `openssl verify`, without the CAs that the machine trusts, and return the reason of its refusal."""
    level = str(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).security_level)
    with tempfile.TemporaryDirectory(prefix="rechain-") as directory:
        leaf, authorities, presented = (Path(directory) / name for name in ("leaf.pem", "ca.pem", "untrusted.pem"))
        leaf.write_text(chain.leaf.pem, "ascii")
        authorities.write_text(trusted.pem, "ascii")
        intermediates = chain.intermediates or own.certificates
        presented.write_text("".join(certificate.pem for certificate in intermediates), "ascii")
        untrusted = ["-untrusted", str(presented)] if intermediates else []
        arguments = [
            "-no-CApath",
            "-no-CAstore",
            "-CAfile",
            str(authorities),
            *untrusted,
            "-auth_level",
            level,
            *checks,
        ]
        return _reason(_run(["openssl", "verify", *arguments, str(leaf)]))


def _name_check(name: str) -> list[str]:
    try:
        return ["-verify_ip", str(ip_address(name))]
    except ValueError:
        return ["-verify_hostname", name]


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise InputError("openssl", "the command is not on PATH", "install the package openssl") from None
    except subprocess.TimeoutExpired:
        raise InputError(
            "openssl verify", f"did not answer within {_TIMEOUT_S} s", "is the machine overloaded?"
        ) from None


def _reason(result: subprocess.CompletedProcess[str]) -> str | None:
    if result.returncode == 0:
        return None
    output = f"{result.stdout}\n{result.stderr}"
    if failure := _FAILURE.search(output):
        return verify_failure(int(failure.group(1)), failure.group(2))
    return f"openssl verify failed: {' '.join(output.split())}"
