#!/usr/bin/python
"""Install all certificate sets of a host, each switched by one rename, reloaded, proven, or put back."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible ships no types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from tasks.playbooks.module_utils.rechain_apply import Installation
    from tasks.playbooks.module_utils.rechain_dates import require_fitting_clock, wrong_clock
    from tasks.playbooks.module_utils.rechain_pem import Refused, leaf_fingerprint
    from tasks.playbooks.module_utils.rechain_prove import Limits, Unproven
    from tasks.playbooks.module_utils.rechain_sets import CertSet, read_sets
    from tasks.playbooks.module_utils.rechain_state import ClaimRefused, HostState
else:
    from ansible.module_utils.rechain_apply import Installation
    from ansible.module_utils.rechain_dates import require_fitting_clock, wrong_clock
    from ansible.module_utils.rechain_pem import Refused, leaf_fingerprint
    from ansible.module_utils.rechain_prove import Limits, Unproven
    from ansible.module_utils.rechain_sets import CertSet, read_sets
    from ansible.module_utils.rechain_state import ClaimRefused, HostState

DOCUMENTATION = """
module: rechain_install
short_description: Install the certificate sets of a host atomically, and prove that its services use them
description:
  - Validates every set before it touches one. Switches a set by one rename, reloads its services, sees on the wire and
    in the log that they took it, and puts the previous set back when they did not.
  - Refuses a claim number lower than the highest that the host has seen.
options:
  environment: {description: Name of the environment., type: str, required: true}
  claim: {description: Number of the claim that this run holds., type: int, default: 0}
  phase: {description: Phase that is rolled out; goes to the ledger., type: str, default: ''}
  state_dir: {description: Where the host keeps claim numbers and ledger., type: path, default: /var/lib/rechain}
  address: {description: Default address of the host's services., type: str, required: true}
  server_name: {description: The host's name in C(certs.server)., type: str, required: true}
  start: {description: Start services that do not run., type: bool, default: false}
  services: {description: As the inventory's C(rechain_services)., type: list, elements: dict, default: []}
  clients: {description: As the inventory's C(rechain_clients)., type: list, elements: raw, default: []}
  server_cert: {description: Leaf and intermediate of the host., type: str, default: ''}
  server_key: {description: Its private key., type: str, default: ''}
  client_certs: {description: Client name to leaf and intermediate., type: dict, default: {}}
  client_keys: {description: Client name to private key., type: dict, default: {}}
  server_chain: {description: Bundle that clients trust., type: str, default: ''}
  client_chain: {description: Bundle that servers trust., type: str, default: ''}
  client_crls: {description: Revocation lists of its CAs., type: str, default: ''}
  asked: {description: "The worker's clock, seconds since 1970; 0 when it is not known.", type: float, default: 0}
  lock_timeout: {description: Seconds to wait for another installation on the host., type: float, default: 60}
  reload_timeout: {description: Seconds that a reload command may take., type: float, default: 60}
  proof_timeout: {description: Seconds until a reload must be seen., type: float, default: 10}
  hold_timeout: {description: Seconds to wait until nobody has a certificate open., type: float, default: 2}
"""

RETURN = """
outcome: {description: installed or unchanged; on failure failed or refused_claim., type: str, returned: always}
changed_files: {description: Paths whose content is now different., type: list, returned: always}
served: {description: Endpoint (address:port) to the fingerprint that it serves., type: dict, returned: success}
msg: {description: "Why it failed; on success, by how much the host's clock is wrong.", type: str, returned: sometimes}
"""

ARGUMENTS = {
    "environment": {"type": "str", "required": True},
    "claim": {"type": "int", "default": 0},
    "phase": {"type": "str", "default": ""},
    "state_dir": {"type": "path", "default": "/var/lib/rechain"},
    "address": {"type": "str", "required": True},
    "server_name": {"type": "str", "required": True},
    "start": {"type": "bool", "default": False},
    "services": {"type": "list", "elements": "dict", "default": []},
    "clients": {"type": "list", "elements": "raw", "default": []},
    "server_cert": {"type": "str", "default": ""},
    "server_key": {"type": "str", "default": "", "no_log": True},
    "client_certs": {"type": "dict", "default": {}},
    "client_keys": {"type": "dict", "default": {}, "no_log": True},
    "server_chain": {"type": "str", "default": ""},
    "client_chain": {"type": "str", "default": ""},
    "client_crls": {"type": "str", "default": ""},
    "asked": {"type": "float", "default": 0},
    "lock_timeout": {"type": "float", "default": 60},
    "reload_timeout": {"type": "float", "default": 60},
    "proof_timeout": {"type": "float", "default": 10},
    "hold_timeout": {"type": "float", "default": 2},
}


def main() -> None:
    """Read the parameters, install, and answer Ansible in one of four outcomes."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    installations: list[Installation] = []
    clock = wrong_clock(module.params["asked"])
    try:
        result = install(module.params, installations, check_mode=module.check_mode)
    except ClaimRefused as error:
        module.fail_json(msg=str(error), outcome="refused_claim", changed_files=[])
    except (Refused, Unproven, OSError) as error:
        changed = _changed(installations)
        module.fail_json(msg=_words(error), outcome="failed", changed_files=changed, changed=bool(changed))
    module.exit_json(**result, **({"msg": clock} if clock else {}))


def install(params: Mapping[str, Any], installations: list[Installation], *, check_mode: bool) -> dict[str, Any]:
    """Install all sets of the host under its lock.

    Args:
        params: The module's parameters.
        installations: Filled with one entry per set, so that a failure can tell what was changed before it.
        check_mode: Touch nothing.

    Raises:
        Refused: The input was refused; nothing was touched.
        Unproven: A reload was not proven; the set was put back, the sets before it stay.
        OSError: The host's own trouble, such as a full disk.
    """
    state = HostState(Path(params["state_dir"]), params["environment"])
    limits = Limits(params["reload_timeout"], params["proof_timeout"], params["hold_timeout"])
    with state.locked(params["lock_timeout"]):
        state.accept(params["claim"], remember=not check_mode)
        sets = read_sets(params)
        installations += [Installation(wanted, state, limits, start=params["start"]) for wanted in sets]
        needed = [(wanted, way) for wanted, way in zip(sets, installations) if way.is_needed()]  # noqa: B905
        require_fitting_clock((wanted for wanted, _way in needed), params["asked"])
        if needed and not check_mode:
            _run(params, state, needed)
        served = {endpoint: leaf for way in installations for endpoint, leaf in way.served().items()}
    return {
        "changed": bool(needed),
        "outcome": "installed" if needed else "unchanged",
        "changed_files": _changed(installations),
        "served": served,
    }


def _run(params: Mapping[str, Any], state: HostState, needed: Sequence[tuple[CertSet, Installation]]) -> None:
    try:
        for _wanted, way in needed:
            way.stage()
        for wanted, way in needed:
            _run_one(params, state, wanted, way)
    finally:
        for _wanted, way in needed:
            way.discard()


def _run_one(params: Mapping[str, Any], state: HostState, wanted: CertSet, way: Installation) -> None:
    outcome = "failed"
    try:
        way.run()
        outcome = "proven"
    finally:
        leaves = {name: leaf for name, content in wanted.files.items() if (leaf := leaf_fingerprint(content))}
        entry = {"claim": params["claim"], "phase": params["phase"], "directory": str(wanted.path)}
        state.record({**entry, "first_certificates": leaves, "outcome": outcome})


def _changed(installations: Sequence[Installation]) -> list[str]:
    return [path for way in installations for path in way.changed]


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'this host'}: {error.strerror or error}"
    return str(error)


if __name__ == "__main__":
    main()
