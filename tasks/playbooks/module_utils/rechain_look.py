"""What lies in a certificate directory, told without judging and without a key.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tasks.playbooks.module_utils.rechain_pem import (
        Refused,
        certificates,
        require_bundle,
        require_key,
        require_pair,
    )
else:
    from ansible.module_utils.rechain_pem import Refused, certificates, require_bundle, require_key, require_pair

_LONGEST = 1024 * 1024
_CERTIFICATES = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")
_LISTS = re.compile(r"-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----")
_LIST_NAMES = ("*.crl", "*.crl.pem")


class Unreadable(Exception):
    """A file that can't be read, and why."""


def look_at_set(one: Mapping[str, Any]) -> dict[str, Any]:
    """Look at the three files of a set and at revocation lists beside them.

    Args:
        one: The set: `cert_dir` (maybe with `~user`), `owner`, and the file names `cert`, `key`, `ca`.

    Returns:
        `cert`, `ca`, `key` and `lists`: each file with path, problem, mode, owner, group, and whether the set's owner
        may read it (`readable`); the public ones with `text`, their certificates or lists and nothing else. And
        `pair`: why key and leaf are no pair.
    """
    directory, account = _expanded(str(one["cert_dir"])), str(one["owner"])
    cert, key, ca = (directory / str(one[part]) for part in ("cert", "key", "ca"))
    return {
        "cert": _public(cert, account, _CERTIFICATES, _check_certificates),
        "ca": _public(ca, account, _CERTIFICATES, _check_bundle),
        "key": _facts(key, account, _check_key),
        "pair": _pair(cert, key),
        "lists": [_public(path, account, _LISTS, _check_list) for path in _lists(directory)],
    }


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)  # there is no such user: no such file either


def _public(path: Path, account: str, blocks: re.Pattern[str], check: Any) -> dict[str, Any]:
    found = _facts(path, account, check)
    try:
        text = _read(path)
    except Unreadable:
        text = ""
    # The labels' lines stay whole even where two share one: that they do is told as a problem.
    return {**found, "text": "\n".join(blocks.findall(text)) + "\n"}


def _facts(path: Path, account: str, check: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"path": str(path), "problem": None, "mode": None, "owner": None, "group": None}
    facts["readable"] = None
    try:
        status = path.stat()
        facts["mode"] = stat.S_IMODE(status.st_mode)
        facts["owner"], facts["group"] = _user(status.st_uid), _group(status.st_gid)
        facts["readable"] = _may_read(account, status)
        check(path, _read(path))
    except FileNotFoundError:
        facts["problem"] = "there is no such file"
    except (Unreadable, Refused) as error:
        facts["problem"] = str(error)
    except OSError as error:
        facts["problem"] = f"can't be read: {error.strerror}"
    return facts


def _read(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("is no file")
        if status.st_size > _LONGEST:
            raise Unreadable("is larger than 1 MiB")
        return path.read_bytes().decode("ascii", "replace")
    except OSError as error:
        raise Unreadable(f"can't be read: {error.strerror}") from None


def _check_certificates(path: Path, text: str) -> None:
    certificates(text, "the file")


def _check_bundle(path: Path, text: str) -> None:
    certificates(text, "the file")
    require_bundle(path, "the file")


def _check_key(path: Path, text: str) -> None:
    require_key(text, "the file")


def _check_list(path: Path, text: str) -> None:
    if not _LISTS.search(text):
        raise Unreadable("holds no PEM revocation list")


def _pair(cert: Path, key: Path) -> str | None:
    """Why the two are no pair; None when they are, or one of them can't be used, which is told of that one."""
    try:
        certificates(_read(cert), "")
        require_key(_read(key), "")
    except (Unreadable, Refused):
        return None
    try:
        require_pair(cert, key, "certificate and key")
    except Refused as error:
        return str(error)
    return None


def _lists(directory: Path) -> list[Path]:
    try:
        return sorted({path for pattern in _LIST_NAMES for path in directory.glob(pattern)})
    except OSError:
        return []


def _may_read(account: str, status: os.stat_result) -> bool | None:
    """Whether a user may read a file, by its mode alone; None when there is no such user."""
    try:
        user = pwd.getpwnam(account)
    except KeyError:
        return None
    if user.pw_uid in (0, status.st_uid):
        return user.pw_uid == 0 or bool(status.st_mode & stat.S_IRUSR)
    if status.st_gid in os.getgrouplist(account, user.pw_gid):
        return bool(status.st_mode & stat.S_IRGRP)
    return bool(status.st_mode & stat.S_IROTH)


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
