"""Null worlds: what each destroys is gone, what it keeps is there to the last event."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.backtests.plan import Plan
from evaluation.nulls import NULLS, chosen_nulls
from evaluation.nulls.worlds import (
    Context,
    NullResult,
    analysed,
    describe_nulls,
    expected_counts,
    groups,
)
from stpp.domain import Box
from stpp.events import Events, Window

UNIT = Box((0.0, 0.0), (1.0, 1.0))
CONTEXT = Context(UNIT, Window(0.0, 28.0), 2.0, 15.0)
PERMUTING = ("time-shuffle", "within-author", "within-window")


def posts(n: int = 600, seed: int = 0, authors: int = 7) -> Events:
    """Posts whose place drifts with time, with ids, weights, authors and replies."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 28, n))
    x = np.clip(np.column_stack([0.2 + 0.02 * t, np.full(n, 0.5)]) + rng.normal(0, 0.05, (n, 2)), 0, 1)
    parent = np.arange(n) - 1
    marks = pa.table({"id": np.arange(n)})
    author = rng.integers(0, authors, n)
    return Events(t, x, rng.uniform(size=n), author, tuple("abcdefg"), parent, marks, axes=("x", "y"))


def draw(name: str, events: Events, seed: int = 0, context: Context = CONTEXT) -> Events:
    return NULLS[name](events, np.random.default_rng(seed), context)


def moves(world: Events, events: Events) -> np.ndarray:
    """(n,) new time less old time of each post, in the order of their ids."""
    t = np.empty(len(world))
    t[world.mark("id")] = world.t
    return t - events.t


@pytest.mark.parametrize("name", NULLS)
def test_every_null_is_seeded_pure_and_inside(name: str) -> None:
    events = posts()
    before = (events.t.copy(), events.x.copy(), events.mark("id").copy())
    world, again, other = draw(name, events), draw(name, events), draw(name, events, seed=1)
    np.testing.assert_array_equal(world.t, again.t)
    np.testing.assert_array_equal(world.x, again.x)
    assert not np.array_equal(world.t, other.t) or not np.array_equal(world.x, other.x)
    assert (np.diff(world.t) >= 0).all()
    assert world.t[0] >= CONTEXT.span.start
    assert world.t[-1] < CONTEXT.span.end
    assert UNIT.contains(world.x).all()
    assert world.parent is None
    assert (world.epoch, world.axes, world.authors) == (events.epoch, events.axes, events.authors)
    for left, right in zip(before, (events.t, events.x, events.mark("id")), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("name", NULLS)
def test_places_and_marks_stay_together(name: str) -> None:
    events, world = posts(), draw(name, posts())
    back = np.argsort(world.mark("id"))
    np.testing.assert_array_equal(world.x[back], events.x)
    np.testing.assert_array_equal(world.weight[back], events.weight)
    np.testing.assert_array_equal(world.author[back], events.author)


@given(
    t=st.lists(st.floats(0, 27.9), min_size=1, max_size=40),
    name=st.sampled_from(PERMUTING),
    seed=st.integers(0, 99),
)
def test_permutations_keep_the_times(t: list[float], name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    events = Events(
        np.sort(t), rng.uniform(size=(len(t), 2)), author=rng.integers(0, 3, len(t)), authors=("a", "b", "c")
    )
    np.testing.assert_array_equal(draw(name, events, seed).t, events.t)


def test_time_shuffle_breaks_the_link() -> None:
    events, world = posts(), draw("time-shuffle", posts())
    assert np.corrcoef(events.t, events.x[:, 0])[0, 1] > 0.9
    assert abs(np.corrcoef(world.t, world.x[:, 0])[0, 1]) < 0.15


def test_time_shuffle_permutes_uniformly() -> None:
    # three posts: each of the 6 orders comes up in about a sixth of 3,000 worlds; sd of a count ≈ √(3000·5/36) ≈ 20
    events = Events([1.0, 2.0, 3.0], np.array([[0.1, 0.5], [0.2, 0.5], [0.3, 0.5]]))
    world = NULLS["time-shuffle"].world(events, CONTEXT)
    rng = np.random.default_rng(0)
    orders = [tuple(world(rng).x[:, 0]) for _ in range(3000)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert max(abs(c - 500) for c in counts) < 80


def test_within_author_keeps_each_authors_times_and_places() -> None:
    events, world = posts(), draw("within-author", posts())
    for author in range(7):
        np.testing.assert_array_equal(np.sort(world.t[world.author == author]), events.t[events.author == author])
    assert (moves(world, events) != 0).mean() > 0.9


@pytest.mark.parametrize("null", ["within-author", "rotate"])
def test_one_author_is_as_none(null: str) -> None:
    alone, unknown = draw(null, posts(authors=1)), draw(null, replace(posts(), author=None, authors=()))
    np.testing.assert_array_equal(alone.x, unknown.x)
    np.testing.assert_array_equal(alone.t, unknown.t)
    assert not np.array_equal(alone.x, draw("time-shuffle", posts()).x)


def test_within_window_moves_no_post_to_another_window() -> None:
    events, world = posts(), draw("within-window", posts())
    # windows of 2 days aligned with day 15: …, [13, 15), [15, 17), …
    window = np.floor((events.t - 15) / 2)
    after = np.floor((events.t + moves(world, events) - 15) / 2)
    np.testing.assert_array_equal(window, after)
    assert (moves(world, events) != 0).mean() > 0.9


def test_rotate_shifts_each_author_by_one_offset() -> None:
    events, world = posts(), draw("rotate", posts())
    shift = moves(world, events) % 28
    offsets = []
    for author in range(7):
        own = shift[events.author == author]
        around = np.minimum(np.abs(own - own[0]), 28 - np.abs(own - own[0]))  # 27.999… and 0 are the same shift
        np.testing.assert_allclose(around, 0, atol=1e-9)
        offsets.append(own[0])
    assert len(np.unique(np.round(offsets, 6))) == 7


def test_rotate_without_authors_shifts_places() -> None:
    events = replace(posts(), author=None, authors=())
    cell = groups(events, UNIT)
    shift = np.round(moves(draw("rotate", events), events) % 28, 6) % 28
    assert len(np.unique(cell)) > 5
    assert len(np.unique(shift)) == len(np.unique(cell))


def test_groups() -> None:
    x = np.array([[0.0, 0.0], [0.09, 0.05], [1.0, 1.0], [0.0, 0.15]])
    plain = Events(np.arange(4.0), x)
    np.testing.assert_array_equal(groups(plain, UNIT), [0, 0, 2, 1])  # cells (0, 0), (0, 0), (9, 9), (0, 1)
    unknown = replace(plain, author=np.array([-1, -1, -1, -1]))
    np.testing.assert_array_equal(groups(unknown, UNIT), groups(plain, UNIT))
    some = replace(plain, author=np.array([5, -1, 2, 5]), authors=tuple("abcdef"))
    np.testing.assert_array_equal(groups(some, UNIT), [2, 0, 1, 2])
    high = Events(np.arange(4.0), np.column_stack([x, np.zeros((4, 3))]))
    np.testing.assert_array_equal(groups(high, Box((0,) * 5, (1,) * 5)), groups(plain, UNIT))
    line = Events(np.arange(3.0), np.array([0.01, 0.99, 0.02]))
    np.testing.assert_array_equal(groups(line, Box((0,), (1,))), [0, 1, 0])


def test_expected_counts_follow_trend_week_and_day() -> None:
    rng = np.random.default_rng(3)
    t = rng.uniform(0, 84, 400_000)
    rate = (1 + t / 84) / 2 * np.where(np.floor(t) % 7 == 2, 1, 0.5) * np.where(t % 1 < 0.5, 0.4, 1)
    t = t[rng.uniform(size=len(t)) < rate]
    edges, expected = expected_counts(t, Window(0.0, 84.0))
    assert (edges[0], edges[-1]) == (0.0, 84.0)
    assert expected.sum() == pytest.approx(len(t))
    assert (expected >= 0).all()
    middle = (edges[1:] + edges[:-1]) / 2
    busy = np.floor(middle) % 7 == 2
    assert expected[busy].mean() / expected[~busy].mean() == pytest.approx(2, rel=0.05)
    assert expected[middle % 1 < 0.5].sum() / expected[middle % 1 > 0.5].sum() == pytest.approx(0.4, rel=0.03)
    assert expected[middle > 70].sum() / expected[middle < 14].sum() == pytest.approx(
        (1 + 11 / 12) / (1 + 1 / 12), rel=0.05
    )


@pytest.mark.parametrize("duration", [0.01, 1.0, 3.0, 5000.0])
def test_expected_counts_of_any_span(duration: float) -> None:
    rng = np.random.default_rng(0)
    t = np.sort(100.3 + duration * rng.uniform(size=500) ** 2)
    edges, expected = expected_counts(t, Window(100.3, 100.3 + duration))
    assert expected.sum() == pytest.approx(500)
    assert (np.diff(edges) > 0).all()
    # half of the events fall into the first quarter of the span
    assert expected[edges[:-1] < 100.3 + duration / 4].sum() == pytest.approx(250, rel=0.15)


def test_background_follows_the_rate_without_bursts_or_drift() -> None:
    # bursts: every post is followed by two more within a minute, at its own place
    rng = np.random.default_rng(1)
    first = np.sort(rng.uniform(0, 27.9, 200))
    t = np.concatenate([first, first + 0.0005, first + 0.0007])
    place = np.tile(np.clip(first[:, None] / 28 + rng.normal(0, 0.05, (200, 2)), 0, 1), (3, 1))
    events = Events(t, place, marks=pa.table({"id": np.arange(600)}))
    world = NULLS["background"].world(events, CONTEXT)
    worlds = [world(np.random.default_rng(seed)) for seed in range(40)]
    assert np.quantile(np.diff(events.t), 0.5) < 0.001
    gaps = np.array([np.quantile(np.diff(w.t), 0.5) for w in worlds])
    assert gaps.mean() == pytest.approx(np.log(2) * 28 / 600, rel=0.2)  # median of an exponential
    assert abs(np.mean([np.corrcoef(w.t, w.x[:, 0])[0, 1] for w in worlds])) < 0.03


def test_analysed_leaves_out_what_no_backtest_sees() -> None:
    plan = Plan(train_start=5, test=Window(15, 20), step=1)
    inside, context = analysed(posts(), Box((0.0, 0.0), (0.5, 1.0)), plan)
    assert inside.t[-1] < 20
    assert inside.x[:, 0].max() <= 0.5
    assert context == Context(Box((0.0, 0.0), (0.5, 1.0)), Window(float(inside.t[0]), 20), 1, 15)
    with pytest.raises(ValueError, match="no events inside the domain"):
        analysed(posts(), Box((5.0, 5.0), (6.0, 6.0)), plan)


def test_refusals_say_what_is_wrong() -> None:
    here = posts(authors=1)
    with pytest.raises(ValueError, match="rotate shifts authors or places against each other, and here is only one"):
        draw("rotate", replace(here, x=np.full_like(here.x, 0.5)))
    with pytest.raises(ValueError, match="lie outside the analysed domain or span"):
        draw("time-shuffle", posts(), context=replace(CONTEXT, span=Window(0, 20)))
    with pytest.raises(ValueError, match="no events to make 'background' worlds of"):
        draw("background", posts().before(0))
    with pytest.raises(ValueError, match="no null 'shuffle'; there are: time-shuffle"):
        chosen_nulls(["shuffle"])
    with pytest.raises(ValueError, match="each only once"):
        chosen_nulls(["rotate", "rotate"])


def test_nulls_are_described() -> None:
    text = describe_nulls()
    assert max(len(line) for line in text.splitlines()) <= 110
    for null in NULLS.values():
        assert null.name in text
        assert null.claim.split()[-1] in text


def test_null_result_by_hand() -> None:
    # of 4 values 2 reach 3.0 (one ties): p = (1 + 2)/5; mean 2.75, sd of 1, 2, 3, 5 = √(8.75/3)
    result = NullResult("gain", "rotate", 3.0, (1.0, 2.0, 3.0, 5.0), 7.0)
    assert result.p_value == 0.6
    assert result.mean == 2.75
    assert result.sd == pytest.approx(math.sqrt(8.75 / 3))
    assert result.effect_size == pytest.approx(0.25 / math.sqrt(8.75 / 3))
    assert result.share_kept == pytest.approx(2.75 / 3)
    assert result == replace(result, seconds=9.0)
    keys = ["statistic", "observed", "null", "B", "null_mean", "null_sd", "effect_size", "p_value", "seconds"]
    assert list(result.to_json_dict()) == keys
    same = NullResult("gain", "rotate", 0.1 + 0.2, (0.3, 0.3))  # 0.30000000000000004 and 0.3 tie
    assert same.p_value == 1
    assert NullResult("gain", "rotate", 0.3, (0.3, 0.3)).to_json_dict()["effect_size"] is None
    assert math.isnan(NullResult("gain", "rotate", -1.0, (0.3, 0.2)).share_kept)
