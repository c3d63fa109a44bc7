"""Whose rights the files of a directory are written with.

The module runs as root, in directories that belong to unprivileged users: a link planted there must not lead root
out of it. So the file work in a user's directory is done with that user's own rights.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

import codecs
import grp
import os
import pwd
import stat
from contextlib import contextmanager
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks.playbooks.module_utils.rechain_pem import Refused
else:
    from ansible.module_utils.rechain_pem import Refused

for _name in ("ascii", "latin-1", "utf-8"):
    codecs.lookup(_name)  # Python loads codecs late, maybe from where only root can read


class Account:
    """The OS user that owns the files of a directory.

    Attributes:
        name: Its login name.
        uid: Its user id.
        gid: Its primary group id.
    """

    def __init__(self, name: str) -> None:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise Refused(f"owner {name} does not exist on this host") from None
        self.name, self.uid, self.gid = entry.pw_name, entry.pw_uid, entry.pw_gid
        if os.geteuid() not in (0, self.uid):
            raise Refused(f"owner {name} is not the user that Ansible became; let it become root")

    @contextmanager
    def acting_in(self, directory: Path) -> Iterator[None]:
        """Take the rights of the directory's owner while the block runs.

        Raises:
            Refused: The directory belongs to neither root nor this account.
        """
        owner = _nearest(directory).stat().st_uid
        if os.geteuid() or owner == 0:
            yield
            return
        if owner != self.uid:
            raise Refused(f"{directory} belongs to user id {owner}; it must belong to root or to {self.name}")
        with self.acting():
            yield

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Take the rights of this account while the block runs."""
        if os.geteuid():
            yield
            return
        groups, gid = os.getgroups(), os.getegid()
        os.initgroups(self.name, self.gid)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(gid)
            os.setgroups(groups)

    def own(self, descriptor: int) -> None:
        """Give an open file or directory to this account."""
        if os.geteuid() == 0:
            os.fchown(descriptor, self.uid, self.gid)

    def owns(self, status: os.stat_result) -> bool:
        """Whether a file is this account's and closed to all others: what PostgreSQL and libpq want of a key."""
        return status.st_uid == self.uid and not stat.S_IMODE(status.st_mode) & 0o077


def user_name(number: int) -> str:
    """The name of a user, its number where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """The name of a group, its number where it has none."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _nearest(directory: Path) -> Path:
    """The directory, or the nearest one above it that exists."""
    while not directory.exists():
        directory = directory.parent
    return directory
