"""Pairs close in space and time: equal to brute force and to pointpats, exact moments, calibrated and powerful."""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.nulls.interaction import (
    Knox,
    ModifiedKnox,
    close_scales,
    knox,
    knox_test,
    modified_knox,
    time_neighbours,
)
from stpp.events import Events
from stpp.simulation.branching import simulate_hawkes

# (distance, delay) → Knox, modified Knox of golden_events(), worked out by pointpats 2.5.5
GOLDEN = {
    (3.0, 2.0): (20, -7.946308724832214),
    (5.0, 0.0): (14, -1.4966442953020138),
    (7.5, 10.0): (568, -15.456375838926192),
}


def golden_events() -> Events:
    """Whole numbers, so that many pairs lie exactly at the limits, at the same place or at the same time."""
    rng = np.random.default_rng(42)
    x = rng.integers(0, 30, size=(150, 2)).astype(float)
    return Events(np.sort(rng.integers(0, 60, size=150)).astype(float), x)


def close(events: Events, distance: float, delay: float) -> tuple[np.ndarray, np.ndarray]:
    """The two n × n matrices that the module never builds."""
    square = ((events.x[:, None] - events.x) ** 2).sum(axis=2)
    off = ~np.eye(len(events), dtype=bool)
    return (square <= distance**2) & off, (np.abs(events.t[:, None] - events.t) <= delay) & off


def no_interaction(n: int, rng: np.random.Generator) -> Events:
    return Events(np.sort(rng.uniform(0, 100, n)), rng.normal(size=(n, 2)))


@pytest.mark.slow
@given(
    n=st.integers(2, 40),
    d=st.integers(1, 3),
    span=st.integers(1, 12),
    distance=st.integers(0, 5),
    delay=st.integers(0, 4),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=150)
def test_equal_to_all_pairs(n: int, d: int, span: int, distance: int, delay: int, seed: int) -> None:
    """Whole numbers put pairs exactly on the limits, which count, and on bucket borders."""
    rng = np.random.default_rng(seed)
    events = Events(rng.integers(0, span, n).astype(float), rng.integers(0, span, (n, d)).astype(float))
    space, time = close(events, distance, delay)
    assert knox(events, distance, delay) == (space & time).sum() / 2
    chance = (space.sum(axis=1) * time.sum(axis=1)).sum() / (n - 1)
    assert modified_knox(events, distance, delay) == pytest.approx(((space & time).sum() - chance) / 2)
    np.testing.assert_array_equal(time_neighbours(events.t, delay), time.sum(axis=1))


def test_equal_to_all_pairs_over_many_buckets() -> None:
    """Clusters, an outlier and 1,500 events: buckets full and empty."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 2)) * 0.01 + rng.integers(0, 6, size=(1500, 2)) * 0.1
    x[7] = (50.0, -3.0)
    events = Events(np.sort(rng.exponential(5.0, 1500)), x)
    for distance, delay in ((0.003, 0.5), (0.05, 2.0), (0.31, 0.01), (200.0, 0.2)):
        space, time = close(events, distance, delay)
        assert knox(events, distance, delay) == (space & time).sum() // 2


def test_equal_to_pointpats() -> None:
    events = golden_events()
    for (distance, delay), (count, modified) in GOLDEN.items():
        assert knox(events, distance, delay) == count
        assert modified_knox(events, distance, delay) == pytest.approx(modified, abs=1e-10)


@pytest.mark.filterwarnings("ignore")
def test_equal_to_pointpats_itself() -> None:
    pointpats = pytest.importorskip("pointpats", reason="pip install pointpats to compare with it")
    rng = np.random.default_rng(8)
    events = no_interaction(300, rng)
    for distance, delay in ((0.2, 3.0), (0.7, 11.0)):
        x, t = events.x.copy(), events.t[:, None].copy()
        assert knox(events, distance, delay) == pointpats.knox(x, t, distance, delay, permutations=0)["stat"]
        theirs = pointpats.modified_knox(x, t, distance, delay, permutations=0)
        assert modified_knox(events, distance, delay) == pytest.approx(float(theirs), abs=1e-9)


def test_moments_are_those_of_all_permutations() -> None:
    """Six events have 720 orders of their times: mean and variance by listing them all."""
    rng = np.random.default_rng(3)
    events = Events(np.array([0.0, 1.0, 1.5, 4.0, 4.2, 9.0]), rng.uniform(size=(6, 2)))
    distances, delays = (0.3, 0.6), (1.0, 3.0)
    counts = []
    for order in itertools.permutations(range(6)):
        shuffled = Events(events.t, events.x[list(order)])
        within = np.array([[knox(shuffled, a, b) for b in delays] for a in distances])
        counts.append(np.diff(np.diff(within, axis=0, prepend=0), axis=1, prepend=0))
    found = knox_test(events, distances, delays, permutations=1, rng=rng)
    np.testing.assert_allclose(found.expected, np.mean(counts, axis=0), atol=1e-12)
    np.testing.assert_allclose(found.sd, np.std(counts, axis=0), atol=1e-12)
    np.testing.assert_array_equal(found.pairs, counts[0])


def test_bands_add_up_and_permutations_match_their_moments() -> None:
    rng = np.random.default_rng(5)
    events = no_interaction(400, rng)
    table = knox_test(events, (0.2, 0.5, 1.0), (2.0, 10.0), permutations=400, rng=rng)
    assert table.pairs.sum() == knox(events, 1.0, 10.0)
    assert table.pairs[:2, :1].sum() == knox(events, 0.5, 2.0)
    error = table.permuted.mean(axis=0) - table.expected
    assert (np.abs(error) < 4 * table.sd / np.sqrt(400)).all()
    np.testing.assert_allclose(table.permuted.std(axis=0), table.sd, rtol=0.2)
    assert table.lines()[0].startswith("within 0.2 map units and within 2 days: ")
    assert table.lines()[-1].startswith("over 0.5 to 1 map units and over 2 days to 10 days: ")


@pytest.mark.slow
def test_no_interaction_gives_uniform_p_values_and_excitation_is_found() -> None:
    rng = np.random.default_rng(11)
    p = [
        knox_test(no_interaction(150, rng), 0.4, 5.0, permutations=99, rng=rng).p_value[0, 0] + rng.uniform(-0.01, 0)
        for _ in range(200)
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    found = 0
    for seed in range(20):
        events, _ = simulate_hawkes(500, seed, branching=0.3, duration=200.0)
        distance, delay = close_scales(events)
        found += knox_test(events, distance, delay, permutations=99, rng=rng).p_value[0, 0] <= 0.05
    assert found == 20


def test_the_default_scales_take_the_closest_percent() -> None:
    events = no_interaction(1000, np.random.default_rng(1))
    distance, delay = close_scales(events)
    assert (distance, delay) == close_scales(events)
    pairs = 1000 * 999
    assert close(events, distance, delay)[0].sum() / pairs == pytest.approx(0.01, abs=0.003)
    assert close(events, distance, delay)[1].sum() / pairs == pytest.approx(0.01, abs=0.003)
    with pytest.raises(ValueError, match="all 3 events share one place"):
        close_scales(Events(np.arange(3.0), np.zeros((3, 2))))


def test_statistics_are_values_that_travel() -> None:
    """Parallel shuffles send statistics to other processes and compare the names they come back under."""
    events = golden_events()
    for statistic in (Knox(3.0, 2.0), ModifiedKnox(3.0, 2.0)):
        copy = pickle.loads(pickle.dumps(statistic))
        assert copy == statistic
        assert copy(events) == statistic(events)
    assert Knox(3.0, 1.0)(events) == {"Knox at 3 map units, 1 day": float(knox(events, 3.0, 1.0))}
    assert list(ModifiedKnox(0.5, 0.25)(events)) == ["modified Knox at 0.5 map units, 6 hours"]


def test_same_seed_same_result_and_the_events_stay_as_they_are() -> None:
    events = golden_events()
    before = events.t.tobytes(), events.x.tobytes()
    first, second = (knox_test(events, 3.0, 2.0, permutations=30, rng=np.random.default_rng(2)) for _ in "ab")
    np.testing.assert_array_equal(first.permuted, second.permuted)
    assert (events.t.tobytes(), events.x.tobytes()) == before
    stored = json.loads(json.dumps(first.to_json_dict()))
    assert stored["pairs"] == [[20]]
    assert stored["p_value"] == [[pytest.approx(float(first.p_value[0, 0]))]]


def test_pairs_that_cannot_be_close_are_none_and_bad_input_is_named() -> None:
    rng = np.random.default_rng(0)
    events = no_interaction(10, rng)
    empty = knox_test(events, 0.0, 0.0, permutations=9, rng=rng)
    assert empty.pairs.item() == 0
    assert empty.p_value.item() == 1.0
    assert empty.to_json_dict()["z"] == [[None]]
    assert "none expected" in empty.lines()[0]
    assert knox(events.rows(0, 0), 1.0, 1.0) == 0
    with pytest.raises(ValueError, match="at least 4 events, got 3"):
        knox_test(events.rows(0, 3), 1.0, 1.0, rng=rng)
    with pytest.raises(ValueError, match="distance must be ≥ 0"):
        knox_test(events, (0.2, 0.1), 1.0, rng=rng)
    with pytest.raises(ValueError, match="needs 2 events, got 1"):
        modified_knox(events.rows(0, 1), 1.0, 1.0)
    for count in (knox, modified_knox):
        for distance, delay in ((-1.0, 1.0), (np.nan, 1.0), (1.0, -1.0), (1.0, np.inf)):
            with pytest.raises(ValueError, match="must be ≥ 0"):
                count(events, distance, delay)
