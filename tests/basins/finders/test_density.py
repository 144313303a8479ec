"""The density finder: merge trees, the bandwidth, chance, five basins where five are planted, none where none are."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from basins.basin import Found
from basins.chance.noise import noise_level
from basins.chance.persistence import MergeTree
from basins.finders.density import DensityFinder, choose_bandwidth
from basins.space import Snapshot, Space
from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition
from stpp.simulation.worlds import WORLDS, simulate_world

SQUARE = Box((-6.0, -6.0), (6.0, 6.0))
WHOLE = Window(0.0, 59.0)


def neighbours(shape: tuple[int, ...]) -> Partition:
    return Partition.of_grid(Grid(Box((0.0,) * len(shape), tuple(map(float, shape))), shape))


def tree_of(field: Array) -> MergeTree:
    return MergeTree.of(field.ravel(), neighbours(field.shape).neighbours)


def random_field(seed: int, shape: tuple[int, ...], levels: int | None = None) -> Array:
    rng = np.random.default_rng(seed)
    return (
        rng.permutation(int(np.prod(shape))).reshape(shape).astype(float)
        if levels is None
        else rng.integers(levels, size=shape).astype(float)
    )


def places(n: int, d: int, seed: int, planted: tuple[float, ...] = ()) -> Events:
    """Even posts, and a blob of standard deviation 0.6 with as many at (c, …, c) for each c planted; over 56 days."""
    rng = np.random.default_rng(seed)
    x = [rng.uniform(-6, 6, (n, d)), *(rng.normal(c, 0.6, (n, d)) for c in planted)]
    return Events(rng.uniform(0, 56, n * len(x)), np.concatenate(x))


def found_in(events: Events, d: int, seed: int = 0, window: Window = WHOLE) -> tuple[Found, Snapshot]:
    rng = np.random.default_rng(seed)
    finder = DensityFinder(replicates=5, windows=100).fit(events, [window], Box((-6.0,) * d, (6.0,) * d), rng)
    snapshot = finder.fixed.see(events, window)
    return finder.find(snapshot, rng), snapshot


# -- merge trees ---------------------------------------------------------------------------------------------------


def test_a_merge_tree_by_hand() -> None:
    """Peaks 9, 7 and 6 with passes at 4 (between 6 and 7) and 2: 6 dies at 4 into 7, 7 dies at 2 into 9."""
    tree = tree_of(np.array([1.0, 9, 5, 2, 7, 4, 6, 3]))
    assert tree.cell.tolist() == [1, 4, 6]
    assert tree.birth.tolist() == [9, 7, 6]
    assert tree.death.tolist() == [1, 2, 4]
    assert tree.into.tolist() == [0, 0, 1]
    assert tree.slope.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert tree.basins(np.array([True, True, False])).tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert tree.basins(np.array([True, False, False])).tolist() == [0] * 8
    assert tree.basins(np.array([True, False, False]), ground=3.0).tolist() == [0, 0, 0, -1, -1, -1, -1, -1]
    assert tree.basins(np.array([False] * 3)).tolist() == [-1] * 8


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), shape=st.sampled_from([(40,), (7, 9), (12, 5), (4, 5, 3)]), ties=st.booleans())
def test_as_many_hills_are_alive_at_each_level_as_superlevel_sets_have_components(
    seed: int, shape: tuple[int, ...], ties: bool
) -> None:
    field = random_field(seed, shape, 6 if ties else None)
    tree, corners = tree_of(field), np.ones((3,) * len(shape))
    deaths = np.append(-np.inf, tree.death[1:])
    for level in np.unique(field):
        components = ndimage.label(field >= level, structure=corners)[1]
        assert ((tree.birth >= level) & (deaths < level)).sum() == components


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_persistence_scales_with_the_field_and_does_not_see_where_zero_is_or_how_axes_run(
    seed: int, scale: float, shift: float
) -> None:
    field = random_field(seed, (8, 9))
    expected = np.sort(tree_of(field).persistence)
    assert np.sort(tree_of(scale * field + shift).persistence) == pytest.approx(scale * expected)
    assert np.sort(tree_of(field.T[::-1].copy()).persistence) == pytest.approx(expected)
    assert expected[-1] == np.ptp(field)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.floats(0, 70))
def test_every_survivor_keeps_its_peak_and_all_cells_belong_to_one(seed: int, cut: float) -> None:
    tree = tree_of(random_field(seed, (9, 8)))
    alive = tree.persistence > cut
    owner = tree.basins(alive)
    assert (owner[tree.cell[alive]] == np.flatnonzero(alive)).all()
    assert alive[owner].all()
    for peak in np.flatnonzero(alive):  # basins hang together
        assert ndimage.label((owner == peak).reshape(9, 8), structure=np.ones((3, 3)))[1] == 1


# -- bandwidth and noise -------------------------------------------------------------------------------------------


def test_the_bandwidth_is_the_one_of_the_ladder_that_predicts_the_next_window_best() -> None:
    events, _ = simulate_world("static", 6000, 1)
    windows = list(WHOLE.rolling(14.0))
    partition = Partition.of_grid(Grid.over(SQUARE, 64))
    chosen = choose_bandwidth(events, windows, partition, np.random.default_rng(0))

    def score(bandwidth: float) -> float:
        total = 0.0
        for before, after in itertools.pairwise(windows):
            f = Space(partition, bandwidth).density(partition.totals(events.between(before).x))
            total += np.log(0.99 * f + 0.01 / SQUARE.volume)[partition.index(events.between(after).x)].sum()
        return total

    assert score(chosen) >= max(score(chosen * 2**0.25), score(chosen / 2**0.25))
    assert 0.2 < chosen < 0.6


def test_more_posts_get_a_narrower_bandwidth_and_weights_count() -> None:
    partition, rng = Partition.of_grid(Grid.over(SQUARE, 64)), np.random.default_rng(0)
    few, many = (choose_bandwidth(simulate_world("static", n, 0)[0], [WHOLE], partition, rng) for n in (300, 30_000))
    assert many < few
    events = places(400, 2, 0, planted=(2.0,))
    even = replace(events, weight=np.where(np.arange(len(events)) % 2 == 0, 1.0, 0.0))
    half = choose_bandwidth(even, [WHOLE], partition, np.random.default_rng(1))
    assert half == choose_bandwidth(even.take(even.weight > 0), [WHOLE], partition, np.random.default_rng(1))


@pytest.mark.parametrize("noise", [0.0, 0.15, 0.5])
def test_the_noise_level_is_that_of_the_even_posts(noise: float) -> None:
    rng, n = np.random.default_rng(3), 8000
    x = np.concatenate([SQUARE.sample(round(noise * n), rng), rng.normal(0, 0.8, (round((1 - noise) * n), 2))])
    snapshot = Space(Partition.of_grid(Grid.over(SQUARE, 64)), 0.3).see(Events(np.zeros(len(x)), x), WHOLE)
    assert noise_level(
        snapshot, snapshot.space.density, snapshot.space.partition.volumes(rng), rng
    ) * SQUARE.volume == pytest.approx(noise, rel=0.15, abs=1e-3)


# -- basins --------------------------------------------------------------------------------------------------------


def test_the_five_static_basins_are_found_where_they_are() -> None:
    events, truth = simulate_world("static", 20_000, 3)
    found, snapshot = found_in(events, 2)
    assert len(found.basins) == 5
    centres = np.array([basin["centre"][0] for basin in truth["basins"]])
    nearest = [np.hypot(*(centres - basin.centre).T).argmin() for basin in found.basins]
    assert sorted(nearest) == [0, 1, 2, 3, 4]
    assert all(np.hypot(*(centres[k] - basin.centre)) < 0.3 for k, basin in zip(nearest, found.basins, strict=True))
    assert all(basin.probability >= 0.8 for basin in found.basins)
    assert sum(basin.share for basin in found.basins) == pytest.approx(1 - WORLDS["static"].noise, abs=0.06)
    memberships = np.array([basin.membership for basin in found.basins])
    assert ((memberships > 0).sum(axis=0) <= 1).all()
    assert memberships.min() >= 0
    assert memberships.max() <= 1
    assert all(0 < basin.saddle < basin.peak for basin in found.basins)
    assert (snapshot.posts.x[snapshot.cell < 0].size) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("d", "n"), [(1, 400), (2, 50), (2, 2000), (3, 300)])
def test_even_posts_hold_no_basin(d: int, n: int) -> None:
    for seed in range(1 if d == 3 else 3):
        found, _ = found_in(places(n, d, seed), d, seed)
        assert found.basins == ()
        assert "thrown at random" in found.remark


def test_even_posts_of_ragged_weight_hold_no_basin() -> None:
    for seed in range(3):
        events = places(600, 2, seed)
        heavy = np.random.default_rng(seed).pareto(1.2, len(events)) + 1
        assert found_in(replace(events, weight=heavy), 2, seed)[0].basins == ()


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("planted", [(0.0,), (-2.5, 2.5)])
def test_blobs_in_noise_are_found_in_each_dimension(d: int, planted: tuple[float, ...]) -> None:
    found, _ = found_in(places(500, d, 1, planted), d)
    assert len(found.basins) == len(planted)
    assert sorted(float(basin.centre[0]) for basin in found.basins) == pytest.approx(sorted(planted), abs=0.3)
    assert all(0 <= basin.probability <= 1 for basin in found.basins)
    assert min(basin.probability for basin in found.basins) >= 0.8


@pytest.mark.slow
def test_a_shallow_basin_that_training_shows_is_found_in_short_windows_too() -> None:
    """The saddle between the basins at (−0.2, 2.5) and (2.2, 2.8) is nearly lost in the noise of 5,000 posts."""
    events, _ = simulate_world("static", 25_000, 5)
    windows, rng = list(WHOLE.rolling(59 / 5)), np.random.default_rng(0)
    finder = DensityFinder(replicates=0, windows=5).fit(events, windows[:3], SQUARE, rng)
    assert finder.known is not None
    assert len(finder.known) == 5
    strict = replace(finder, known=None)
    counts = np.array(
        [[len(f.find(f.fixed.see(events, window), rng).basins) for f in (finder, strict)] for window in windows]
    )
    assert (counts[:, 0] <= 5).all()
    assert counts[:, 0].sum() > counts[:, 1].sum()


def test_a_known_basin_that_has_died_is_not_found() -> None:
    alive, dead = places(400, 2, 0, planted=(-2.0, 2.5)), places(400, 2, 1, planted=(-2.0,))
    events = Events(np.append(alive.t, dead.t + 56), np.concatenate([alive.x, dead.x]))
    rng = np.random.default_rng(0)
    finder = DensityFinder(replicates=0).fit(events, [Window(0, 56)], SQUARE, rng)
    assert [len(finder.find(finder.fixed.see(events, Window(s, s + 56)), rng).basins) for s in (0, 56)] == [2, 1]


@pytest.mark.slow
def test_same_seed_same_basins_and_the_future_changes_nothing() -> None:
    events, _ = simulate_world("static", 4000, 0)
    window, training = Window(28.0, 42.0), list(Window(0.0, 28.0).rolling(7.0))
    late = events.t >= 42
    scrambled = replace(
        events,
        x=np.where(late[:, None], 5.5, events.x),
        weight=np.where(late, 100.0, events.weight),
    )
    untrained = replace(events, x=np.where((events.t >= 28)[:, None], -5.0, events.x))

    def run(some: Events) -> tuple[DensityFinder, Found]:
        finder = DensityFinder(replicates=5).fit(some, training, SQUARE, np.random.default_rng(7))
        return finder, finder.find(finder.fixed.see(some, window), np.random.default_rng(8))

    (finder, first), (again, second), (other, _) = run(events), run(scrambled), run(untrained)
    assert finder.fixed.bandwidth == again.fixed.bandwidth == other.fixed.bandwidth
    assert np.array_equal(finder.known, other.known)  # type: ignore[arg-type]
    assert len(first.basins) == len(second.basins) > 0
    for one, two in zip(first.basins, second.basins, strict=True):
        assert (one.membership == two.membership).all()
        assert (one.probability, one.mass, one.members) == (two.probability, two.mass, two.members)


# -- bad input -----------------------------------------------------------------------------------------------------


def test_windows_that_hold_nothing_hold_no_basin() -> None:
    events, rng = places(200, 2, 0, planted=(0.0,)), np.random.default_rng(0)
    finder = DensityFinder().fit(events, [WHOLE], SQUARE, rng)
    assert finder.find(finder.fixed.see(events, Window(100, 107)), rng) == Found(())
    weightless = replace(events, weight=np.zeros(len(events)))
    assert finder.find(finder.fixed.see(weightless, WHOLE), rng) == Found(())
    one = finder.fixed.see(events.take([0]), WHOLE)
    assert finder.find(one, rng).basins == ()


def test_all_posts_at_one_place_are_no_basin() -> None:
    """Copies of one post could have fallen anywhere together."""
    events = Events(np.linspace(0, 50, 300), np.tile([1.0, -2.0], (300, 1)))
    assert found_in(events, 2)[0].basins == ()


def copied(events: Events, seed: int) -> Events:
    """The same places, with 1 to 60 posts at each, four on average."""
    times = np.minimum(60, np.random.default_rng(seed).pareto(1.1, len(events)).astype(int) + 1)
    return events.take(np.repeat(np.arange(len(events)), times))


@pytest.mark.slow
def test_copies_at_one_place_make_no_basin_and_hide_none() -> None:
    assert sum(len(found_in(copied(places(500, 2, seed), seed), 2)[0].basins) > 0 for seed in range(8)) == 0
    found, _ = found_in(copied(places(500, 2, 1, (-2.5, 2.5)), 1), 2)
    assert sorted(float(basin.centre[0]) for basin in found.basins) == pytest.approx([-2.5, 2.5], abs=0.4)


def test_what_cannot_be_fitted_is_refused_in_one_line() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"density needs a grid.*take --method markov"):
        DensityFinder().fit(places(20, 4, 0), [WHOLE], Box((-6.0,) * 4, (6.0,) * 4), rng)
    with pytest.raises(ValueError, match="no posts with weight inside the domain"):
        DensityFinder().fit(places(20, 2, 0), [Window(100, 107)], SQUARE, rng)
    with pytest.raises(ValueError, match="no posts with weight inside the domain"):
        DensityFinder().fit(replace(places(20, 2, 0), weight=np.zeros(20)), [WHOLE], SQUARE, rng)
    with pytest.raises(ValueError, match="no space yet"):
        DensityFinder().find(Space(neighbours((5, 5)), 1.0).see(places(20, 2, 0), WHOLE), rng)


def test_a_single_training_post_is_enough_for_a_space() -> None:
    rng = np.random.default_rng(0)
    finder = DensityFinder().fit(places(1, 2, 0), [WHOLE], SQUARE, rng)
    assert finder.fixed.bandwidth == pytest.approx(12 / 8)
