"""Makes private keys in a process of its own: `python -S -P key_worker.py ORDERS`, started by tasks/keys.py.

ORDERS is the descriptor of a pipe that all workers share: each byte is an order for one key. The key goes to standard
output, a pipe that they share too, as one line that the kernel keeps whole: the order, then the key's secret numbers.
Standard input carries nothing: its other end is the parent's, and once that is gone the process dies, even in the
midst of a key.

Numbers instead of a DER, since the import of cryptography's serialization costs as much CPU as half a key.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys

from cryptography.hazmat.primitives.asymmetric import ec, rsa

_BITS = {b"2": 2048, b"3": 3072, b"4": 4096}


def main() -> None:
    """Make keys until there are no more orders."""
    orders = int(sys.argv[1])
    die_with_parent()
    while order := os.read(orders, 1):
        os.write(1, b"%b %b\n" % (order, " ".join(f"{number:x}" for number in make(order)).encode()))


def die_with_parent() -> None:
    """Have the kernel end this process when the other end of standard input is closed, as a parent's death does.

    Making a key holds the interpreter for seconds, so no thread and no handler of ours could notice in time.
    """
    for silent in (signal.SIGIO, signal.SIGPIPE):
        signal.signal(silent, signal.SIG_DFL)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:  # it was gone before the kernel was asked
        sys.exit(1)


def make(order: bytes) -> tuple[int, ...]:
    """Make one key: an RSA key's two primes and private exponent, or an ECDSA key's private value."""
    if order == b"e":
        return (ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value,)
    key = rsa.generate_private_key(65537, _BITS[order]).private_numbers()
    return key.p, key.q, key.d


if __name__ == "__main__":
    main()
