"""Partitions: every place belongs to one cell, neighbours are mutual, landmarks come from the places they are given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpp.domain import Box, Grid
from stpp.partition import Partition

RNG = np.random.default_rng


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), d=st.integers(1, 6), n=st.integers(1, 40))
def test_each_place_belongs_to_the_nearest_landmark(seed: int, d: int, n: int) -> None:
    rng, box = RNG(seed), Box((-1.0,) * d, (1.0,) * d)
    x = rng.uniform(-1.2, 1.2, (60, d))
    if not box.contains(x).any():
        return
    cells = Partition.around_landmarks(x, n, box, rng)
    assert 1 <= len(cells) <= n
    found = cells.index(x)
    apart = ((x[:, None] - cells.centres) ** 2).sum(axis=2)
    inside = box.contains(x)
    assert (found[~inside] == -1).all()
    assert apart[inside, found[inside]] == pytest.approx(apart[inside].min(axis=1), rel=1e-9, abs=1e-12)
    assert cells.totals(x).sum() == inside.sum()
    weight = rng.uniform(size=len(x))
    assert cells.totals(x, weight).sum() == pytest.approx(weight[inside].sum())


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_cells_of_a_grid_and_their_neighbours(d: int) -> None:
    grid = Grid(Box((0.0,) * d, tuple(float(k + 3) for k in range(d))), tuple(range(3, 3 + d)))  # cells of side 1
    cells = Partition.of_grid(grid)
    assert len(cells) == grid.cells
    assert cells.index(cells.centres).tolist() == list(range(grid.cells))
    near = cells.neighbours
    assert (near != near.T).nnz == 0
    assert near.diagonal().sum() == 0
    corner, middle = near[[0]], near[[int(cells.index(np.full((1, d), 1.5))[0])]]
    assert corner.nnz == 2**d - 1
    assert middle.nnz == 3**d - 1
    assert middle.data.min() == pytest.approx(1.0)
    assert middle.data.max() == pytest.approx(np.sqrt(d))


def test_neighbours_of_landmarks_are_mutual_and_one_landmark_has_none() -> None:
    box = Box((0.0,) * 5, (1.0,) * 5)
    near = Partition.around_landmarks(RNG(0).uniform(size=(300, 5)), 40, box, RNG(1)).neighbours
    assert abs(near - near.T).max() < 1e-12
    assert np.diff(near.indptr).min() >= 12
    assert Partition.around_landmarks(np.full((50, 5), 0.5), 40, box, RNG(1)).neighbours.nnz == 0


@pytest.mark.slow
def test_landmarks_are_the_same_for_the_same_seed_and_need_a_place_inside() -> None:
    box, x = Box((0.0, 0.0), (1.0, 1.0)), RNG(0).uniform(size=(2000, 2))
    one, two = (Partition.around_landmarks(x, 100, box, RNG(3)).centres for _ in range(2))
    assert one.tobytes() == two.tobytes()
    with pytest.raises(ValueError, match="widen the box"):
        Partition.around_landmarks(x + 5, 10, box, RNG(0))


def test_the_volumes_of_cells_are_shares_of_the_box() -> None:
    grid = Partition.of_grid(Grid(Box((0.0, 0.0), (1.0, 2.0)), (4, 5)))
    assert grid.volumes(RNG(0)) == pytest.approx(np.full(20, 1 / 20))
    line = Partition(Box((0.0,), (10.0,)), np.array([[1.0], [3.0], [9.0], [9.0]]))  # borders at 2 and 6
    held = line.volumes(RNG(0))
    assert held[:2] == pytest.approx([0.2, 0.4], abs=0.005)
    assert held[2:].sum() == pytest.approx(0.4, abs=0.005)
    assert held.sum() == pytest.approx(1)
    assert held.min() > 0
