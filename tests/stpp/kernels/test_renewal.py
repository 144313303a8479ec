"""The expected future of a self-exciting process: against closed forms, and plain time stepping."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from stpp.domain import Box, Grid
from stpp.kernels.renewal import Blur, Excitation, expected_counts

Array = NDArray[np.float64]
ANYWHERE = math.inf


def even(grid: Grid) -> Array:
    return np.full(grid.shape, 1 / grid.cells)


# -- displacement --------------------------------------------------------------------------------------------------


def cell_to_cell(n: int, width: float, bandwidth: float) -> Array:
    """(to, from) mass that a Gaussian spread evenly over one cell leaves in another, by quadrature over the first."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    starts = width * (np.arange(n)[:, None] + (nodes + 1) / 2)
    edges = width * np.arange(n + 1)
    return np.diff(ndtr((edges[:, None, None] - starts) / bandwidth), axis=0) @ (weights / 2)


@pytest.mark.parametrize("bandwidth", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("shape", [(7,), (5, 8), (4, 3, 6)])
def test_blur_moves_mass_from_cells_to_cells(shape: tuple[int, ...], bandwidth: float) -> None:
    grid = Grid(Box((0.0,) * len(shape), (1.0, 2.0, 3.0)[: len(shape)]), shape)
    field = np.random.default_rng(0).uniform(size=shape)
    wanted = field
    for axis, (n, width) in enumerate(zip(shape, grid.spacing, strict=True)):
        wanted = np.moveaxis(np.tensordot(cell_to_cell(n, width, bandwidth), wanted, axes=(1, axis)), 0, axis)
    np.testing.assert_allclose(Blur(grid, bandwidth)(field), wanted, rtol=1e-6)


def test_wide_blurs_on_fine_grids_are_the_same_product() -> None:
    grid = Grid.over(Box((0.0,), (1.0,)), 120)  # half-width in cells above WIDE: the dense product
    field = np.random.default_rng(1).uniform(size=120)
    np.testing.assert_allclose(Blur(grid, 0.1)(field), cell_to_cell(120, 1 / 120, 0.1) @ field, rtol=1e-6)


def test_a_blur_loses_what_leaves_the_box_and_nothing_else() -> None:
    grid = Grid.over(Box((0.0, 0.0), (1.0, 1.0)), 51)
    middle, corner = np.zeros(grid.shape), np.zeros(grid.shape)
    middle[25, 25], corner[0, 0] = 1, 1
    blur = Blur(grid, 0.05)
    assert blur(middle).sum() == pytest.approx(1, abs=1e-8)
    assert blur(corner).sum() == pytest.approx(cell_to_cell(51, 1 / 51, 0.05)[:, 0].sum() ** 2, abs=1e-8)
    assert blur(corner).sum() < 0.5


# -- counts --------------------------------------------------------------------------------------------------------


def temporal_mean(duration: float, rate: float, excited: float, offspring: float, decay: float) -> float:
    """E N of a temporal Hawkes process: λ' = −β(1 − a)(λ − μ/(1 − a)) from λ(0) = μ + excited; a = 1 in the limit."""
    pace = decay * (1 - offspring)
    if offspring == 1:
        return (rate + excited) * duration + decay * rate * duration**2 / 2
    steady = rate / (1 - offspring)
    return steady * duration + (rate + excited - steady) * -math.expm1(-pace * duration) / pace


@pytest.mark.parametrize("offspring", [0.0, 0.3, 0.9, 1.0, 1.3])
@pytest.mark.parametrize("decay", [0.05, 1.0, 200.0])
def test_one_kernel_without_a_place_is_the_closed_form(offspring: float, decay: float) -> None:
    duration = 7.0 if offspring < 1 else min(7.0, 3 / decay)  # supercritical: while it can be stepped through
    grid = Grid(Box((0.0, 0.0), (1.0, 2.0)), (3, 2))
    density = np.random.default_rng(0).dirichlet(np.ones(6)).reshape(grid.shape)
    kernel = Excitation(decay, ANYWHERE, offspring, 5.0)
    got = expected_counts(duration, 4.0 * duration * density, density, [kernel], {})
    np.testing.assert_allclose(got, temporal_mean(duration, 4.0, 5.0, offspring, decay) * density, rtol=4e-3)


def test_kernels_alike_add_up() -> None:
    grid = Grid.over(Box((0.0,), (1.0,)), 4)
    whole = [Excitation(2.0, ANYWHERE, 0.6, 3.0)]
    halves = [Excitation(2.0, ANYWHERE, 0.2, 1.0), Excitation(2.0, ANYWHERE, 0.4, 2.0)]
    one, two = (expected_counts(5.0, 10 * even(grid), even(grid), kernels, {}) for kernels in (whole, halves))
    np.testing.assert_allclose(one, two, rtol=1e-5)


def stepped_counts(
    duration: float, background: Array, density: Array, kernels: list[Excitation], steps: int, grid: Grid
) -> Array:
    """The same by classical Runge–Kutta steps for one field per kernel: x' = −β x + aβ · (moved λ)."""

    sides = list(zip(grid.shape, grid.spacing, strict=True))
    local = {k.bandwidth for k in kernels if not math.isinf(k.bandwidth)}
    matrices = {h: [cell_to_cell(n, width, h) for n, width in sides] for h in local}

    def moved(kernel: Excitation, rate: Array) -> Array:
        if math.isinf(kernel.bandwidth):
            return density * rate.sum()
        for axis, matrix in enumerate(matrices[kernel.bandwidth]):
            rate = np.moveaxis(np.tensordot(matrix, rate, axes=(1, axis)), 0, axis)
        return rate

    def slope(state: Array) -> Array:
        rate = background / duration + state[:-1].sum(axis=0)
        changes = [k.decay * (k.offspring * moved(k, rate) - x) for k, x in zip(kernels, state[:-1], strict=True)]
        return np.stack([*changes, rate])

    state = np.stack(
        [*(density * k.now if math.isinf(k.bandwidth) else np.asarray(k.now) for k in kernels), 0 * density]
    )
    h = duration / steps
    for _ in range(steps):
        k1 = slope(state)
        k2 = slope(state + h / 2 * k1)
        k3 = slope(state + h / 2 * k2)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(state + h * k3))
    return state[-1]


@pytest.mark.parametrize("shape", [(9,), (6, 5)])
@pytest.mark.parametrize("third", [False, True])
def test_local_kernels_are_plain_time_stepping(shape: tuple[int, ...], third: bool) -> None:
    """Two bandwidths and decays, past events on the edge, where offspring are lost; a third kernel falls anywhere."""
    rng = np.random.default_rng(5)
    grid = Grid(Box((0.0,) * len(shape), (1.0, 1.5)[: len(shape)]), shape)
    density = rng.dirichlet(np.ones(grid.cells)).reshape(shape)
    past = np.zeros(shape)
    past[0] = 3.0
    kernels = [Excitation(6.0, 0.08, 0.4, past), Excitation(0.4, 0.5, 0.5, 0.3 * rng.uniform(size=shape))]
    if third:
        kernels.append(Excitation(1.0, ANYWHERE, 0.2, 2.0))
    background, duration = 12 * density, 4.0
    blurs = {k.bandwidth: Blur(grid, k.bandwidth) for k in kernels[:2]}
    wanted = stepped_counts(duration, background, density, kernels, 400, grid)
    got = expected_counts(duration, background, density, kernels, blurs)
    np.testing.assert_allclose(got, wanted, rtol=1e-2)
    assert got.sum() == pytest.approx(wanted.sum(), rel=3e-3)
    without_loss = [Excitation(k.decay, ANYWHERE, k.offspring, float(np.sum(k.now))) for k in kernels]
    assert got.sum() < 0.97 * expected_counts(duration, background, density, without_loss, {}).sum()


def test_frozen_history_counts_no_offspring_of_events_to_come() -> None:
    grid = Grid.over(Box((0.0,), (1.0,)), 3)
    frozen = expected_counts(2.0, 6 * even(grid), even(grid), [Excitation(1.0, ANYWHERE, 0.0, 4.0)], {})
    assert frozen.sum() == pytest.approx(6 + 4 * (1 - math.exp(-2)))
    alive = expected_counts(2.0, 6 * even(grid), even(grid), [Excitation(1.0, ANYWHERE, 0.8, 4.0)], {})
    assert alive.sum() > 1.3 * frozen.sum()


@pytest.mark.parametrize("bandwidth", [0.5, ANYWHERE])
def test_an_explosion_is_refused(bandwidth: float) -> None:
    # branching ratio 1.3 at decay 50 over a week: e^105 descendants of every event
    grid = Grid.over(Box((0.0, 0.0), (9.0, 9.0)), 3)
    kernel = Excitation(50.0, bandwidth, 1.3, 9.0 if math.isinf(bandwidth) else np.ones(grid.shape))
    with pytest.raises(ValueError, match="grows too fast to be forecast: its branching ratio is far above 1"):
        expected_counts(7.0, even(grid), even(grid), [kernel], {0.5: Blur(grid, 0.5)})
