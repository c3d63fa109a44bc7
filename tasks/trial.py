"""A chain issued in memory, for a plan only: nothing of it is kept."""

from __future__ import annotations

from dataclasses import dataclass

from rechain.crl import Crl
from rechain.fleet import Fleet
from rechain.issue import Issued, issue, key_types
from rechain.revocation import first_crls
from rechain.spec import ChainSpec
from tasks.keys import generate_keys
from tasks.state import now


@dataclass(frozen=True, slots=True)
class Trial:
    """A generation that will never be used, with its first revocation lists where servers read any."""

    issued: Issued
    crls: tuple[Crl, ...]


def issue_trial(spec: ChainSpec, number: int, fleet: Fleet) -> Trial:
    """Issue what `generate` would.

    Side effect: none.

    Args:
        spec: The chain spec.
        number: The number that the generation would have.
        fleet: Tells whether servers read revocation lists.
    """
    issued = issue(spec, number, now=now(), keys=generate_keys(key_types(spec)))
    return Trial(
        issued,
        first_crls(issued.generation.client_bundle, issued.ca_keys, now=now(), kept=issued.ca_keys)
        if fleet.reads_crls
        else (),
    )
