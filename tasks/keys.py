"""Private keys, made in parallel processes and brought back through pipes.

Processes, because making an RSA key holds Python's interpreter lock for as long as it takes; a small program started
afresh, because the caller has threads (Prefect's) and must not be forked. Measured at RSA 2048: a worker's start
costs 0.04 s of CPU, a key 0.05 s.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rechain.errors import RechainError
from rechain.issue import PrivateKey
from rechain.spec import KeyType

_WORKER = Path(__file__).with_name("key_worker.py")
_ORDERS = {KeyType.RSA_2048: b"2", KeyType.RSA_3072: b"3", KeyType.RSA_4096: b"4", KeyType.ECDSA_P256: b"e"}
_MOST_COSTLY_FIRST = (KeyType.RSA_4096, KeyType.RSA_3072, KeyType.RSA_2048, KeyType.ECDSA_P256)
_PIPE_HOLDS = 4096  # bytes that fit into any pipe before somebody reads (pipe(7)); one byte is one order
_KEY_LIMIT_S = 120.0  # an RSA 4096 key takes 0.6 s on average, rarely 5
_LOOK_AFTER_MS = 1000


def generate_keys(types: Sequence[KeyType], workers: int | None = None) -> list[PrivateKey]:
    """Make private keys, one for each type, in parallel processes.

    Side effect: none that lasts; the processes end before this returns, and die if the caller dies. Safe to retry.

    Args:
        types: The types wanted, in order.
        workers: Processes to use; one for each CPU that this process may use, unless told otherwise.

    Returns:
        The keys, in the order of `types`.

    Raises:
        RechainError: A worker failed, or no key came within 120 s.
    """
    count = workers or len(os.sched_getaffinity(0))
    keys: list[PrivateKey] = []
    for start in range(0, len(types), _PIPE_HOLDS):
        keys += _generate(types[start : start + _PIPE_HOLDS], count)
    return keys


def _generate(types: Sequence[KeyType], workers: int) -> list[PrivateKey]:
    """Make as many keys as there is room for orders in a pipe.

    All orders are in the pipe before the first worker starts, the costly ones first; each worker takes the next when
    it is done with one, so that all end at about the same time.
    """
    with ExitStack() as stack:
        orders = _pipe_of_orders(sorted(types, key=_MOST_COSTLY_FIRST.index))
        stack.callback(os.close, orders)
        results, to_results = os.pipe()
        stack.callback(os.close, results)
        try:
            processes = [stack.enter_context(_worker(orders, to_results)) for _ in range(min(workers, len(types)))]
        finally:
            os.close(to_results)
        made = _collect(results, processes, len(types))
    return [made[_ORDERS[kind]].popleft() for kind in types]


def _pipe_of_orders(types: Sequence[KeyType]) -> int:
    """The reading end of a pipe that holds all orders and whose writing end is closed."""
    orders, to_orders = os.pipe()
    os.write(to_orders, b"".join(_ORDERS[kind] for kind in types))
    os.close(to_orders)
    return orders


@contextmanager
def _worker(orders: int, to_results: int) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that is dead when the block ends."""
    # Without `site` it starts in half the time, so it is told where this process finds its packages.
    command = [sys.executable, "-S", "-P", str(_WORKER), str(orders)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=to_results, stderr=subprocess.PIPE, pass_fds=[orders], env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _collect(results: int, processes: Sequence[subprocess.Popen[bytes]], count: int) -> dict[bytes, deque[PrivateKey]]:
    """Read keys until all are there, by order."""
    made: dict[bytes, deque[PrivateKey]] = {order: deque() for order in _ORDERS.values()}
    buffer = b""
    readable = select.poll()
    readable.register(results, select.POLLIN)
    missing, deadline = count, time.monotonic() + _KEY_LIMIT_S
    while missing:
        if not readable.poll(_LOOK_AFTER_MS):
            _refuse_failure(processes, deadline)
            continue
        read = os.read(results, 1 << 16)
        if not read:
            raise _failure(processes)
        buffer += read
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            made[line[:1]].append(_key(line))
        missing, deadline = missing - len(lines), time.monotonic() + _KEY_LIMIT_S
    return made


def _refuse_failure(processes: Sequence[subprocess.Popen[bytes]], deadline: float) -> None:
    if any(process.poll() for process in processes):
        raise _failure(processes)
    if time.monotonic() > deadline:
        fix = "look at the machine's load, then run again"
        raise RechainError("key generation", f"no key came within {_KEY_LIMIT_S:g} s", fix)


def _failure(processes: Sequence[subprocess.Popen[bytes]]) -> RechainError:
    """What a worker said last; it never says anything of a key."""
    for process in processes:
        process.kill()
    said = b"".join(process.communicate()[1] for process in processes).decode(errors="replace").strip()
    last = said.splitlines()[-1] if said else "it said nothing; maybe memory ran out"
    codes = ", ".join(str(process.returncode) for process in processes)
    return RechainError("key generation", f"a worker ended early ({codes}): {last}", "correct that, then run again")


def _key(line: bytes) -> PrivateKey:
    """Put a key together; checking its primes again would cost almost as much as making it."""
    order, *numbers = line.split()
    if order == _ORDERS[KeyType.ECDSA_P256]:
        return ec.derive_private_key(int(numbers[0], 16), ec.SECP256R1())
    p, q, d = (int(number, 16) for number in numbers)
    public = rsa.RSAPublicNumbers(65537, p * q)
    dmp1, dmq1, iqmp = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, public).private_key(unsafe_skip_rsa_key_validation=True)
