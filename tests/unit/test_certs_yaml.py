"""certs.yml and the vault's content, as chainsmith and as people write them."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rechain.certs import Certs
from rechain.errors import InputError, PemError, RepositoryError
from rechain.generation import PrivateKeys
from tasks.repository.certs_yaml import parse_certs, read_certs, read_keys, render_certs, render_keys
from tests.chains import make_chain
from tests.environments import certs_of

NAMES = ("pg1", "pg2.example.com", "123", "null", "~odd: name")
FIRST = make_chain(1, NAMES, NAMES)
SECOND = make_chain(2, NAMES, NAMES)
OLD, NEW = certs_of(FIRST), certs_of(SECOND)


def dump(certs: Certs, top: str = "certs") -> dict[str, object]:
    """The content of certs.yml, made without the code under test."""
    server = {"chain": certs.server_chain.pem} | {name: chain.pem for name, chain in certs.servers.items()}
    client = {"chain": certs.client_chain.pem} | {name: chain.pem for name, chain in certs.clients.items()}
    return {top: {"client": client, "server": server}}


def _pem(text: str, indent: int) -> str:
    return textwrap.indent(text, " " * indent)


def by_hand(certs: Certs) -> str:
    """A file that somebody maintains: four spaces, comments everywhere, one entry with openssl's text in it."""
    pg1, pg2 = certs.servers["pg1"], certs.servers["pg2.example.com"]
    return f"""\
# Certificates of the acceptance environment.
---
# ask the network team first
certs:
    server:   # what the servers present
        chain: |  # intermediate, then root
{_pem(certs.server_chain.pem, 12)}
        # the primary
        pg1: |
            subject=CN = pg1
{_pem(pg1.leaf.pem, 12)}            issuer=CN = server 1
{_pem(pg1.intermediates[0].pem, 12)}
        # the standby
        "pg2.example.com": |-
{_pem(pg2.pem, 12)}    client:
        chain: |
{_pem(certs.client_chain.pem, 12)}    # end of clients
    extra: {{keep: [1,
        2]}}
other_setting: "kept as it is"   # and this comment
"""


SMALL_OLD = replace(OLD, servers={name: OLD.servers[name] for name in NAMES[:2]}, clients={})
SMALL_NEW = replace(NEW, servers={name: NEW.servers[name] for name in NAMES[:2]}, clients={})


@pytest.mark.parametrize("style", ["|", None, '"'])
def test_what_chainsmith_wrote_is_read_and_written_back_in_the_next_generation(style: str | None) -> None:
    """Every scalar is dumped by chainsmith in style `|`, keys too; other dumps have other quotes."""
    text = "---\n" + yaml.dump(dump(OLD), default_style=style, default_flow_style=False)
    assert parse_certs(text, "certs.yml") == OLD
    assert render_certs(text, OLD) == text
    assert parse_certs(render_certs(text, NEW), "certs.yml") == NEW


def test_comments_order_and_other_keys_survive_a_change() -> None:
    """Every line that is not a certificate of ours is where it was."""
    before, after = by_hand(SMALL_OLD), render_certs(by_hand(SMALL_OLD), SMALL_NEW)
    assert parse_certs(after, "certs.yml") == SMALL_NEW
    ours = {line.strip() for certs in (SMALL_OLD, SMALL_NEW) for line in _lines(certs)} | {"subject=CN = pg1"}
    ours |= {"issuer=CN = server 1"}
    kept = [line for line in before.splitlines() if line.strip() not in ours]
    assert [line for line in after.splitlines() if line.strip() not in ours] == [
        line.replace("|-", "|") for line in kept
    ]


def _lines(certs: Certs) -> list[str]:
    pems = [chain.pem for chain in certs.servers.values()] + [certs.server_chain.pem, certs.client_chain.pem]
    return [line for pem in pems for line in pem.splitlines()]


def test_an_entry_that_need_not_change_keeps_its_lines() -> None:
    """Only the bundle grows during overlap; a leaf keeps the text that openssl wrote around it."""
    text = by_hand(SMALL_OLD)
    grown = replace(SMALL_OLD, client_chain=NEW.client_chain)
    after = render_certs(text, grown)
    cut = text.index("        chain: |\n", text.index("    client:"))
    assert after[:cut] == text[:cut]
    assert after.endswith(text[text.index("    # end of clients") :])
    assert render_certs(text, SMALL_OLD) == text


def test_leaves_come_and_go_with_the_phase() -> None:
    """A client that the new spec dropped leaves the file, and one that it added enters it, on its own side."""
    text = by_hand(SMALL_OLD)
    wanted = replace(
        SMALL_NEW, servers={name: NEW.servers[name] for name in ("pg1", "123", "null")}, clients=NEW.clients
    )
    after = render_certs(text, wanted)
    assert parse_certs(after, "certs.yml") == wanted
    assert "# the standby" in after
    assert yaml.safe_load(after)["certs"]["extra"] == {"keep": [1, 2]}


def test_a_side_that_is_missing_is_added_after_the_names_that_are_added_to_the_other() -> None:
    """Two insertions at the same line keep their order."""
    only_server = {"certs": {"server": dump(SMALL_OLD)["certs"]["server"]}}  # type: ignore[index]
    text = yaml.safe_dump(only_server, default_style="|")
    assert parse_certs(render_certs(text, NEW), "certs.yml") == NEW


@pytest.mark.parametrize("text", ["", "# only a comment", "---\n# soon\n", "other: 1\n", "---\nother: 1"])
def test_a_file_without_certificates_gets_them_and_keeps_what_it_has(text: str) -> None:
    """An empty file, a comment, or other variables are no obstacle."""
    after = render_certs(text, OLD)
    assert parse_certs(after, "certs.yml") == OLD
    assert after.startswith(text)


@pytest.mark.parametrize(
    "text",
    [
        "certs: {server: {chain: x}}\n",
        "a: &one |\n  x\ncerts:\n  server: *one\n",
        "certs:\n  server: &s\n    chain: x\n  client: *s\n",
        "- certs\n",
    ],
)
def test_a_file_that_can_t_be_edited_in_place_is_refused(text: str) -> None:
    """Flow style, anchors and aliases would change more than the entry in hand."""
    with pytest.raises(RepositoryError, match="can't be edited in place"):
        render_certs(text, OLD)


@settings(max_examples=60, deadline=None)
@given(
    present=st.tuples(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES))),
    wanted=st.tuples(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES))),
)
def test_any_file_becomes_any_other(present: tuple[set[str], set[str]], wanted: tuple[set[str], set[str]]) -> None:
    """Whatever leaves are there and whatever leaves are to be there, the file then holds exactly those."""
    before, after = _some(OLD, *present), _some(NEW, *wanted)
    text = render_certs("# top\n", before)
    assert parse_certs(text, "certs.yml") == before
    changed = render_certs(text, after)
    assert parse_certs(changed, "certs.yml") == after
    assert changed.startswith("# top\n")
    assert render_certs(changed, after) == changed


def _some(certs: Certs, servers: set[str], clients: set[str]) -> Certs:
    return replace(
        certs,
        servers={name: chain for name, chain in certs.servers.items() if name in servers},
        clients={name: chain for name, chain in certs.clients.items() if name in clients},
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("certs: [", "is not valid YAML at line"),
        ("just text", "has no mapping `certs`"),
        ("certs: {server: {pg1: x}}", "certs.server: has no `chain`"),
        ("certs: {server: [x], client: {}}", "certs.server: is no mapping"),
        ("certs: {server: {chain: 1}, client: {}}", "certs.server.chain: is not a PEM text"),
        ("certs: {server: {chain: x}, client: {chain: x}}", "certs.server.chain: holds no PEM certificate"),
    ],
)
def test_another_shape_is_refused_by_place_and_fix(tmp_path: Path, text: str, message: str) -> None:
    """One line says file, entry, what and the fix."""
    path = tmp_path / "certs.yml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_certs(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_certificates_on_one_line_are_refused() -> None:
    """OpenSSL rejects the whole file over a missing newline, so it must not reach a host."""
    joined = OLD.server_chain.pem.replace(
        "-----END CERTIFICATE-----\n-----BEGIN", "-----END CERTIFICATE----------BEGIN"
    )
    text = yaml.safe_dump({"certs": {"server": {"chain": joined}, "client": {"chain": OLD.client_chain.pem}}})
    with pytest.raises(PemError, match="share a line"):
        parse_certs(text, "certs.yml")


def test_only_the_keys_that_are_named_are_replaced() -> None:
    """The CA keys that chainsmith keeps beside those of the leaves stay, and so do comments."""
    text = "# keys\n" + render_keys("", FIRST.keys) + "# end\n"
    text = text.replace("  server:\n", "  server:\n    server: CA key  # chainsmith's own\n", 1)
    after = render_keys(text, PrivateKeys(servers={"pg1": SECOND.keys.servers["pg1"]}))
    keys = read_keys(after, "vault")
    assert keys.servers["server"] == "CA key"
    assert keys.servers["pg1"] == SECOND.keys.servers["pg1"]
    assert keys.servers["123"] == FIRST.keys.servers["123"]
    assert keys.clients == FIRST.keys.clients
    assert after.startswith("# keys\n")
    assert after.endswith("# end\n")
    assert render_keys(after, PrivateKeys(servers={"pg1": SECOND.keys.servers["pg1"]})) == after


@pytest.mark.parametrize(
    "text",
    ["needle", "private_keys: needle", "private_keys: {server: needle}", "private_keys: {server: {a: {needle: 1}}}"],
)
def test_a_vault_of_another_shape_is_refused_without_quoting_it(text: str) -> None:
    """What a vault holds is never part of a message."""
    with pytest.raises(RepositoryError) as caught:
        read_keys(text, "certs.vault.yml")
    assert "needle" not in str(caught.value)
    with pytest.raises(RepositoryError) as caught:
        read_keys("private_keys: [needle: *needle", "certs.vault.yml")
    assert "needle" not in f"{caught.value!r}"
