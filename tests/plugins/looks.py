"""The look at a host's files by the function that the Ansible module calls, without a run of Ansible."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from rechain.fleet import Host
from rechain.scan.seen import SetOnHost
from tasks.fleet.host_look import sets_of, wanted_of

_PARTS = ("pem", "account", "openssl", "look")


def look_at_host(host: Host) -> tuple[SetOnHost, ...]:
    """What lies on a host that is this machine."""
    return tuple(sets_of(host, told_of_host(host)))


def told_of_host(host: Host) -> list[Mapping[str, Any]]:
    """All that the module would send."""
    look_at_set = _module().look_at_set
    return [look_at_set(one) for one in wanted_of(host)]


def _module() -> Any:
    """The module's code, its parts found where Ansible puts them on a host."""
    for part in _PARTS:
        found = importlib.import_module(f"tasks.playbooks.module_utils.rechain_{part}")
        sys.modules.setdefault(f"ansible.module_utils.rechain_{part}", found)
    return found
