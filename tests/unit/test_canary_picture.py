"""The canary's picture: what was seen is to be seen, whatever the length, and the picture stays small."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rechain.canary import Attempt, PhaseSpan, Segment
from rechain.canary_picture import canary_picture
from rechain.canary_scale import scale_of
from rechain.login import Verdict

_START = datetime(2026, 3, 2, 22, 14, 7, tzinfo=UTC)
_SVG = "{http://www.w3.org/2000/svg}"
_LEFT, _RIGHT, _WIDTH = 56, 956, 1000
_DAY_S = 86400


def _at(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


def _attempt(seconds: float, verdict: Verdict = Verdict.LOGGED_IN) -> Attempt:
    return Attempt(_at(seconds), "app", "db1", "db1:5432", verdict, None, 5)


def _segment(start: float, end: float, *, every_s: float = 0.5, failed: Sequence[float] = ()) -> Segment:
    count = int((end - start) / every_s)
    good = [_attempt(start + number * every_s) for number in range(count)]
    bad = [_attempt(moment, Verdict.REFUSED) for moment in failed]
    return Segment(_at(start), _at(end), (*good, *bad))


def _spans(*starts: tuple[str, float]) -> list[PhaseSpan]:
    ends = [_at(start) for _, start in starts[1:]]
    return [PhaseSpan(name, _at(start), end) for (name, start), end in zip(starts, [*ends, None], strict=True)]


def _drawn(segments: Sequence[Segment], phases: Sequence[PhaseSpan] = (), name: str = "acc") -> ET.Element:
    return ET.fromstring(canary_picture(name, segments, phases))  # noqa: S314  # our own


def _marks(picture: ET.Element, look: str, tag: str = "rect") -> list[ET.Element]:
    return [one for one in picture.iter(f"{_SVG}{tag}") if one.get("class") == look]


def _text(element: ET.Element) -> str:
    return "".join(element.itertext())


def _x(element: ET.Element) -> float:
    return float(element.get("x", "nan"))


def _width(element: ET.Element) -> float:
    return float(element.get("width", "nan"))


def test_a_failure_stands_out_at_its_moment() -> None:
    """One among hundreds, three quarters along, in a lane of its own and in its bar; the totals count it."""
    picture = _drawn([_segment(0, 100, failed=[75])])
    [mark] = _marks(picture, "failure")
    assert _x(mark) + 1 == pytest.approx(_LEFT + 0.75 * (_RIGHT - _LEFT), abs=1)
    assert len(_marks(picture, "failed")) == 1
    assert "201 logins were tried, 1 failed" in str(picture.get("aria-label"))
    assert _marks(_drawn([_segment(0, 100)]), "failure") == []


def test_bars_are_as_high_as_there_were_logins() -> None:
    """A second with twice as many logins has a bar twice as high."""
    busy = Segment(_at(0), _at(4), tuple(map(_attempt, (0.1, 1.1, 1.6, 2.1, 3.1))))
    heights = [float(bar.get("height", "nan")) for bar in _marks(_drawn([busy]), "logins")]
    assert [round(height / min(heights)) for height in heights] == [1, 2, 1, 1]


def test_phases_are_named_over_their_bands() -> None:
    """Each band begins where its phase began, and ends where the next one begins."""
    names = ["issued", "overlap", "servers"]
    picture = _drawn([_segment(0, 90)], _spans(("issued", 0), ("overlap", 30), ("servers", 60)))
    assert [_text(one) for one in _marks(picture, "phase", "text")] == names
    bands = [*_marks(picture, "band"), *_marks(picture, "other")]
    assert sorted(_x(band) for band in bands) == [_LEFT, _LEFT + 300, _LEFT + 600]
    assert sum(map(_width, bands)) == pytest.approx(_RIGHT - _LEFT)


def test_names_of_short_phases_do_not_cover_each_other() -> None:
    """Five phases within a second of two minutes: each name has a row of its own, and none leaves the picture."""
    picture = _drawn([_segment(0, 120)], _spans(*((f"phase-{n}", 118 + n / 5) for n in range(5))))
    names = _marks(picture, "phase", "text")
    assert len({name.get("y") for name in names}) == 5
    assert all(_LEFT <= _x(name) < _WIDTH - 7 * len(_text(name)) for name in names)
    height = float(picture.get("height", "nan"))
    assert all(60 < float(name.get("y", "nan")) < height for name in names)


def test_days_at_a_gate_do_not_squeeze_what_was_watched() -> None:
    """Three weeks between two runs of a minute are a hatched strip that says how long it was."""
    picture = _drawn([_segment(0, 60), _segment(21 * _DAY_S, 21 * _DAY_S + 60, failed=[21 * _DAY_S + 30])])
    [strip] = _marks(picture, "unwatched")
    assert 10 < _width(strip) < 40
    assert [_text(one) for one in _marks(picture, "lasted", "text")] == ["20 d 23 h"]
    [mark] = _marks(picture, "failure")
    assert _x(mark) > _x(strip) + _width(strip) + 200
    assert "nobody watched for 20 d 23 h of the time" in str(picture.get("aria-label"))


def test_logins_stand_where_they_were_on_both_sides_of_a_gap() -> None:
    """What was before a gap is before its strip."""
    picture = _drawn([_segment(0, 60, failed=[30]), _segment(_DAY_S, _DAY_S + 60)])
    [strip] = _marks(picture, "unwatched")
    [mark] = _marks(picture, "failure")
    assert _x(mark) < _x(strip) - 200
    before = [bar for bar in _marks(picture, "logins") if _x(bar) < _x(strip)]
    assert len(before) == len(_marks(picture, "logins")) / 2


def test_many_short_runs_leave_room_between_the_times() -> None:
    """Thirty runs of a few seconds: each begins a stretch, and not each has room for its time."""
    picture = _drawn([_segment(n * 100, n * 100 + 5) for n in range(30)])
    assert len(_marks(picture, "unwatched")) == 29
    places = [_x(tick) for tick in _marks(picture, "tick", "text")]
    assert 5 < len(places) < 13
    assert all(later - earlier >= 70 for earlier, later in pairwise(places))


def test_a_short_gap_stays_in_proportion() -> None:
    """A second in a hundred is a hundredth of the width, hatched all the same."""
    [strip] = _marks(_drawn([_segment(0, 50), _segment(51, 100)]), "unwatched")
    assert _width(strip) == pytest.approx((_RIGHT - _LEFT) / 100, abs=1)


def test_the_axis_tells_utc_and_the_day_when_it_changes() -> None:
    """Over midnight there are two days; times are in order, and have room."""
    picture = _drawn([_segment(0, 3 * 3600, every_s=60)])
    ticks = _marks(picture, "tick", "text")
    days = re.findall(r"\d{4}-\d\d-\d\d UTC", "".join(map(_text, ticks)))
    assert days == ["2026-03-02 UTC", "2026-03-03 UTC"]
    places = [_x(tick) for tick in ticks]
    assert all(later - earlier >= 70 for earlier, later in pairwise(places))
    assert _text(ticks[0]).startswith("22:14")


@pytest.mark.parametrize(
    ("segments", "told"),
    [
        ([], "no login was tried"),
        ([Segment(_at(0), _at(0), ())], "no login was tried"),
        ([_segment(0, 1, every_s=0.2)], "5 logins were tried, none failed"),
        ([Segment(_at(0), _at(0), (_attempt(0),))], "1 logins were tried, none failed"),
    ],
    ids=["nothing", "an instant", "a second", "a login"],
)
def test_little_is_drawn_too(segments: list[Segment], told: str) -> None:
    """Nothing, an instant and a second are pictures like others."""
    picture = _drawn(segments, _spans(("overlap", 0)))
    assert told in str(picture.get("aria-label"))
    assert len(_marks(picture, "logins")) == min(sum(len(one.attempts) for one in segments), 1)


def test_names_that_want_to_be_markup_are_text() -> None:
    """Also with characters that XML does not allow."""
    hostile = "</text><script>alert(1)</script>&\x07\"'"
    picture = _drawn([_segment(0, 60)], _spans((hostile, 10)), name=hostile)
    assert list(picture.iter(f"{_SVG}script")) == []
    assert [_text(one) for one in _marks(picture, "phase", "text")] == [hostile.replace("\x07", "?")]


def test_the_picture_needs_nothing_from_elsewhere_and_follows_the_reader_s_mode() -> None:
    """As the source of an image: no script, no font, no address."""
    text = canary_picture("acc", [_segment(0, 60, failed=[3])], _spans(("overlap", 0)))
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"<script|@import|@font-face|href|url\((?!#hatch)", text)
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]


def test_the_size_does_not_grow_with_the_logins() -> None:
    """Two hundred thousand, half of them failed: less than a photograph."""
    both = [_attempt(n / 10, Verdict.REFUSED if n % 2 else Verdict.LOGGED_IN) for n in range(200_000)]
    text = canary_picture("acc", [Segment(_at(0), _at(20_000), tuple(both))], _spans(("overlap", 0)))
    assert "200,000 logins were tried, 100,000 failed" in text
    assert len(text) < 200_000


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**5)), min_size=1, max_size=30), st.data())
def test_time_runs_from_left_to_right(bounds: list[tuple[int, int]], data: st.DataObject) -> None:
    """Whatever was watched, when, and with whatever gaps: a later instant is never further left."""
    segments = [Segment(_at(start), _at(start + length), ()) for start, length in bounds]
    scale = scale_of(segments, _LEFT, _RIGHT)
    moments = sorted(data.draw(st.lists(st.integers(-10, 2 * 10**7), min_size=2)))
    places = [scale.x(_at(moment)) for moment in moments]
    assert places == sorted(places)
    assert all(_LEFT <= place <= _RIGHT + 0.1 for place in places)
    assert scale.stretches[-1].right == pytest.approx(_RIGHT)
