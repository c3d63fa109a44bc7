#!/usr/bin/python
"""Tell where the logs of a host's services end, or what they say about certificates since then."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible ships no types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tasks.playbooks.module_utils.rechain_log import alerts_since, mark
else:
    from ansible.module_utils.rechain_log import alerts_since, mark

DOCUMENTATION = """
module: rechain_log
short_description: Read what services log about certificates, changing nothing
description:
  - For a log without a position, returns its end. For one with a position, returns the lines about certificates that
    were written since; no other line leaves the host.
options:
  logs: {description: "Logs, each with path, and with inode, offset and tail of a mark.", type: list, elements: dict,
         required: true}
"""

RETURN = """
logs: {description: "One entry for each log in their order: a position, alerts, or a reason.", type: list,
       returned: always}
"""


def main() -> None:
    """Read, and answer Ansible."""
    arguments = {"logs": {"type": "list", "elements": "dict", "required": True}}
    module = AnsibleModule(arguments, supports_check_mode=True)
    logs = [alerts_since(one) if "offset" in one else mark(one["path"]) for one in module.params["logs"]]
    module.exit_json(changed=False, logs=logs)


if __name__ == "__main__":
    main()
