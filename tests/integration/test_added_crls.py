"""A further client chain comes with its revocation lists: where servers read any, it could not be trusted without."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rechain.crl import newest, unlisted
from rechain.revocation import LIFETIME
from tasks.add_clients import issue_clients
from tasks.repository.generations import has_ca_keys, read_ca_keys, read_generation
from tasks.repository.revocations import read_known_crls
from tasks.state import EnvironmentRef
from tests.environments import Environment

_SPEC = """\
subject: {CN: postgres, O: Acme}
key: ecdsa-p256
intermediates:
  - name: server
    servers: {pg1: [192.0.2.1], pg2: [192.0.2.2]}
  - name: client
    clients: [postgres, applicatie, etl]
"""


@pytest.mark.parametrize(
    ("setting", "kept"),
    [("keep", {"client-root", "client"}), ("discard-root", {"client"}), ("discard", set())],
)
def test_a_further_client_chain_has_its_lists(environment: Environment, setting: str, kept: set[str]) -> None:
    """Whichever of its keys are kept: a list that nobody can renew lasts as long as its CA."""
    (environment.root / "config").mkdir()
    (environment.root / "config" / "chainsmith_acc.yml").write_text(_SPEC)
    (environment.root / "rechain.yml").write_text(f"ca_keys: {setting}\n")
    before = environment.chain.generation.client_bundle.fingerprints

    assert issue_clients.fn(EnvironmentRef(environment.root, "acc")) == ("etl",)

    bundle = read_generation(environment.root, "acc", 1).client_bundle
    crls, soon = read_known_crls(environment.root, "acc"), datetime.now(UTC) + LIFETIME + timedelta(minutes=1)
    new = [one for one in bundle.certificates if one.fingerprint not in before]
    assert {one.is_self_issued for one in new} == {True, False}
    assert {authority.fingerprint for authority, _ in unlisted(bundle, crls, datetime.now(UTC))} == before
    for authority in new:
        crl, name = newest(authority, crls), "client-root" if authority.is_self_issued else "client"
        assert crl is not None
        assert crl.next_update is not None
        assert (crl.next_update < soon) is (name in kept)
    found = set(read_ca_keys(environment.root, "acc", 1)) if has_ca_keys(environment.root, "acc", 1) else set()
    assert found == kept
