"""The bare key loop: COUNT RSA keys of BITS, one after the other, in one process; nothing is signed or written."""

from __future__ import annotations

import sys

from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.generate.measure import Stopwatch

if __name__ == "__main__":
    bits, count = map(int, sys.argv[1:])
    stopwatch = Stopwatch()
    for _ in range(count):
        rsa.generate_private_key(65537, bits)
    stopwatch.report()
