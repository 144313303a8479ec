"""The consensus finder: what clusterings agree on, tested on posts that they never saw."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.metrics import adjusted_rand_score

from basins.basin import Found
from basins.chance.surface import Surface, predictive_bandwidth
from basins.finders.consensus import ConsensusFinder, majority, standing
from basins.space import Snapshot, Space
from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.partition import Partition
from stpp.simulation.worlds import simulate_world

BOX = Box((-6.0, -6.0), (6.0, 6.0))


def seen(
    events: Events, *, windows: int = 1, replicates: int = 16, landmarks: int = 300
) -> tuple[ConsensusFinder, Snapshot]:
    """A finder fitted to all of the events, and all of them as one window."""
    window = Window(0.0, float(np.ceil(events.t[-1] + 1e-9)) + 1)
    box = BOX if events.d == 2 else Box((-6.0,) * events.d, (6.0,) * events.d)
    finder = ConsensusFinder(windows=windows, replicates=replicates, landmarks=landmarks)
    fitted = finder.fit(events, [window], box, np.random.default_rng(0))
    return fitted, fitted.fixed.see(events, window)


def labels(found: Found, snapshot: Snapshot) -> Array:
    """The basin of each post, −1 for noise."""
    memberships = np.array([basin.membership for basin in found.basins])
    return np.where(memberships.max(axis=0) >= 0.5, memberships.argmax(axis=0), -1)[snapshot.cell]


def even(n: int, d: int = 2, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    return Events(np.sort(rng.uniform(0, 10, n)), rng.uniform(-6, 6, (n, d)))


# -- what it finds -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("world", "score"), [("static", 0.68), ("unequal", 0.75)])
def test_planted_basins_are_found(world: str, score: float) -> None:
    events, truth = simulate_world(world, 7000, 1)
    finder, snapshot = seen(events)
    found = finder.find(snapshot, np.random.default_rng(1))
    assert len(found.basins) == len(truth["basins"])
    centres = np.array([basin["centre"][0] for basin in truth["basins"]])
    distance = np.linalg.norm(centres[:, None] - [basin.centre for basin in found.basins], axis=2)
    assert (distance.min(axis=1) < 0.5).all()
    assert adjusted_rand_score(np.asarray(truth["labels"])[snapshot.rows], labels(found, snapshot)) > score


@pytest.mark.slow
def test_memberships_and_probabilities_are_shares() -> None:
    finder, snapshot = seen(simulate_world("static", 4000, 2)[0])
    found = finder.find(snapshot, np.random.default_rng(1))
    total = np.sum([basin.membership for basin in found.basins], axis=0)
    assert found.basins
    assert (total <= 1 + 1e-9).all()
    for basin in found.basins:
        assert (basin.membership >= 0).all()
        assert 0.5 < basin.probability <= 1
        assert basin.saddle < basin.peak
    masses = [basin.mass for basin in found.basins]
    assert masses == sorted(masses, reverse=True)


def test_one_basin_in_noise_is_one() -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(1.0, 0.7, (1500, 2)), rng.uniform(-6, 6, (500, 2))])
    finder, snapshot = seen(Events(np.sort(rng.uniform(0, 10, 2000)), rng.permutation(x)))
    (basin,) = finder.find(snapshot, np.random.default_rng(0)).basins
    np.testing.assert_allclose(basin.centre, 1.0, atol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 3])
def test_two_basins_in_other_dimensions(d: int) -> None:
    rng = np.random.default_rng(d)
    x = np.concatenate([rng.normal(-2.5, 0.6, (900, d)), rng.normal(2.5, 0.6, (900, d)), rng.uniform(-6, 6, (200, d))])
    finder, snapshot = seen(Events(np.sort(rng.uniform(0, 10, 2000)), rng.permutation(x)), landmarks=150, windows=20)
    found = finder.find(snapshot, np.random.default_rng(0))
    assert sorted(round(float(basin.centre[0])) for basin in found.basins) in ([-3, 2], [-3, 3], [-2, 2], [-2, 3])


@pytest.mark.slow
def test_even_posts_have_no_basin() -> None:
    for seed in range(6):
        finder, snapshot = seen(even(1500, seed=seed), replicates=8, windows=20)
        found = finder.find(snapshot, np.random.default_rng(seed))
        assert not found.basins
        assert "beyond chance" in found.remark


def test_weight_is_what_counts() -> None:
    """Of two equal blobs one has posts of next to no weight: there is one basin."""
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.normal(-2.5, 0.6, (800, 2)), rng.normal(2.5, 0.6, (800, 2)), rng.uniform(-6, 6, (400, 2))])
    weight = np.concatenate([np.ones(800), np.full(800, 1e-6), np.ones(400)])
    finder, snapshot = seen(Events(np.arange(2000) / 200, x, weight))
    (basin,) = finder.find(snapshot, np.random.default_rng(0)).basins
    np.testing.assert_allclose(basin.centre, -2.5, atol=0.3)


def test_same_seed_same_basins_and_nothing_is_changed() -> None:
    finder, snapshot = seen(simulate_world("static", 2000, 5)[0], replicates=6)
    before = snapshot.posts.x.copy(), snapshot.posts.weight.copy()
    one, two = (finder.find(snapshot, np.random.default_rng(7)) for _ in range(2))
    assert len(one.basins) == len(two.basins) > 0
    for a, b in zip(one.basins, two.basins, strict=True):
        np.testing.assert_array_equal(a.membership, b.membership)
        assert (a.probability, a.members) == (b.probability, b.members)
    np.testing.assert_array_equal(before[0], snapshot.posts.x)
    np.testing.assert_array_equal(before[1], snapshot.posts.weight)


def test_only_training_windows_fix_the_space() -> None:
    events = even(600)
    training = [Window(0.0, 3.0), Window(3.0, 6.0)]
    moved = Events(events.t, np.where(events.t[:, None] >= 6, -events.x / 3, events.x))
    one, two = (ConsensusFinder(landmarks=50).fit(e, training, BOX, np.random.default_rng(0)) for e in (events, moved))
    np.testing.assert_array_equal(one.fixed.partition.centres, two.fixed.partition.centres)
    assert one.fixed.bandwidth == two.fixed.bandwidth


# -- bad input -----------------------------------------------------------------------------------------------------


def test_windows_with_too_little_say_so() -> None:
    finder, _ = seen(even(600), landmarks=50)
    rng = np.random.default_rng(0)
    nothing = finder.fixed.see(even(600), Window(20.0, 30.0))
    assert finder.find(nothing, rng) == Found((), "posts at 0 places in the window; HDBSCAN needs at least 40")
    one_place = finder.fixed.see(Events(np.linspace(0, 9, 100), np.ones((100, 2))), Window(0.0, 10.0))
    assert not finder.find(one_place, rng).basins
    assert "one microstate" in finder.find(one_place, rng).remark
    weightless = finder.fixed.see(Events(np.linspace(0, 9, 100), even(100).x, np.zeros(100)), Window(0.0, 10.0))
    assert finder.find(weightless, rng).remark.startswith("posts at 0 places")
    few_weigh = Events(np.linspace(0, 9, 100), even(100).x, np.where(np.arange(100) < 50, 1.0, 0.0))
    assert not finder.find(finder.fixed.see(few_weigh, Window(0.0, 10.0)), rng).basins


def test_two_places_only() -> None:
    x = np.repeat([[1.0, 1.0], [2.0, 2.0]], 100, axis=0)
    finder, snapshot = seen(Events(np.arange(200) / 20, x))
    assert len(finder.fixed.partition) == 2
    assert len(finder.find(snapshot, np.random.default_rng(0)).basins) <= 2


def test_without_training_posts_it_refuses() -> None:
    with pytest.raises(ValueError, match="no training windows"):
        ConsensusFinder().fit(even(100), [], BOX, np.random.default_rng(0))
    with pytest.raises(ValueError, match="no posts inside"):
        ConsensusFinder().fit(even(100), [Window(50.0, 60.0)], BOX, np.random.default_rng(0))
    _, snapshot = seen(even(100), landmarks=20)
    with pytest.raises(ValueError, match="fit it to training windows"):
        ConsensusFinder().find(snapshot, np.random.default_rng(0))


# -- its parts -----------------------------------------------------------------------------------------------------


def test_majority_by_hand() -> None:
    """Regions {0,1} and {2,3} in two of three replicates, {0,1,2,3} in the third: two basins of probability 2/3."""
    found = majority([np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]), np.array([0, 0, 0, 0])], np.ones(4))
    both = sorted(found.any(axis=2).mean(axis=1).tolist())
    assert len(found) in (1, 2)
    assert both[-1] >= 2 / 3
    assert majority([np.full(4, -1)] * 3, np.ones(4)).shape == (0, 3, 4)
    assert len(majority([np.array([0, 0, 1, 1])] + [np.full(4, -1)] * 3, np.ones(4))) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(2, 12), st.integers(0, 2**31))
def test_regions_of_the_majority_are_side_by_side_in_each_replicate(replicates: int, cells: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = majority([rng.integers(-1, 3, cells) for _ in range(replicates)], rng.uniform(0.1, 1, cells))
    assert (found.sum(axis=0) <= 1).all()
    assert (found.any(axis=2).mean(axis=1) > 0.5).all()


def line(density: list[float]) -> Surface:
    """A row of microstates on a line, their density given."""
    centres = np.arange(len(density), dtype=float)[:, None]
    partition = Partition(Box((-0.5,), (len(density) - 0.5,)), centres)
    share = np.full(len(density), 1 / len(density))
    return Surface(Space(partition, 1.0), np.array(density), np.array(density), share, 0.1)


def test_growing_by_hand() -> None:
    """Tops grow down to their pass; what lies below twice the noise (0.1) belongs to none."""
    surface = line([0.15, 1.0, 3.0, 1.5, 0.9, 2.0, 0.5, 0.12])
    tops = np.array([-1, -1, 7, -1, -1, 4, -1, -1])
    grown = surface.grown(tops)
    np.testing.assert_array_equal(grown[[1, 2, 3]], 7)
    np.testing.assert_array_equal(grown[[5, 6]], 4)
    np.testing.assert_array_equal(grown[[0, 7]], -1)


def test_ways_out_by_hand() -> None:
    surface = line([0.15, 1.0, 3.0, 1.5, 0.9, 2.0, 0.5, 0.12])
    high, low = surface.ways_out(np.array([-1, 0, 0, 0, -1, 1, 1, -1]), [0, 1])
    assert high is not None
    assert (high.peak, high.lowest, high.into) == (2, None, None)
    assert low is not None
    assert low.peak == 5
    assert low.lowest is not None
    assert surface.density[low.lowest] < 2.0
    assert low.into == 0


def test_the_comparison_of_two_places_is_standard_normal_on_even_posts() -> None:
    finder, snapshot = seen(even(400), landmarks=60)
    rows, rng = np.arange(400), np.random.default_rng(1)
    drawn = []
    for _ in range(400):
        events = Events(snapshot.posts.t, BOX.sample(400, rng))
        posts = Snapshot(snapshot.window, events, rows, np.ones(400), finder.fixed)
        drawn.append(standing(posts, rows, *rng.choice(len(finder.fixed.partition), 2, replace=False), 1.0))
    assert kstest(drawn, "norm").pvalue > 0.001
    assert np.std(drawn) == pytest.approx(1.0, abs=0.12)


def test_the_predictive_bandwidth_follows_the_scale() -> None:
    rng = np.random.default_rng(2)
    parts = [Events(np.arange(400.0), rng.normal(0, 1.0, (400, 2))) for _ in range(3)]
    narrow = [Events(part.t, part.x / 4) for part in parts]
    widths = [predictive_bandwidth(p, BOX, np.random.default_rng(0)) for p in (narrow, parts)]
    assert all(a < b for a, b in pairwise(widths))
    assert 0.15 < widths[1] < 0.8
    assert predictive_bandwidth([], BOX, rng) == pytest.approx(1.2)
