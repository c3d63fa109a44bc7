"""What lies in a certificate directory, told without judging and without a key.

Files are read as root, and tried as the user who owns the service: what OpenSSL can load, that user may still not be
able to open.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, BinaryIO

    from tasks.playbooks.module_utils.rechain_account import Account, group_name, user_name
    from tasks.playbooks.module_utils.rechain_openssl import bundle_problem, chain_problem, key_problems, whole_blocks
    from tasks.playbooks.module_utils.rechain_pem import Refused
else:
    from ansible.module_utils.rechain_account import Account, group_name, user_name
    from ansible.module_utils.rechain_openssl import bundle_problem, chain_problem, key_problems, whole_blocks
    from ansible.module_utils.rechain_pem import Refused

_LONGEST = 1024 * 1024
_LIST = re.compile(r"-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----")
_LIST_NAMES = ("*.crl", "*.crl.pem")
_TOO_LONG = "is larger than 1 MiB, and was not looked at"


class FileOnHost:
    """One file as it lies there.

    Attributes:
        path: Where.
        text: What it holds; None when that can't be read, or is too long to be.
        problem: Why nobody can load it; None when somebody can.
        readable: Whether the user who needs it can read it; None when that is not known.
        is_long: Whether it is too long to be looked at, which is no problem of whoever loads it.
    """

    def __init__(self, path: Path, user: Account | None) -> None:
        self.path = path
        self.text: str | None = None
        self.problem: str | None = None
        self.readable: bool | None = None
        self.is_long = False
        self._status: os.stat_result | None = None
        try:
            self._status = path.stat()
            self.readable = _can_read(user, path) if user else None
            self._read(self._status)
        except FileNotFoundError:
            self.problem = "there is no such file"
        except OSError as error:
            self.problem = f"can't be read by {user_name(os.geteuid())}: {error.strerror}"

    def told(self, **more: object) -> dict[str, object]:
        """What is told of it, and nothing that it holds."""
        status = self._status
        return {
            "path": str(self.path),
            "problem": self.problem,
            "mode": stat.S_IMODE(status.st_mode) if status else None,
            "owner": user_name(status.st_uid) if status else None,
            "group": group_name(status.st_gid) if status else None,
            "readable": self.readable,
            **more,
        }

    def _read(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            self.problem = "is no file"
        elif status.st_size > _LONGEST:
            self.is_long = True
        elif not status.st_size:
            self.problem = "is empty"
        else:
            with _opened(self.path) as file:
                self.text = file.read(_LONGEST).decode("ascii", "replace")


def look_at_set(one: Mapping[str, Any]) -> dict[str, Any]:
    """Look at the three files of a set and at revocation lists beside them.

    Args:
        one: The set: `cert_dir` (maybe with `~user`), `owner`, and the file names `cert`, `key`, `ca`.

    Returns:
        `cert`, `ca`, `key` and `lists`: each file with path, problem, mode, owner, group, and whether the set's owner
        can read it (`readable`); the public ones with `text`, their certificates or lists and nothing else;
        certificates with `unread`, why that is not all of it. And `pair`: why key and leaf are no pair.
    """
    directory, user = _expanded(str(one["cert_dir"])), _account(str(one["owner"]))
    cert, key, ca = (FileOnHost(directory / str(one[part]), user) for part in ("cert", "key", "ca"))
    cert.problem = chain_problem(cert.path, cert.text) if cert.text else cert.problem
    ca.problem = bundle_problem(ca.path, ca.text) if ca.text else ca.problem
    pair = None
    if key.text:
        key.problem, pair = key_problems(None if cert.problem else cert.path, key.path, key.text)
    return {
        "cert": _certificates(cert),
        "ca": _certificates(ca),
        "key": key.told(),
        "pair": pair,
        "lists": [_revocation_lists(FileOnHost(path, user)) for path in _lists(directory)],
    }


def _certificates(file: FileOnHost) -> dict[str, object]:
    blocks, unread = whole_blocks(file.text or "")
    return file.told(text="".join(blocks), unread=_TOO_LONG if file.is_long else unread)


def _revocation_lists(file: FileOnHost) -> dict[str, object]:
    blocks = _LIST.findall(file.text or "")
    if file.problem is None and not blocks:
        file.problem = _TOO_LONG if file.is_long else "holds no PEM revocation list"
    if file.problem is None and file.readable is False:
        file.problem = "the owner of the certificates can't read it"
    return file.told(text="".join(f"{block}\n" for block in blocks))


def _expanded(text: str) -> Path:
    with suppress(RuntimeError):  # there is no such user: then there is no such file either
        return Path(text).expanduser()
    return Path(text)


def _account(name: str) -> Account | None:
    """The owner, in whose place files can be tried; None when there is no such user, or we may not act as it."""
    with suppress(Refused):
        return Account(name)
    return None


def _can_read(user: Account, path: Path) -> bool:
    try:
        with user.acting(), _opened(path):
            return True
    except FileNotFoundError:
        raise
    except OSError:
        return False


def _opened(path: Path) -> BinaryIO:
    return open(str(path), "rb", opener=_at_once)  # pathlib's has no opener


def _at_once(path: str, flags: int) -> int:
    """Open without waiting, as for the writer of a pipe that somebody put in the file's place."""
    return os.open(path, flags | os.O_NONBLOCK)


def _lists(directory: Path) -> list[Path]:
    with suppress(OSError):
        return sorted({path for pattern in _LIST_NAMES for path in directory.glob(pattern)})
    return []
