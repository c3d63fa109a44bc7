#!/usr/bin/python
"""Tell what lies in the certificate directories of a host: public parts as they are, of keys their rights alone."""

from __future__ import annotations

import time

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible ships no types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tasks.playbooks.module_utils.rechain_look import look_at_set
else:
    from ansible.module_utils.rechain_look import look_at_set

DOCUMENTATION = """
module: rechain_look
short_description: Look at the certificate sets of a host, changing nothing
description:
  - Returns certificates and revocation lists, owner and mode of each file, and whether key and certificate are a pair.
  - Of a private key nothing but that leaves the host, nor of a key that lies in a file where none belongs.
options:
  sets: {description: "Sets to look at, each with cert_dir, owner, cert, key and ca.", type: list, elements: dict,
         required: true}
  asked: {description: Ansible's own clock just before, which is told again., type: float, required: true}
"""

RETURN = """
asked: {description: What was given., type: float, returned: always}
clock: {description: The host's clock in seconds since 1970., type: float, returned: always}
looks: {description: One entry for each set in their order., type: list, returned: always}
"""


def main() -> None:
    """Look, and answer Ansible."""
    arguments = {"sets": {"type": "list", "elements": "dict", "required": True}}
    module = AnsibleModule({**arguments, "asked": {"type": "float", "required": True}}, supports_check_mode=True)
    clock = time.time()
    looks = [look_at_set(one) for one in module.params["sets"]]
    module.exit_json(changed=False, asked=module.params["asked"], clock=clock, looks=looks)


if __name__ == "__main__":
    main()
