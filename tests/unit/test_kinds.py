"""What is known of kinds of services stands in one place, which hosts can read."""

from __future__ import annotations

from rechain.fleet import ServiceKind
from tasks.playbooks.module_utils.rechain_kinds import KINDS


def test_every_kind_has_a_name_and_every_name_a_kind() -> None:
    """The inventory takes the names of the one, the host's module those of the other."""
    assert list(KINDS) == [kind.value for kind in ServiceKind]


def test_ports_tell_kinds_apart() -> None:
    """On a host that has one of each, all can listen with their defaults."""
    assert len({kind.port for kind in KINDS.values()}) == len(KINDS)
