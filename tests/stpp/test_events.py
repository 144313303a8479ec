"""Events and windows: sorted, immutable, and every selection keeps its rows together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpp.domain import Box
from stpp.events import Events, Window


def example(t: list[float], parent: list[int] | None = None) -> Events:
    """Events whose every column says which input row it came from."""
    n = len(t)
    row = np.arange(n)
    return Events(
        np.array(t),
        np.stack([row, -row], axis=1).astype(float),
        weight=row.astype(float),
        author=row % 3,
        authors=("a", "b", "c"),
        parent=None if parent is None else np.array(parent),
        marks=pa.table({"row": row, "text": [f"post {k}" for k in row]}),
        axes=("east", "north"),
    )


def columns_agree(events: Events) -> bool:
    """Whether every column of ``example`` still sits on its own row."""
    row = events.mark("row")
    return bool(
        (events.x == np.stack([row, -row], axis=1)).all()
        and (events.weight == row).all()
        and (events.author == row % 3).all()
        and events.mark("text").tolist() == [f"post {k}" for k in row]
    )


def parent_rows(events: Events) -> dict[int, int]:
    """Input row → input row of its parent, for those that have one here."""
    assert events.parent is not None
    row = events.mark("row")
    return {int(row[k]): int(row[p]) for k, p in enumerate(events.parent) if p >= 0}


# -- Window --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "end"), [(1.0, 1.0), (2.0, 1.0), (0.0, np.inf), (np.nan, 1.0)])
def test_windows_that_are_refused(start: float, end: float) -> None:
    with pytest.raises(ValueError, match="a window must end after it starts; got"):
        Window(start, end)


def test_rolling_windows_end_inside() -> None:
    whole = Window(10.0, 13.1)
    assert [(w.start, w.end) for w in whole.rolling(1.0)] == [(10, 11), (11, 12), (12, 13)]
    assert [(w.start, w.end) for w in whole.rolling(1.0, 2.0)] == [(10, 12), (11, 13)]
    assert list(whole.rolling(4.0)) == []
    assert len(list(Window(0.0, 0.3).rolling(0.1))) == 3  # 3 × 0.1 > 0.3 in floating point
    for step, horizon in ((0.0, 1.0), (1.0, 0.0), (-1.0, None)):
        with pytest.raises(ValueError, match="longer than 0 days"):
            list(whole.rolling(step, horizon))


# -- making them ---------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    events = Events(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert (len(events), events.d, events.axes, events.weight.tolist()) == (2, 1, ("x0",), [1, 1])
    assert (events.author, events.parent, events.marks) == (None, None, None)


@given(st.lists(st.floats(-5, 5).map(lambda v: round(v, 1)), min_size=1, max_size=30), st.randoms())
def test_sorting_keeps_rows_and_parents_together(t: list[float], random: Any) -> None:
    parent = [random.randrange(-1, len(t)) for _ in t]
    events = example(t, parent)
    assert (np.diff(events.t) >= 0).all()
    assert columns_agree(events)
    assert parent_rows(events) == {k: p for k, p in enumerate(parent) if p >= 0}
    row = events.mark("row")
    tied = np.diff(events.t) == 0
    assert (np.diff(row)[tied] > 0).all()  # stable


def test_nothing_can_be_changed() -> None:
    given_t = np.array([2.0, 1.0])
    events = example([2.0, 1.0], [-1, 0])
    for part in (events, events.rows(0, 1), events.take([1])):
        for column in (part.t, part.x, part.weight, part.author, part.parent):
            assert column is not None
            with pytest.raises(ValueError, match="read-only"):
                column[0] = 0
    with pytest.raises(AttributeError):
        events.t = given_t  # type: ignore[misc]
    taken = Events(given_t, given_t)
    given_t[0] = 99
    assert taken.t.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"t": [0, 1, 2]}, r"events need t \(n,\), x \(n, d\), weight \(n,\); got \(3,\), \(2, 1\), \(3,\)"),
        ({"t": [[0, 1]]}, "events need t"),
        ({"x": np.zeros((2, 0))}, "events need t"),
        ({"weight": [1]}, r"got \(2,\), \(2, 1\), \(1,\)"),
        ({"t": [0, np.nan]}, "event times and coordinates must be finite"),
        ({"x": [[0], [np.inf]]}, "event times and coordinates must be finite"),
        ({"weight": [1, -1]}, "event weights must be finite and ≥ 0"),
        ({"weight": [1, np.nan]}, "event weights must be finite and ≥ 0"),
        ({"author": [0]}, "author has 1 rows, the events 2"),
        ({"parent": [0, 0, 0]}, "parent has 3 rows, the events 2"),
        ({"marks": pa.table({"a": [1, 2, 3]})}, "marks have 3 rows, the events 2"),
        ({"axes": ("east", "north")}, "2 axis names for 1 coordinates"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Events(**({"t": [0.0, 1.0], "x": [[0.0], [1.0]]} | columns))


# -- selections ----------------------------------------------------------------------------------------------------


def test_rows_renumber_parents_and_drop_those_left_out() -> None:
    events = example([0, 1, 2, 3, 4], [-1, 0, 1, 0, 3])
    part = events.rows(1, 5)
    assert columns_agree(part)
    assert part.parent.tolist() == [-1, 0, -1, 2]  # type: ignore[union-attr]
    assert parent_rows(part) == {2: 1, 4: 3}
    assert (part.authors, part.axes, part.epoch) == (events.authors, events.axes, events.epoch)
    assert events.rows(0, 5) is events
    assert len(events.rows(2, 2)) == 0


@given(st.sets(st.integers(0, 7)))
def test_take_and_rows_agree_with_a_mask(kept: set[int]) -> None:
    parent = [-1, 0, 0, 2, 3, 1, -1, 6]
    events = example([0, 1, 1, 2, 3, 5, 8, 13], parent)
    rows = sorted(kept)
    part, masked = events.take(rows), events.take(np.isin(np.arange(8), rows))
    assert part.mark("row").tolist() == rows == masked.mark("row").tolist()
    assert columns_agree(part)
    assert parent_rows(part) == {k: parent[k] for k in rows if parent[k] in kept} == parent_rows(masked)


def test_before_is_strict_and_windows_are_half_open() -> None:
    events = example([0, 1, 1, 2, 3])
    assert [len(events.before(t)) for t in (0, 1, 1.5, 3, 9)] == [0, 1, 3, 4, 5]
    assert events.between(Window(1, 3)).t.tolist() == [1, 1, 2]
    assert len(events.between(Window(1.2, 1.9))) == 0
    span = events.span
    assert len(events.between(span)) == len(events)
    with pytest.raises(ValueError, match="no events, so no time span"):
        _ = events.before(0).span


def test_inside_keeps_the_closed_box() -> None:
    events = example([0, 1, 2, 3])
    assert events.inside(Box((1, -2), (2, 0))).mark("row").tolist() == [1, 2]
    assert events.inside(Box((-9, -9), (9, 9))) is events


def test_a_sample_is_seeded_without_replacement_and_in_time_order() -> None:
    events = example(list(range(100)))
    one, same = (events.sample(30, np.random.default_rng(5)).mark("row") for _ in range(2))
    assert one.tolist() == same.tolist()
    assert (np.diff(one) > 0).all()
    assert len(one) == 30
    counts = sum(
        np.bincount(events.sample(30, np.random.default_rng(k)).mark("row"), minlength=100) for k in range(400)
    )
    assert np.abs(counts / 400 - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 400)
    assert events.sample(100, np.random.default_rng(0)) is events


def test_then_joins_in_time() -> None:
    joined = example([0, 1]).then(example([1, 2]))
    assert joined.t.tolist() == [0, 1, 1, 2]
    assert joined.x[:, 0].tolist() == [0, 1, 0, 1]
    assert joined.axes == ("east", "north")


def test_marks_by_name() -> None:
    events = example([1, 0])
    assert events.mark("text").tolist() == ["post 1", "post 0"]
    with pytest.raises(KeyError, match="no mark column 'likes'; there are: row, text"):
        events.mark("likes")
    with pytest.raises(KeyError, match="there are: none"):
        Events(np.zeros(1), np.zeros(1)).mark("likes")


def test_dates_count_from_the_epoch() -> None:
    events = Events(np.zeros(1), np.zeros(1), epoch="2020-01-01T00:00:00+02:00")
    assert events.date(1.5) == datetime(2020, 1, 2, 10, tzinfo=UTC)
    assert events.days(events.date(1.5)) == 1.5
    assert events.days(datetime(2020, 1, 1)) == pytest.approx(2 / 24)
    assert events.days(datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == 0
