"""The canary's sums: what an application would have noticed, phase by phase."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from rechain.canary import (
    Attempt,
    Interval,
    PhaseSpan,
    Segment,
    Unwatched,
    attempt_line,
    attempted_since,
    event_line,
    failures_since,
    has_watched,
    read_segment,
    summary,
    unwatched_line,
)
from rechain.login import Verdict

_START = datetime(2026, 1, 1, tzinfo=UTC)


def _at(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


def _attempt(seconds: float, verdict: Verdict = Verdict.LOGGED_IN, client: str = "app", ms: int = 0) -> Attempt:
    error = None if verdict is Verdict.LOGGED_IN else "told"
    return Attempt(_at(seconds), client, "db1", "db1:5432", verdict, error, ms)


def _segment(start: float, end: float, *attempts: Attempt, unwatched: tuple[Unwatched, ...] = ()) -> Segment:
    return Segment(_at(start), _at(end), attempts, unwatched)


_ATTEMPTS = st.builds(
    Attempt,
    at=st.integers(0, 10**6).map(lambda ms: _START + timedelta(milliseconds=ms)),
    client=st.sampled_from(["app", "pgfga"]),
    host=st.sampled_from(["", "db1"]),
    endpoint=st.just("db1:5432"),
    verdict=st.sampled_from(Verdict),
    error=st.none() | st.text(),
    ms=st.integers(0, 5000),
)


@given(st.lists(_ATTEMPTS), st.lists(st.integers(0, 10**6), min_size=1, unique=True).map(sorted))
def test_phases_that_follow_each_other_share_out_every_login(attempts: list[Attempt], bounds: list[int]) -> None:
    """A login belongs to the one phase in which it began, and to no other."""
    moments = [_START, *(_START + timedelta(milliseconds=bound + 1) for bound in bounds), None]
    spans = [PhaseSpan(str(n), start or _START, moments[n + 1]) for n, start in enumerate(moments[:-1])]
    seen = summary([Segment(_START, _at(2000), tuple(attempts))], spans)
    assert sum(phase.attempted for phase in seen.phases) == seen.attempted == len(attempts)
    assert sum(phase.failed for phase in seen.phases) == seen.failed == len(seen.failures)


@given(st.lists(_ATTEMPTS), st.integers(0, 10**6))
def test_only_refusals_since_the_moment_count_for_the_gate(attempts: list[Attempt], since: int) -> None:
    """A server that was away, and whatever was before the phase's last action, are no verdict on certificates."""
    moment = _START + timedelta(milliseconds=since)
    found = failures_since([Segment(_START, _at(2000), tuple(attempts))], moment)
    assert sorted(map(str, found)) == sorted(
        str(attempt) for attempt in attempts if attempt.at >= moment and attempt.verdict is Verdict.REFUSED
    )
    assert attempted_since([Segment(_START, _at(2000), tuple(attempts))], moment) >= len(found)


@given(st.lists(_ATTEMPTS))
def test_what_is_written_is_read_again(attempts: list[Attempt]) -> None:
    """A recording loses nothing, whatever stands in an error."""
    lines = [event_line("watching", _START), *map(attempt_line, attempts), event_line("stopped", _at(1))]
    segment = read_segment("".join(f"{line}\n" for line in lines))
    assert segment
    assert list(segment.attempts) == attempts


def test_a_recording_that_was_cut_off_counts_up_to_its_last_whole_line() -> None:
    """SIGKILL may tear the last line; the segment ends with the last login that is known."""
    text = event_line("watching", _START) + "\n" + attempt_line(_attempt(3, ms=500)) + "\n" + '{"t_ms": 17'
    segment = read_segment(text)
    assert segment == _segment(0, 3.5, _attempt(3, ms=500))


def test_a_recording_that_never_watched_is_none() -> None:
    """A canary that was killed while it tried everything once has watched nothing."""
    assert read_segment("") is None
    assert read_segment(unwatched_line(Unwatched("minio", "db3", "db1:5432", "no role"), _START) + "\n") is None


def test_the_longest_gap_is_one_client_s_own() -> None:
    """Another client's logins don't shorten it, and a failed login does not end it."""
    mine = [_attempt(1), _attempt(2, Verdict.REFUSED), _attempt(4), _attempt(5)]
    theirs = [_attempt(second, client="pgfga") for second in (1, 2, 3, 4, 5)]
    assert summary([_segment(0, 5, *mine, *theirs)]).longest_gap_ms == 3000


def test_a_gap_lasts_until_the_login_has_ended() -> None:
    """A login that took two seconds kept its application waiting for them."""
    assert summary([_segment(0, 6, _attempt(1), _attempt(2, ms=2000), _attempt(5))]).longest_gap_ms == 3000


def test_an_outage_that_lasts_is_a_gap_as_well() -> None:
    """A client that never logs in again waits until the end of the recording."""
    assert summary([_segment(0, 9, _attempt(1), _attempt(2, Verdict.REFUSED))]).longest_gap_ms == 8000


def test_the_time_that_nobody_watched_is_listed_and_is_no_gap() -> None:
    """Two runs add up; what was between them is unknown, neither good nor bad."""
    seen = summary([_segment(10, 12, _attempt(11)), _segment(0, 2, _attempt(1))])
    assert (seen.attempted, seen.longest_gap_ms) == (2, 1000)
    assert seen.intervals == (Interval(_at(2), _at(10)),)
    assert str(seen.intervals[0]) == "nobody watched from 00:00:02 to 00:00:10 UTC (8.0 s)"


def test_recordings_that_overlap_leave_no_interval() -> None:
    """Two canaries at once watch the time together."""
    assert summary([_segment(0, 10), _segment(2, 4), _segment(9, 12)]).intervals == ()


def test_a_client_that_a_later_run_could_watch_is_not_listed() -> None:
    """Only logins that were never tried are unwatched, each once, with the last reason."""
    refused = Unwatched("app", "db1", "db1:5432", "was refused")
    minio = Unwatched("minio", "db3", "db1:5432", "no role")
    first, second = _segment(0, 1, unwatched=(refused, minio)), _segment(2, 3, _attempt(2), unwatched=(minio,))
    assert summary([first, second]).unwatched == (minio,)
    assert summary([first]).unwatched == (refused, minio)


def test_without_anything_there_is_nothing() -> None:
    """No recording gives zeros, and no failure is made of it."""
    seen = summary([], [PhaseSpan("overlap", _START, None)])
    assert (seen.attempted, seen.failed, seen.longest_gap_ms) == (0, 0, 0)
    assert seen.phases[0].attempted == 0


def test_a_failure_in_words() -> None:
    """Moment, client, host, endpoint and error: what the report and the gate show."""
    assert str(_attempt(1.5, Verdict.REFUSED)) == "00:00:01.500 app of db1 on db1:5432: told"


def test_a_recording_covers_what_lies_within_it() -> None:
    """In a gap another worker may have reached the phase, and seen logins fail that nobody here knows of."""
    segments = [_segment(10, 20), _segment(30, 40)]
    assert [has_watched(segments, _at(moment)) for moment in (9, 10, 25, 35, 50)] == [False, True, False, True, False]
    assert not has_watched([], _at(0))
