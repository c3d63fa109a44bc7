"""Change what a lab's inventory says of a host, as a colleague does in an editor."""

from __future__ import annotations

import yaml

from lab.fleet import Lab
from lab.host import Host


def set_reload(lab: Lab, host: Host, command: str) -> None:
    """Let a host's PostgreSQL be reloaded by another command from now on."""
    set_command(lab, (host.name, "rechain_services"), command)


def set_command(lab: Lab, place: tuple[str, str], command: str) -> None:
    """Let the first entry of a host's list, `rechain_services` or `rechain_clients`, have another reload command."""
    host, entries = place
    inventory = lab.repository.inventory
    document = yaml.safe_load(inventory.read_text("utf-8"))
    document["all"]["children"]["hacluster"]["hosts"][host][entries][0]["reload"] = command
    inventory.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
