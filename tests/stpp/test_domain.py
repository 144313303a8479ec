"""The box and the grid: edges, volumes, what belongs to which cell, kernel mass at the boundary."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from stpp.domain import Box, Grid, relative_density

UNIT = Box((0.0, 0.0), (1.0, 1.0))

# -- Box -----------------------------------------------------------------------------------------------------------


def test_box_measures() -> None:
    box = Box((-1, 0), (1, 3))
    assert (box.d, box.volume, box.widths.tolist()) == (2, 6.0, [2, 3])
    assert Box.from_flat(box.to_list()) == box
    assert box.to_list() == [-1, 1, 0, 3]


def test_a_box_is_closed() -> None:
    places = [[0, 0], [1, 1], [0.5, 1.0], [np.nextafter(1, 2), 0.5], [0.5, -1e-300], [np.nan, 0.5]]
    assert UNIT.contains(places).tolist() == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ((0.0,), (0.0,), "box axis 0 runs from 0 to 0; it needs low < high, both finite"),
        ((0.0, 2.0), (1.0, -3.0), "box axis 1 runs from 2 to -3"),
        ((0.0,), (math.inf,), "box axis 0 runs from 0 to inf"),
        ((math.nan,), (1.0,), "box axis 0 runs from nan to 1"),
        ((0.0, 0.0), (1.0,), "as many lows as highs, got 2 and 1"),
        ((), (), "as many lows as highs, got 0 and 0"),
    ],
)
def test_boxes_that_are_refused(low: tuple[float, ...], high: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Box(low, high)


@pytest.mark.parametrize("bounds", [[], [0.0], [0.0, 1.0, 2.0]])
def test_a_flat_box_needs_pairs(bounds: list[float]) -> None:
    with pytest.raises(ValueError, match=f"a box is lo,hi per axis; got {len(bounds)} numbers"):
        Box.from_flat(bounds)


def test_box_around_points_has_a_margin_and_never_an_empty_axis() -> None:
    assert Box.around([[0.0, 5.0], [10.0, 5.0]], margin=0.1) == Box((-1.0, 4.5), (11.0, 5.5))
    with pytest.raises(ValueError, match="declare it with a box"):
        Box.around(np.zeros((0, 2)))


@pytest.mark.parametrize("bandwidth", [1e-3, 0.1, 5.0])
def test_kernel_mass_is_the_product_of_normal_probabilities(bandwidth: float) -> None:
    x = np.random.default_rng(0).uniform(size=(50, 2))
    x[0], x[1] = (0, 0), (0.5, 1)
    wanted = np.prod(norm.cdf((1 - x) / bandwidth) - norm.cdf(-x / bandwidth), axis=1)
    np.testing.assert_allclose(UNIT.kernel_mass(x, bandwidth), wanted, rtol=1e-12)
    assert UNIT.kernel_mass([[0.0, 0.0]], 1e-3)[0] == pytest.approx(0.25)
    assert UNIT.kernel_mass([[0.5, 0.5]], 1e-3)[0] == 1


@pytest.mark.parametrize("bandwidth", [1e-2, 0.2, 3.0])
def test_kernel_mass_derivative_is_its_central_difference(bandwidth: float) -> None:
    x, step = np.random.default_rng(1).uniform(size=(200, 2)), 1e-5 * bandwidth
    difference = (UNIT.kernel_mass(x, bandwidth + step) - UNIT.kernel_mass(x, bandwidth - step)) / (2 * step)
    np.testing.assert_allclose(UNIT.kernel_mass_and_derivative(x, bandwidth)[1], difference, atol=1e-7 / bandwidth)


def test_draws_stay_inside_and_follow_their_law() -> None:
    rng = np.random.default_rng(2)
    assert np.abs(UNIT.sample(20_000, rng).mean(axis=0) - 0.5).max() < 5 * math.sqrt(1 / 12 / 20_000)
    corner = UNIT.scatter(np.zeros((20_000, 2)), 0.1, rng)  # half-normal on both axes: mean h √(2/π)
    assert UNIT.contains(corner).all()
    sd = 0.1 * math.sqrt(1 - 2 / math.pi)
    assert np.abs(corner.mean(axis=0) - 0.1 * math.sqrt(2 / math.pi)).max() < 5 * sd / math.sqrt(20_000)


# -- Grid ----------------------------------------------------------------------------------------------------------


def test_grid_measures() -> None:
    grid = Grid(Box((0, -1, 0), (2, 1, 3)), (4, 2, 3))
    assert (grid.cells, grid.cell_volume, grid.spacing.tolist()) == (24, 0.5, [0.5, 1, 1])
    assert [e.tolist() for e in grid.edges[:2]] == [[0, 0.5, 1, 1.5, 2], [-1, 0, 1]]
    assert grid.centres[2].tolist() == [0.5, 1.5, 2.5]
    assert Grid.over(UNIT, 7).shape == (7, 7)


@given(st.integers(1, 3), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_index_matches_points_and_histogram(d: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid(Box((-2.0,) * d, (1.0,) * d), tuple(rng.integers(1, n + 1, d)))
    np.testing.assert_array_equal(grid.index(grid.points()), np.arange(grid.cells))
    x, weight = rng.uniform(-2.2, 1.2, size=(30, d)), rng.uniform(size=30)
    wanted, _ = np.histogramdd(x, bins=grid.edges, weights=weight)
    np.testing.assert_allclose(grid.histogram(x, weight), wanted, atol=1e-12)
    assert grid.histogram(x).sum() == grid.box.contains(x).sum()


def test_a_point_on_an_edge_belongs_to_the_cell_above_and_the_last_edge_to_the_last_cell() -> None:
    grid = Grid(Box((0.0, 0.0), (1.0, 2.0)), (2, 4))
    places = [[0, 0], [0.5, 0], [1, 0], [0, 0.5], [1, 2], [0.49, 1.99], [1.01, 0], [0.5, -0.01], [np.nan, 0.5]]
    assert grid.index(places).tolist() == [0, 4, 4, 1, 7, 3, -1, -1, -1]


@pytest.mark.parametrize(
    ("d", "shape", "message"),
    [
        (2, (0, 5), r"a grid over 2 dimensions needs 2 sides of ≥ 1 cell, got \(0, 5\)"),
        (2, (5,), r"needs 2 sides of ≥ 1 cell, got \(5,\)"),
        (
            4,
            (100,) * 4,
            "a grid of 100 × 100 × 100 × 100 = 1e.08 cells is 0.745 GiB per field: grids are for up to 3 dim",
        ),
        (2, (10_000, 10_000), r"a grid of 10000 × 10000 = 1e\+08 cells .* and 5e\+07 cells; use a coarser grid"),
    ],
)
def test_grids_that_are_refused_with_the_arithmetic(d: int, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid(Box((0.0,) * d, (1.0,) * d), shape)


def test_grid_as_json_rebuilds_it() -> None:
    grid = Grid(Box((0.0, 1.0), (2.0, 3.0)), (4, 5))
    stored = grid.to_dict()
    assert Grid(Box.from_flat(stored["box"]), tuple(stored["shape"])) == grid


def test_relative_density_has_mean_one() -> None:
    np.testing.assert_allclose(relative_density(np.array([[1.0, 3.0], [0.0, 4.0]])), [[0.5, 1.5], [0, 2]])


@pytest.mark.parametrize("field", [[0.0, 0.0], [1.0, -1e-9], [1.0, math.nan], [math.inf, 1.0]])
def test_what_is_no_density_is_refused(field: list[float]) -> None:
    with pytest.raises(ValueError, match="a density needs finite values ≥ 0 and some mass; its sum is"):
        relative_density(np.array(field))
