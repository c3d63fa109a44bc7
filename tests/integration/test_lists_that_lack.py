"""Where servers read revocation lists, a CA without one that holds: what is refused, and what goes on all the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from rechain.certificate import merge
from rechain.crl import Crl, crls_of
from rechain.errors import InputError
from rechain.issue import Authority
from rechain.phase import Phase
from rechain.revocation import leaves_of, sign
from rechain.rotation import Direction
from tasks.add_clients import issue_clients
from tasks.deliver import deliver
from tasks.deploy_crls import write_crls
from tasks.generate import issue_next_generation
from tasks.plan_addition import plan_new_clients
from tasks.plan_replacement import plan_downtime, prove_replacement
from tasks.renew_crls import renew_crls, require_crls
from tasks.repository.certs_yaml import read_certs, render_certs
from tasks.repository.claim import take_claim
from tasks.repository.generations import CA_VAULT_FILE, ca_keys_text, replace_files, snapshot
from tasks.repository.revocations import add_revoked, keep_generation_crls, keep_other_crls
from tasks.repository.vault import CA_VAULT_ID, encrypt
from tasks.state import EnvironmentRef, observe
from tests.chains import Chain, make_chain
from tests.environments import SPEC, Environment, tree


@pytest.fixture
def ref(environment: Environment) -> EnvironmentRef:
    """An adopted environment whose inventory says that servers read lists; the spec has gained a client."""
    (environment.root / "config").mkdir()
    (environment.root / "config" / "chainsmith_acc.yml").write_text(SPEC.replace("applicatie]", "applicatie, etl]"))
    hosts = environment.folder / "hosts"
    inventory = yaml.safe_load(hosts.read_text())
    for variables in inventory["all"]["children"]["pgnodes"]["hosts"].values():
        variables["rechain_services"] = [{"kind": "postgresql", "crl": "root.crl"}]
    hosts.write_text(yaml.safe_dump(inventory))
    return EnvironmentRef(environment.root, "acc")


def _lists(chain: Chain, made: datetime, days: int) -> list[Crl]:
    """The lists of a chain's CAs above clients."""
    pairs = (chain.root, chain.client_ca)
    signers = [Authority(one.x509, one.key) for one in pairs]
    return [sign(one, (), number=1, now=made, until=made + timedelta(days=days)) for one in signers]


def test_clients_are_added_only_where_every_ca_has_its_list(ref: EnvironmentRef, environment: Environment) -> None:
    """Servers would get the lists of the further client chain alone, and refuse everybody else."""
    before = tree(ref.root)
    for add in (plan_new_clients, issue_clients.fn):
        with pytest.raises(InputError, match="there is no revocation list of it"):
            add(ref)
    assert tree(ref.root) == before
    keep_other_crls(ref.root, "acc", _lists(environment.chain, datetime.now(UTC), 90))
    assert plan_new_clients(ref).proof.judgements > 0
    assert issue_clients.fn(ref) == ("etl",)


def test_everything_is_replaced_only_where_what_was_there_could_be_put_back(
    ref: EnvironmentRef, environment: Environment
) -> None:
    """A host that fails gives all of them back what they had, and its lists with it."""
    issue_next_generation.fn(ref)
    for look in (plan_downtime, prove_replacement.fn):
        with pytest.raises(InputError, match="there is no revocation list of it"):
            look(ref)
    keep_other_crls(ref.root, "acc", _lists(environment.chain, datetime.now(UTC), 90))
    assert prove_replacement.fn(ref).proof.judgements > 0


def test_a_fleet_that_is_shut_out_by_its_lists_is_replaced_all_the_same(
    ref: EnvironmentRef, environment: Environment
) -> None:
    """Whose list has ended can't log in: that is nothing to go back to."""
    ended = _lists(environment.chain, datetime.now(UTC) - timedelta(days=80), 79)
    keep_other_crls(ref.root, "acc", ended)
    certs = read_certs(environment.certs)
    deployed = replace(certs, crls=crls_of(certs.client_chain, ended))
    environment.certs.write_text(render_certs(environment.certs.read_text(), deployed))
    issue_next_generation.fn(ref)
    assert prove_replacement.fn(ref).proof.judgements > 0


def test_a_list_of_somebody_else_that_has_ended_keeps_none_of_ours_back(
    ref: EnvironmentRef, environment: Environment
) -> None:
    """Its CA's clients are out already; ours would be next. That it has ended is told all the same."""
    now, foreign = datetime.now(UTC), make_chain(9, (), ("x",))
    made, ended = now - timedelta(days=80), _lists(foreign, now - timedelta(days=80), 79)
    snapshot(ref.root, "acc", 1)
    keys = {"root": environment.chain.root.key_pem, "client": environment.chain.client_ca.key_pem}
    replace_files(ref.root, "acc", 1, {CA_VAULT_FILE: encrypt(ca_keys_text(keys), vault_id=CA_VAULT_ID)})
    ours = _lists(environment.chain, made, 85)
    keep_generation_crls(ref.root, "acc", 1, ours)
    keep_other_crls(ref.root, "acc", ended)
    certs = read_certs(environment.certs)
    bundle = merge(certs.client_chain, foreign.generation.client_bundle)
    deployed = replace(certs, client_chain=bundle, crls=crls_of(bundle, [*ours, *ended]))
    environment.certs.write_text(render_certs(environment.certs.read_text(), deployed))

    assert len(renew_crls.fn(ref)) == 2
    claim = take_claim(ref.root, "acc", direction=Direction.REFRESH, target=Phase.RETIRED, now=now)
    assert write_crls.fn(ref, claim)
    until = {crl.issuer: crl.next_update for crl in read_certs(environment.certs).crls}
    assert all(until[crl.issuer] > now + timedelta(days=60) for crl in ours)  # type: ignore[operator]
    with pytest.raises(InputError, match="its revocation list ended on"):
        require_crls(observe(ref))
    assert plan_new_clients(ref).proof.judgements > 0
    assert issue_clients.fn(ref) == ("etl",)


def test_the_first_lists_are_all_there_or_none_is_deployed(ref: EnvironmentRef, environment: Environment) -> None:
    """Hosts may have lists of their own, which nobody here knows, and would lose them."""
    (_, intermediate) = _lists(environment.chain, datetime.now(UTC), 90)
    keep_other_crls(ref.root, "acc", [intermediate])
    claim = take_claim(ref.root, "acc", direction=Direction.REFRESH, target=Phase.RETIRED, now=datetime.now(UTC))
    with pytest.raises(InputError, match="there is no revocation list of it"):
        write_crls.fn(ref, claim)


def test_a_revoked_certificate_is_delivered_to_nobody(ref: EnvironmentRef, tmp_path: Path) -> None:
    """Its owner would install it, and be out."""
    state = observe(ref)
    leaves = leaves_of("applicatie", [state.current], reason="stolen", who="dba", now=datetime.now(UTC))
    add_revoked(ref.root, "acc", leaves)
    with pytest.raises(InputError, match="is revoked") as told:
        deliver(ref, "applicatie", tmp_path / "delivery.gpg")
    assert "--strategy add-clients --client applicatie" in told.value.fix
    assert not (tmp_path / "delivery.gpg").exists()
