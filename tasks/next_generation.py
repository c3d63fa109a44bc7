"""Put a next generation in its place, whoever signed it; and refuse to issue what is an outside CA's to sign."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from rechain.addition import ROOT as CLIENT_ROOT
from rechain.errors import ClaimRefused, InputError
from rechain.generation import Side
from rechain.issue import ROOT, Issued
from rechain.phase import Phase
from rechain.revocation import first_crls
from rechain.rotation import Rotation
from rechain.spec import ChainSpec, digest_without_clients
from tasks.repository.generation_yaml import outside_sides, spec_digest
from tasks.repository.generations import (
    adopt_environment,
    is_of_spec,
    read_generation,
    snapshot,
    write_generation,
)
from tasks.repository.requests import read_requests
from tasks.repository.revocations import read_known_crls
from tasks.repository.rotation_yaml import read_rotation, update_rotation
from tasks.repository.settings import read_settings
from tasks.state import EnvironmentRef, now


def refuse_outside(ref: EnvironmentRef, rotation: Rotation, *, own_ca: bool = False) -> None:
    """Refuse to let our own CA issue a generation that an outside CA is to sign.

    Args:
        ref: Which environment.
        rotation: Where its rotation stands.
        own_ca: Whether our own CA is to take over from an outside one.

    Raises:
        InputError: Requests wait, or the present chain comes from outside.
    """
    environment, requests = ref.environment, read_requests(ref.root, ref.environment)
    if requests is not None:
        raise InputError(
            f"rechain/{environment}/requests",
            f"{len(requests.public_keys)} requests wait for an outside CA since {requests.made_at:%Y-%m-%d}",
            f"give it what came back: `rechain import {environment} FILE…`, or drop them: "
            f"`rechain csr {environment} --discard`",
        )
    sides = outside_sides(ref.root, environment, rotation.current) if rotation.current else ()
    if sides and not own_ca:
        option = f" --side {sides[0]}" if len(sides) == 1 else ""
        raise InputError(
            environment,
            f"an outside CA signed the present {' and '.join(sides)} chain",
            f"ask it for the next one: `rechain csr {environment}{option}`, or let our own CA take over: "
            f"`rechain generate {environment} --own-ca`",
        )


def refuse_changed_spec(ref: EnvironmentRef, number: int, spec: ChainSpec) -> None:
    """Refuse to go on with a generation that is not what the chain spec asks for any more.

    Raises:
        InputError: It is not; says what to do about it.
    """
    root, environment = ref.root, ref.environment
    if is_of_spec(root, environment, number, spec):
        return
    rotation = read_rotation(root, environment)
    discard = f"walk back with `rechain rollback {environment}`"
    fix = f"take the change back until the refresh has ended, or {discard}"
    if rotation.is_first:
        fix = (
            f"take the change back and roll it out with `rechain refresh {environment} --strategy downtime`, or remove "
            "certs.yml and its vault to begin anew"
        )
    held = read_generation(root, environment, number).clients.keys()
    has_only_gained = spec_digest(root, environment, number) == digest_without_clients(spec) and held < set(
        spec.clients
    )
    if has_only_gained and rotation.target is None:  # half way nothing is added
        fix = f"give its new clients theirs: `rechain refresh {environment} --strategy add-clients`, or {discard}"
    raise InputError(
        f"config/chainsmith_{environment}.yml",
        f"has changed since generation {number} was issued, which is not yet rolled out",
        fix,
    )


def keep_current(ref: EnvironmentRef, rotation: Rotation) -> None:
    """Keep the current generation's files byte for byte, so that a rollback restores them. Idempotent."""
    if rotation.last_generation <= 1 and rotation.reached_at is None:
        adopt_environment(ref.root, ref.environment)
    if rotation.current is not None:
        snapshot(ref.root, ref.environment, rotation.current)


def write_next(ref: EnvironmentRef, issued: Issued, spec: ChainSpec, outside: Collection[Side] = ()) -> None:
    """Write a generation with its first revocation lists, and those of its CA keys that are to be kept.

    Side effect: `rechain/ENV/generation-N`, by one rename.

    Args:
        ref: Which environment.
        issued: The generation and its keys.
        spec: The chain spec that it was issued from.
        outside: The sides that an outside CA signed.
    """
    kept = kept_ca_keys(issued.ca_keys, read_settings(ref.root).ca_keys)
    ours, known = issued.generation.client_bundle, read_known_crls(ref.root, ref.environment)
    write_generation(
        ref.root,
        ref.environment,
        replace(issued, ca_keys=kept),
        digest_without_clients(spec),
        keep_ca_keys=bool(kept),
        crls=first_crls(ours, issued.ca_keys, now=now(), kept=kept, known=known),
        outside=outside,
    )


def kept_ca_keys(ca_keys: Mapping[str, str], setting: str) -> Mapping[str, str]:
    """Those of new CA keys that the setting `ca_keys` of rechain.yml lets live on."""
    match setting:
        case "discard":
            return {}
        case "discard-root":
            return {name: key for name, key in ca_keys.items() if name not in (ROOT, CLIENT_ROOT)}
        case _:
            return ca_keys


def record_next(ref: EnvironmentRef, number: int) -> None:
    """Record a generation whose folder is written as the next one: phase `issued`.

    Raises:
        ClaimRefused: The environment was moved meanwhile.
    """

    def record(stored: Rotation) -> Rotation:
        if stored.next is not None or stored.last_generation >= number:
            raise ClaimRefused(
                ref.environment, "was moved while its next generation was issued", "look at `rechain status`"
            )
        return replace(stored, phase=Phase.ISSUED, next=number, last_generation=number, approvals=(), reached_at=now())

    update_rotation(ref.root, ref.environment, record)
