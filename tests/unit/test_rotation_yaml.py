"""rotation.yml on disk."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rechain.errors import RepositoryError
from rechain.phase import Phase
from rechain.rotation import Approval, Claim, Direction, Gate, Intent, Rotation
from tasks.repository.rotation_yaml import (
    parse_rotation,
    read_rotation,
    render_rotation,
    update_rotation,
    write_rotation,
)
from tests.environments import AT_REST, Environment

moments = st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - made aware
numbers = st.integers(min_value=1, max_value=10**6)
claims = st.builds(Claim, numbers, st.text(), st.sampled_from(Direction), st.sampled_from(Phase), moments, moments)
intents = st.builds(Intent, st.text(), st.text(), st.text(), st.text())
approvals = st.builds(Approval, st.sampled_from(Gate), st.none() | st.text(), numbers, st.text(), st.text(), moments)
rotations = st.builds(
    Rotation,
    st.none() | st.sampled_from(Phase),
    st.none() | numbers,
    st.none() | numbers,
    numbers,
    target=st.none() | st.sampled_from(Phase),
    reached_at=st.none() | moments,
    last_claim=numbers,
    claim=st.none() | claims,
    intent=st.none() | intents,
    approvals=st.lists(approvals, max_size=3).map(tuple),
    delivered=st.booleans(),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(rotation=rotations)
def test_every_rotation_reads_back_as_it_was_written(rotation: Rotation) -> None:
    """Whatever a person types as a reason, and whatever the clock says, is kept."""
    assert parse_rotation(render_rotation("acc", rotation), "rotation.yml") == rotation


def test_people_can_read_it(closed_environment: Environment) -> None:
    """The file begins with what it is, has a schema, and moments as ISO text in UTC."""
    elsewhere = datetime(2026, 5, 1, 14, 30, tzinfo=UTC).astimezone(tz=None)
    rotation = Rotation(Phase.OVERLAP, current=1, next=2, last_generation=2, reached_at=elsewhere)
    write_rotation(closed_environment.root, "acc", rotation)
    text = (closed_environment.state / "rotation.yml").read_text()
    assert text.startswith("# Written by rechain: where the rotation of acc's certificates stands.")
    assert yaml.safe_load(text)["schema"] == 1
    assert "reached_at: '2026-05-01T14:30:00Z'" in text
    assert read_rotation(closed_environment.root, "acc") == rotation
    assert [path.name for path in closed_environment.state.iterdir()] == ["rotation.yml"]


def test_an_environment_that_chainsmith_made_is_adopted(closed_environment: Environment) -> None:
    """certs.yml without rotation.yml is generation 1 at rest; reading writes nothing."""
    assert read_rotation(closed_environment.root, "acc") == AT_REST
    assert not (closed_environment.root / "rechain").exists()


def test_an_environment_without_certificates_has_no_phase(closed_environment: Environment) -> None:
    """Nothing is at rest where nothing is deployed."""
    closed_environment.certs.unlink()
    rotation = read_rotation(closed_environment.root, "acc")
    assert (rotation.phase, rotation.current, rotation.next, rotation.last_generation) == (None, None, None, 0)


def test_an_update_sees_what_others_wrote(closed_environment: Environment) -> None:
    """Numbers of claims are counted up from the file, not from what was read before."""
    stale = read_rotation(closed_environment.root, "acc")
    write_rotation(closed_environment.root, "acc", Rotation(Phase.RETIRED, 1, None, 1, last_claim=7))
    assert stale.last_claim == 0
    written = update_rotation(
        closed_environment.root, "acc", lambda stored: replace(stored, last_claim=stored.last_claim + 1)
    )
    assert written.last_claim == read_rotation(closed_environment.root, "acc").last_claim == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("phase: [", "is not valid YAML"),
        ("just text", "dictionary"),
        ("schema: 2\nphase: null\ncurrent: null\nnext: null\nlast_generation: 0\n", "schema: is not 1"),
        ("schema: 1\nphase: sideways\ncurrent: 1\nnext: null\nlast_generation: 1\n", "phase: "),
        ("schema: 1\nphase: retired\ncurrent: 1\nnext: null\nlast_generation: 1\nmore: 1\n", "more: Extra inputs"),
        (
            "schema: 1\nphase: retired\ncurrent: 1\nnext: null\nlast_generation: 1\nreached_at: 2026-05-01 10:00\n",
            "reached_at: ",
        ),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(closed_environment: Environment, text: str, message: str) -> None:
    """Unreadable, another schema, an unknown phase, a moment without a zone."""
    path = closed_environment.state / "rotation.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(RepositoryError) as caught:
        read_rotation(closed_environment.root, "acc")
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_environment_is_answered_with_those_there_are(closed_environment: Environment) -> None:
    """A typo is corrected from the message; a path is no name."""
    for name in ("ac", "../acc", "acc/group_vars", "", "."):
        with pytest.raises(RepositoryError, match="environments there are: acc"):
            read_rotation(closed_environment.root, name)


def test_a_claim_keeps_the_order_of_its_moments(closed_environment: Environment, tmp_path: Path) -> None:
    """Microseconds survive, so that two claims of one second can be told apart."""
    assert tmp_path in closed_environment.root.parents
    now = datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    claim = Claim(3, "a@b:1:2", Direction.ROLLBACK, Phase.ISSUED, now, now + timedelta(hours=1))
    rotation = Rotation(Phase.RETIRED, 1, None, 1, last_claim=3, claim=claim)
    write_rotation(closed_environment.root, "acc", rotation)
    assert read_rotation(closed_environment.root, "acc").claim == claim
