"""Flows on grids: snapshots against the plain sum, frames pooled as a regression, the posterior, and what is read."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import ndtr

from stpp.domain import Array, Box, Grid
from stpp.events import Events
from stpp.flow.flow import Evidence, Flow, pooled_pair, snapshots

SHAPES = ((17,), (9, 7), (5, 6, 4))


def a_grid(shape: tuple[int, ...]) -> Grid:
    d = len(shape)
    return Grid(Box((-1.0, 0.0, 2.0)[:d], (3.0, 2.0, 5.0)[:d]), shape)


def some_events(grid: Grid, n: int = 60) -> Events:
    rng = np.random.default_rng(n)
    return Events(rng.uniform(0, 4, n), grid.box.sample(n, rng), rng.uniform(0.5, 3, n))


def flow_of(grid: Grid, velocity: Array, error: float = 1.0) -> Flow:
    ones = np.ones(grid.shape)
    return Flow(grid, 0.0, 1.0, ones, velocity, error * np.ones_like(velocity), 0 * ones, ones)


def centres(grid: Grid) -> list[Array]:
    return list(np.meshgrid(*[(e[1:] + e[:-1]) / 2 for e in grid.edges], indexing="ij"))


# -- snapshots -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_snapshots_are_the_sum_of_kernels_in_the_box(shape: tuple[int, ...]) -> None:
    grid, h = a_grid(shape), 0.4
    events = some_events(grid)
    maps = snapshots(events, np.array([1.0, 2.5, 4.5]), 1.5, grid, h)
    for end, found in zip((1.0, 2.5, 4.5), maps, strict=True):
        inside = (events.t >= end - 1.5) & (events.t < end)
        wanted = np.zeros(shape)
        for x, w in zip(events.x[inside], events.weight[inside], strict=True):
            parts = [np.diff(ndtr((edges - a) / h)) for edges, a in zip(grid.edges, x, strict=True)]
            kernel = parts[0]
            for part in parts[1:]:
                kernel = np.multiply.outer(kernel, part)
            wanted += w * kernel / kernel.sum()
        np.testing.assert_allclose(found, wanted, atol=2e-3 * wanted.max())
        assert found.sum() == pytest.approx(events.weight[inside].sum(), rel=1e-3)


def test_a_frame_ends_before_its_end() -> None:
    grid = a_grid((8, 8))
    events = Events(np.array([1.0, 2.0]), np.array([[0.0, 1.0], [2.0, 1.0]]))
    maps = snapshots(events, np.array([1.0, 2.0, 3.0]), 1.0, grid, 0.2)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), [0, 1, 1], atol=1e-3)
    assert maps[0].max() == 0
    assert maps[1][:4].sum() > 0.99  # the first event, at the left, and nothing of the second
    assert maps[2][4:].sum() > 0.99


# -- many frames as one pair ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "momentum"), [(2, 0.5), (3, 1.0), (5, 1.0), (6, 0.7), (9, 0.3)])
def test_pooled_frames_are_a_weighted_regression_on_time(k: int, momentum: float) -> None:
    frames = np.random.default_rng(k).normal(size=(k, 4))
    before, after, _ = pooled_pair(frames, momentum)
    weight = momentum ** (0.5 * np.arange(k)[::-1])  # polyfit squares them
    np.testing.assert_allclose(after - before, np.polyfit(np.arange(k), frames, 1, w=weight)[0], atol=1e-10)


@pytest.mark.parametrize(("k", "momentum"), [(2, 1.0), (5, 1.0), (5, 0.6), (10, 0.9)])
def test_trend_and_mean_of_pooled_frames_have_uncorrelated_noise(k: int, momentum: float) -> None:
    before, after, share = pooled_pair(np.eye(k), momentum)  # what each frame gets
    mean, trend = (before + after) / 2, after - before
    assert mean @ trend == pytest.approx(0, abs=1e-12)
    assert mean.sum() == pytest.approx(1)
    assert trend.sum() == pytest.approx(0, abs=1e-12)
    assert share == pytest.approx(trend @ trend / 2)


def test_one_pair_is_pooled_to_itself_and_five_frames_beat_independent_pairs() -> None:
    frames = np.random.default_rng(0).normal(size=(2, 3))
    before, after, share = pooled_pair(frames)
    np.testing.assert_allclose([before, after], frames)
    assert share == pytest.approx(1)
    # Var(slope) = 1/Σ(k − 2)² = 1/10 of a frame's variance, where the difference of two frames has twice of it
    assert pooled_pair(np.eye(5))[2] == pytest.approx(1 / 20)


# -- evidence and its posterior ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_no_evidence_leaves_the_prior(shape: tuple[int, ...]) -> None:
    grid = a_grid(shape)
    flow = Flow.solve(Evidence.none(grid), grid, 2.0, 0.5, np.ones(shape), velocity_prior=0.3, growth_prior=0.02)
    assert flow.velocity.shape == flow.velocity_error.shape == (len(shape), *shape)
    assert (flow.velocity == 0).all()
    assert (flow.growth == 0).all()
    np.testing.assert_allclose(flow.velocity_error, 0.3)
    np.testing.assert_allclose(flow.growth_error, 0.02)
    assert not flow.significant().any()


def test_the_posterior_weighs_evidence_and_prior() -> None:
    """Precision 4 around 3 and prior precision 1/0.5² = 4 around 0 give 1.5 ± 1/√8; growth stays with its prior."""
    grid = a_grid((1,))
    evidence = Evidence(np.diag([4.0, 0.0])[..., None], np.array([[12.0], [0.0]]))
    flow = Flow.solve(evidence, grid, 0.0, 1.0, np.ones(1), velocity_prior=0.5, growth_prior=0.1)
    assert flow.velocity[0, 0] == pytest.approx(1.5)
    assert flow.velocity_error[0, 0] == pytest.approx(1 / math.sqrt(8))
    assert (flow.growth[0], flow.growth_error[0]) == (0, pytest.approx(0.1))


def test_strong_evidence_speaks_for_itself() -> None:
    grid, rng = a_grid((3, 2)), np.random.default_rng(1)
    root = rng.normal(size=(3, 3, *grid.shape))
    information = np.einsum("ik...,jk...->ij...", root, root) + np.eye(3)[..., None, None]
    truth = rng.normal(size=(3, *grid.shape))
    score = np.einsum("ij...,j...->i...", information, truth)
    flow = Flow.solve(
        Evidence(information, score), grid, 0.0, 1.0, np.ones(grid.shape), velocity_prior=1e4, growth_prior=1e4
    )
    np.testing.assert_allclose([*flow.velocity, flow.growth], truth, rtol=1e-5)
    covariance = np.linalg.inv(information[:, :, 1, 1])
    np.testing.assert_allclose(flow.velocity_error[:, 1, 1], np.sqrt(np.diag(covariance))[:2], rtol=1e-5)


# -- what is read from a flow --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_linear_flow_is_read_exactly_between_cells(shape: tuple[int, ...]) -> None:
    grid = a_grid(shape)
    d = len(shape)
    slopes = np.random.default_rng(2).normal(size=(d, d))
    flow = flow_of(grid, np.einsum("ij,j...->i...", slopes, np.array(centres(grid))), error=0.7)
    half = grid.spacing / 2
    places = np.random.default_rng(3).uniform(np.add(grid.box.low, half), np.subtract(grid.box.high, half), (20, d))
    velocity, error, growth = flow.at(places)
    np.testing.assert_allclose(velocity, places @ slopes.T, atol=1e-10)
    np.testing.assert_allclose(error, 0.7)
    np.testing.assert_allclose(growth, 0)
    corner, _, _ = flow.at(np.array([grid.box.low]))
    np.testing.assert_allclose(corner[0], flow.velocity[(slice(None), *([0] * d))])


@pytest.mark.parametrize("shape", SHAPES)
def test_divergence_of_a_source_and_of_a_rotation(shape: tuple[int, ...]) -> None:
    grid = a_grid(shape)
    x = np.array(centres(grid))
    np.testing.assert_allclose(flow_of(grid, 0.5 * x).divergence, 0.5 * len(shape))
    if len(shape) > 1:
        turn = np.zeros_like(x)
        turn[0], turn[1] = -x[1], x[0]
        np.testing.assert_allclose(flow_of(grid, turn).divergence, 0, atol=1e-12)


def test_an_axis_of_one_cell_has_no_divergence() -> None:
    grid = a_grid((5, 1))
    x = np.array(centres(grid))
    np.testing.assert_allclose(flow_of(grid, x).divergence, 1.0)


@pytest.mark.parametrize(("shape", "level"), list(itertools.product(((4000,), (80, 50)), (0.9, 0.95))))
def test_chance_arrows_are_significant_as_often_as_stated(shape: tuple[int, ...], level: float) -> None:
    grid = a_grid(shape)
    flow = flow_of(grid, 0.3 * np.random.default_rng(4).normal(size=(len(shape), *shape)), error=0.3)
    assert flow.significant(level).mean() == pytest.approx(1 - level, abs=0.02)


def test_a_still_flow_is_still() -> None:
    flow = Flow.still(a_grid((3, 4)), 1.0, 0.5)
    assert not flow.significant().any()
    assert (flow.divergence == 0).all()
    velocity, error, growth = flow.at(np.array([[0.0, 1.0]]))
    assert (velocity == 0).all()
    assert error[0] == growth[0] == 0
