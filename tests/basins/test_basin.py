"""Spaces, snapshots and what follows from a membership: centre, mass, peak, the way out, the most central posts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basins.basin import describe, highest_way_out
from basins.space import Space
from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition

BOX = Box((0.0, 0.0), (10.0, 10.0))
GRID = Partition.of_grid(Grid.over(BOX, 50))
LINE = Partition.of_grid(Grid.over(Box((0.0,), (7.0,)), 7))


def posts(n: int = 400, seed: int = 0, d: int = 2) -> Events:
    rng = np.random.default_rng(seed)
    return Events(rng.uniform(0, 20, n), rng.uniform(-1, 11, (n, d)), rng.uniform(0.5, 2, n))


def test_a_density_integrates_to_one_and_even_posts_look_even_at_the_walls() -> None:
    space = Space(GRID, 1.5)
    totals = np.random.default_rng(0).uniform(size=len(GRID))
    assert space.density(totals).sum() * GRID.grid.cell_volume == pytest.approx(1.0)  # type: ignore[union-attr]
    assert space.density(np.ones(len(GRID))) == pytest.approx(np.full(len(GRID), 1 / BOX.volume))
    assert (space.density(np.zeros(len(GRID))) == 0).all()


def test_the_density_of_landmarks_is_the_sum_of_the_kernels_of_the_posts_over_what_of_them_lies_inside() -> None:
    events, centres, box = (
        posts(40, d=5),
        np.random.default_rng(0).uniform(0, 10, (30, 5)),
        Box((0.0,) * 5, (10.0,) * 5),
    )
    snapshot = Space(Partition(box, centres), 3.0).see(events, Window(0, 20))
    apart = ((centres[:, None] - snapshot.posts.x) ** 2).sum(axis=2)
    kernels = np.exp(-apart / (2 * 3.0**2)) / (2 * np.pi * 3.0**2) ** 2.5 / box.kernel_mass(centres, 3.0)[:, None]
    weight = snapshot.posts.weight
    assert snapshot.density == pytest.approx(kernels @ weight / weight.sum())
    with pytest.raises(ValueError, match="kernel_density"):
        snapshot.space.density(snapshot.totals)
    assert not snapshot.space.see(events, Window(30, 31)).density.any()


def test_posts_at_the_same_but_for_rounding_are_one_place() -> None:
    x = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [1.0 + 1e-12, 2.0], [3.0, 2.0], [1.0, 2.001]])
    snapshot = Space(GRID, 1.0).see(Events(np.arange(6.0), x, np.array([1.0, 2, 3, 4, 5, 6])), Window(0, 6))
    places = snapshot.places
    assert places.x.tolist() == x[[0, 1, 4, 5]].tolist()
    assert places.of_post.tolist() == [0, 1, 0, 0, 2, 3]
    assert places.weight.tolist() == [8, 2, 5, 6]
    assert places.cell.tolist() == snapshot.cell[[0, 1, 4, 5]].tolist()
    assert places.effective == pytest.approx(21**2 / (64 + 4 + 25 + 36))
    assert len(Space(GRID, 1.0).see(posts(), Window(30, 31)).places) == 0


def test_copies_are_redrawn_together() -> None:
    events = Events(np.linspace(0, 1, 100), np.tile([5.0, 5.0], (100, 1)))
    snapshot, rng = Space(GRID, 1.0).see(events, Window(0, 2)), np.random.default_rng(0)
    assert {snapshot.replicate(rng).sum() % 100 for _ in range(20)} == {0}


def test_a_window_sees_its_posts_inside_the_box_and_with_a_half_life_earlier_ones_too() -> None:
    events, space = posts(), Space(GRID, 1.0)
    window = Window(10.0, 15.0)
    own = space.see(events, window)
    assert len(own.posts) == len(events.between(window).inside(BOX))
    assert (events.t[own.rows] == own.posts.t).all()
    assert own.totals.sum() == pytest.approx(own.posts.weight.sum())
    decayed = space.see(events, window, half_life=5.0)
    assert (decayed.posts.t < 15).all()
    assert decayed.posts.t.min() < 10
    assert decayed.posts.weight == pytest.approx(
        events.weight[decayed.rows] * 0.5 ** ((15 - events.t[decayed.rows]) / 5)
    )
    assert space.see(events, Window(30.0, 31.0)).totals.sum() == 0


def test_replicates_vary_as_poisson_counts() -> None:
    snapshot, rng = Space(GRID, 1.0).see(posts(), Window(0, 20)), np.random.default_rng(1)
    drawn = np.array([snapshot.replicate(rng).sum() for _ in range(400)])
    assert drawn.mean() == pytest.approx(snapshot.totals.sum(), rel=0.02)
    assert drawn.var() == pytest.approx((snapshot.posts.weight**2).sum(), rel=0.35)


def test_a_basin_follows_from_its_membership() -> None:
    x = np.array([[1.0, 1.0], [1.2, 1.0], [1.1, 1.4], [8.0, 8.0], [9.0, 8.0], [5.0, 1.0]])
    events = Events(np.arange(6.0), x, np.array([1.0, 2.0, 1.0, 3.0, 3.0, 1.0]))
    snapshot = Space(GRID, 0.5).see(events, Window(0, 6))
    low, high = (GRID.centres.max(axis=1) < 3), (GRID.centres.min(axis=1) > 6)
    little, big = describe(snapshot, np.array([0.8 * low, high, 0.0 * low]), np.array([0.9, 0.7, 1.0]))[::-1]
    assert (big.id, little.id) == (0, 1)
    assert (big.mass, little.mass) == (6.0, pytest.approx(3.2))  # 0.8 of weights 1 + 2 + 1
    assert (big.share, little.share) == (pytest.approx(6 / 11), pytest.approx(3.2 / 11))
    assert big.centre.tolist() == [8.5, 8.0]
    assert little.centre == pytest.approx([1.125, 1.1])  # weights 1, 2, 1
    # The density is highest in the cell of (1.1, 1.1); squared distances to its centre are .02, .02 and .09.
    assert little.members == (1, 0, 2)  # equally near: the one of most weight first
    assert (big.posts, little.posts) == (2, 3)
    assert (big.probability, little.probability) == (0.7, 0.9)
    assert little.peak == pytest.approx(snapshot.density[low].max())
    assert describe(snapshot, np.zeros((1, len(GRID))), np.ones(1)) == ()


def test_the_easiest_way_out_by_hand() -> None:
    # peak 9 in cell 1; to the left over cell 0 to nowhere; to the right down to 3, and up again: the pass is 3
    density = np.array([1.0, 9.0, 5.0, 3.0, 4.0, 8.0, 2.0])
    region = np.array([1, 1, 1, 1, 0, 0, 0], dtype=bool)
    assert highest_way_out(density, region, LINE.neighbours) == 3.0
    assert highest_way_out(density, ~region, LINE.neighbours) == 3.0  # from 8 over 4 to the cell of 3
    assert highest_way_out(density, np.ones(7, dtype=bool), LINE.neighbours) == 0.0
    assert highest_way_out(density, np.zeros(7, dtype=bool), LINE.neighbours) == 0.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.floats(0.1, 0.9))
def test_the_pass_is_the_highest_level_at_which_the_peak_is_joined_to_the_outside(seed: int, cut: float) -> None:
    from scipy.ndimage import label

    rng = np.random.default_rng(seed)
    small = Partition.of_grid(Grid.over(BOX, 8))
    density, region = rng.permutation(64) + 1.0, rng.uniform(size=64) < cut
    if not region.any() or region.all():
        return
    peak = int(np.flatnonzero(region)[np.argmax(density[region])])
    levels = []
    for level in np.sort(density):
        parts = label((density >= level).reshape(8, 8), np.ones((3, 3)))[0].ravel()
        if parts[peak] and (parts[~region] == parts[peak]).any():
            levels.append(level)
    assert highest_way_out(density, region, small.neighbours) == (max(levels) if levels else 0.0)
