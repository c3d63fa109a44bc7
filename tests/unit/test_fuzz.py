"""Readers of what others wrote: whatever it is, they answer, or refuse with a RechainError."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rechain.certificate import read_certificates
from rechain.crl import read_crls
from rechain.errors import RechainError, RepositoryError
from rechain.scan.texts import read_what_can_be
from rechain.spec import parse_spec
from tasks.repository.files import parse_yaml
from tests.plugins.authority import Authority

_SOUND = Authority("fuzz").server_bundle
_MARKS = st.sampled_from(
    [
        "-----BEGIN CERTIFICATE-----",
        "-----END CERTIFICATE-----",
        "-----BEGIN X509 CRL-----",
        "-----END X509 CRL-----",
        "\n",
    ]
)
_PIECES = st.one_of(_MARKS, st.text(max_size=40), st.sampled_from(_SOUND.splitlines()))
_TEXTS = st.lists(_PIECES, max_size=12).map("\n".join)
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["subject", "intermediates", "name", "servers", "clients", "hosts", "key", "keyUsages", "C", "CN"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """A sound bundle with a piece cut out or overwritten."""
    begin = draw(st.integers(0, len(_SOUND) - 1))
    end = draw(st.integers(begin, min(len(_SOUND), begin + 200)))
    return _SOUND[:begin] + draw(st.text(max_size=8)) + _SOUND[end:]


@given(st.one_of(_TEXTS, _damaged(), st.text()))
def test_pem_readers_refuse_in_words(text: str) -> None:
    """Nothing but certificates, lists, or a refusal comes out; the lenient reader says why it is not whole."""
    with suppress(RechainError):
        assert read_certificates(text, "text")
    with suppress(RechainError):
        assert read_crls(text, "text")
    found, problem = read_what_can_be(text)
    assert found or problem


@given(_DOCUMENTS)
def test_the_spec_reader_refuses_in_words(document: object) -> None:
    """Any YAML that is no chain spec is refused in words, and never by an error of Python's own."""
    with suppress(RechainError):
        parse_spec(document, "spec", lambda _path: {})


@given(
    st.text()
    | st.lists(st.sampled_from(["[", "{", "- ", "a: ", "\n", "2026-13-45", "0x", "1:99", "&a ", "*a", "!!int x"])).map(
        "".join
    )
)
def test_the_yaml_reader_refuses_in_words(text: str) -> None:
    """Dates that don't exist and aliases of nothing too."""
    with suppress(RechainError):
        parse_yaml(text, "text")


@pytest.mark.parametrize("text", ["when: 2026-13-45", "[" * 5000, "a: !!int x", "a: 2026-11-24T25:00:00"])
def test_what_pyyaml_itself_stumbles_over_is_refused_in_words(text: str) -> None:
    """Each of these is an error of Python's own in PyYAML."""
    with pytest.raises(RepositoryError):
        parse_yaml(text, "text")
