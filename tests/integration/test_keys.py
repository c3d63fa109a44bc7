"""Private keys from parallel processes: right, bounded, and gone with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rechain.errors import RechainError
from rechain.spec import KeyType
from rechain.x509_parts import public_key_digest
from tasks.keys import generate_keys

ROOT = Path(__file__).parents[2]


def size(key: object) -> str:
    """What kind of key it is."""
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return f"rsa-{key.key_size}" if isinstance(key, rsa.RSAPrivateKey) else f"ecdsa-p{key.key_size}"


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_keys_come_in_the_order_asked_for(workers: int) -> None:
    """Whichever worker made which, costly ones first: each place gets its type, and no key comes twice."""
    types = [KeyType.ECDSA_P256, KeyType.RSA_2048, KeyType.RSA_3072, KeyType.ECDSA_P256, KeyType.RSA_2048]
    keys = generate_keys(types, workers)
    assert [size(key) for key in keys] == types
    assert len({public_key_digest(key.public_key()) for key in keys}) == len(types)


def test_no_keys_need_no_worker() -> None:
    """An environment without leaves to issue."""
    assert generate_keys([]) == []


def test_more_keys_than_a_pipe_holds_orders() -> None:
    """A pipe is sure to hold 4,096 orders; the rest is made after them."""
    keys = generate_keys([KeyType.ECDSA_P256] * 4_100)
    assert len({public_key_digest(key.public_key()) for key in keys}) == 4_100


def test_a_caller_with_threads_gets_its_keys_without_a_warning() -> None:
    """Prefect runs tasks in threads; forking there is what Python 3.12 warns about, an error in these tests."""
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(generate_keys([KeyType.ECDSA_P256] * 20, 2))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [20] * 4


def test_a_worker_that_fails_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it can't import cryptography: the line says so, and nothing waits for keys that never come."""
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    begin = time.monotonic()
    with pytest.raises(RechainError, match="No module named 'cryptography'") as failure:
        generate_keys([KeyType.RSA_2048] * 3, 2)
    assert len(str(failure.value).splitlines()) == 1
    assert time.monotonic() - begin < 20


def test_a_killed_worker_is_found(tmp_path: Path) -> None:
    """Its order is lost, so the whole fails; the others are ended."""
    parent = start(tmp_path, "[KeyType.RSA_4096] * 50")
    first, second = children(parent)
    os.kill(first, signal.SIGKILL)
    _, stderr = parent.communicate(timeout=60)
    assert "RechainError: key generation: a worker ended early" in stderr.decode()
    assert not is_running(second)


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    """Killed from outside in the midst of keys, the parent leaves no process behind."""
    parent = start(tmp_path, "[KeyType.RSA_4096] * 50")
    workers = children(parent)
    parent.kill()
    parent.communicate(timeout=10)
    deadline = time.monotonic() + 10
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_dies_in_the_midst_of_a_key_when_nobody_holds_its_input() -> None:
    """At once and by the kernel: it need not finish a key, nor find out when it wants to write one."""
    orders, to_orders = os.pipe()
    os.write(to_orders, b"4" * 200)
    command = [sys.executable, "-P", str(ROOT / "tasks/key_worker.py"), str(orders)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[orders]) as worker:
        assert worker.stdin is not None
        wait_until_busy([worker.pid])
        worker.stdin.close()
        assert worker.wait(10) == -signal.SIGIO
    os.close(orders)
    os.close(to_orders)


def test_workers_are_told_nothing_on_their_command_line(tmp_path: Path) -> None:
    """The process list shows a program and a descriptor's number."""
    parent = start(tmp_path, "[KeyType.RSA_4096] * 50")
    lines = [Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")[:-1] for worker in children(parent)]
    parent.kill()
    parent.communicate(timeout=10)
    for *_, program, descriptor in lines:
        assert program.endswith(b"key_worker.py")
        assert descriptor.isdigit()


def start(directory: Path, types: str) -> subprocess.Popen[bytes]:
    """A process that makes keys with two workers, started somewhere else."""
    program = f"from rechain.spec import KeyType; from tasks.keys import generate_keys; generate_keys({types}, 2)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def children(parent: subprocess.Popen[bytes]) -> list[int]:
    """The two workers, once they are at work."""
    listing = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 20
    while len(listing.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers = [int(pid) for pid in listing.read_text().split()]
    wait_until_busy(workers)
    return workers


def wait_until_busy(workers: list[int]) -> None:
    """Wait until all are past their start."""
    deadline = time.monotonic() + 20
    while not all(cpu_ticks(worker) > 10 for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def cpu_ticks(pid: int) -> int:
    """Hundredths of a second that a process has computed; an import takes about 3."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11])


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
