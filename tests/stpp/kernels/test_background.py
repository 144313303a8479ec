"""Backgrounds: densities that integrate to 1, rates whose integrals are exact, cycles that sum to 1."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.kernels.background import (
    CYCLES,
    HATS,
    GroundRate,
    KernelMixture,
    RunningMixture,
    component_density,
    cycle_columns,
    cycle_integrals,
)

Array = NDArray[np.float64]


def some_events(d: int, n: int = 12, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    t = rng.uniform(0, 10, n)
    t[3] = t[4]  # a tie
    return Events(t, rng.uniform(size=(n, d)), rng.uniform(0.2, 2, n))


def mixture(d: int, uniform: float = 0.1) -> KernelMixture:
    shares = (1 - uniform) * np.array([0.5, 0.3, 0.2])
    return KernelMixture(Box((0.0,) * d, (1.0,) * d), np.array([0.0, 0.5, 5.0]), np.array([0.1, 0.3, 0.2]), shares)


def cell_nodes(grid: Grid, order: int = 10) -> tuple[Array, Array]:
    """(cells, k, d) Gauss–Legendre nodes inside every cell, and (k,) weights whose sum is the cell's volume."""
    d = grid.box.d
    nodes, weights = np.polynomial.legendre.leggauss(order)
    offsets = np.stack(np.meshgrid(*[nodes] * d, indexing="ij"), axis=-1).reshape(-1, d) / 2 * grid.spacing
    share = np.prod(np.meshgrid(*[weights / 2] * d, indexing="ij"), axis=0).ravel()
    return grid.points()[:, None] + offsets, share * grid.cell_volume


def cell_masses(density: KernelMixture, grid: Grid, t: float, history: Events) -> Array:
    """``grid.shape`` ∫ of the density over each cell by quadrature."""
    places, weights = cell_nodes(grid)
    flat = places.reshape(-1, grid.box.d)
    return (density.at(np.full(len(flat), t), flat, history).reshape(grid.cells, -1) @ weights).reshape(grid.shape)


# -- densities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("t", [-1.0, 4.0, 11.0, 5_000.0])
def test_a_mixture_integrates_to_one_over_the_box(d: int, t: float) -> None:
    masses = cell_masses(mixture(d), Grid.over(mixture(d).box, 3), t, some_events(d))
    assert masses.sum() == pytest.approx(1, abs=1e-4)


def test_one_component_is_its_formula() -> None:
    # two events, weights 1 and 3, half-life one day; at t = 2 they hold 1/4 and 3/2: shares 1/7 and 6/7
    history, h = Events(np.array([0.0, 1.0]), np.array([0.5, 0.2]), np.array([1.0, 3.0])), 0.1
    box = Box((0.0,), (1.0,))
    got = component_density(history, np.array([2.0]), np.array([[0.4]]), math.log(2), h, box)[0]
    kernel = np.exp(-0.5 * ((0.4 - history.x[:, 0]) / h) ** 2) / (h * math.sqrt(2 * math.pi))
    assert got == pytest.approx(np.array([1 / 7, 6 / 7]) @ (kernel / box.kernel_mass(history.x, h)), rel=1e-4)


def test_without_history_a_density_is_uniform() -> None:
    box = Box((0.0, 0.0), (2.0, 5.0))
    t, x = np.array([-3.0, 0.0]), np.ones((2, 2))
    for history in (some_events(2).rows(0, 0), some_events(2)):
        np.testing.assert_array_equal(component_density(history, t, x, 1.0, 0.1, box), [0.1, 0.1])


@pytest.mark.parametrize("decay", [0.3, 50.0])
@pytest.mark.parametrize("silence", [1.0, 30.0, 10_000.0])
def test_silence_changes_no_density(decay: float, silence: float) -> None:
    """Nothing happens, so the shares of the past stay: also where e^{−β · silence} is 0 in floating point."""
    history, box = some_events(2), Box((0.0, 0.0), (1.0, 1.0))
    x = np.random.default_rng(1).uniform(size=(20, 2))
    soon, late = (np.full(20, history.t[-1] + wait) for wait in (1e-9, silence))
    before = component_density(history, soon, x, decay, 0.1, box)
    np.testing.assert_allclose(component_density(history, late, x, decay, 0.1, box), before, rtol=1e-9)
    one = KernelMixture(box, np.array([decay]), np.array([0.1]), np.ones(1))
    running, grid = RunningMixture(one), Grid.over(box, 5)
    running.advance(history)
    np.testing.assert_allclose(running.cell_shares(grid), cell_masses(one, grid, late[0], history), atol=1e-4)
    draws = [one.sample(500, history, t, np.random.default_rng(0)) for t in (soon[0], late[0])]
    np.testing.assert_array_equal(draws[0], draws[1])


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_integral_is_the_quadrature_over_time_and_space(d: int, share: float) -> None:
    history, density, rate = some_events(d), mixture(d), GroundRate(3.0, share, 0.8)
    window, grid = Window(2.5, 8.0), Grid(mixture(d).box, (3, 2)[:d])
    got = density.integral(rate.intervals(window, history), history, grid)
    wanted = np.zeros(grid.shape)
    nodes, weights = np.polynomial.legendre.leggauss(6)
    inside = history.between(window).t
    for a, b in itertools.pairwise([window.start, *np.unique(inside), window.end]):
        for node, weight in zip(nodes, weights, strict=True):
            t = (a + b) / 2 + node * (b - a) / 2
            now = float(rate.at(np.array([t]), history)[0])
            wanted += weight * (b - a) / 2 * now * cell_masses(density, grid, t, history)
    np.testing.assert_allclose(got, wanted, rtol=2e-4)
    assert got.sum() == pytest.approx(rate.intervals(window, history).sum(), rel=2e-4)


def test_running_shares_are_those_of_the_density() -> None:
    history, density = some_events(2, n=60), mixture(2)
    grid = Grid(density.box, (4, 3))
    running, seen = RunningMixture(density), 0
    np.testing.assert_allclose(running.cell_shares(grid), 1 / grid.cells)  # before any event
    for t in (0.5, 0.5001, 4.0, 9.0, 12.0):
        past = history.before(t)
        running.advance(past.rows(seen, len(past)))
        seen = len(past)
        shares = running.cell_shares(grid)
        assert shares.sum() == pytest.approx(1, rel=1e-12)
        np.testing.assert_allclose(shares, cell_masses(density, grid, t, history), atol=1e-4)


@pytest.mark.parametrize("t", [-1.0, 6.0])
def test_draws_follow_the_density(t: float) -> None:
    history, density, n = some_events(2), mixture(2), 40_000
    grid = Grid.over(density.box, 4)
    places = density.sample(n, history, t, np.random.default_rng(3))
    assert density.box.contains(places).all()
    wanted = cell_masses(density, grid, t, history)
    assert (np.abs(grid.histogram(places) / n - wanted) < 5 * np.sqrt(wanted / n)).all()


# -- rates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_intervals_are_the_integral_of_the_rate(share: float) -> None:
    history, rate, window = some_events(1), GroundRate(3.0, share, 0.8), Window(2.5, 12.0)
    knots = np.clip([window.start, *history.t, window.end], window.start, window.end)
    wanted = [quad(lambda t: rate.at(np.array([t]), history)[0], a, b)[0] for a, b in itertools.pairwise(knots)]
    np.testing.assert_allclose(rate.intervals(window, history), wanted, atol=1e-9)
    none = history.rows(0, 0)
    np.testing.assert_allclose(rate.intervals(window, none), [(1 - share) * 3.0 * 9.5])


def test_a_rate_is_predictable() -> None:
    history, rate = some_events(1), GroundRate(3.0, 0.7, 0.8)
    at_event, just_after = rate.at(np.array([history.t[5], np.nextafter(history.t[5], 99)]), history)
    assert just_after - at_event == pytest.approx(0.7 * 0.8)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_expected_count_is_the_mean_of_simulations(share: float) -> None:
    """The rate excites itself: an event raises it, and so brings more. Simulated by generations."""
    history, rate, window = some_events(1, n=30), GroundRate(3.0, share, 0.8), Window(10.0, 13.0)
    rng = np.random.default_rng(4)
    counts = []
    for _ in range(4_000):
        born = rng.uniform(window.start, window.end, rng.poisson((1 - share) * rate.mean * window.duration))
        parents, total = np.concatenate([history.t, born]), len(born)
        while len(parents):
            children = np.repeat(parents, rng.poisson(share, len(parents)))
            children = children + rng.exponential(1 / rate.decay, len(children))
            parents = children[(children >= window.start) & (children < window.end)]
            total += len(parents)
        counts.append(total)
    error = np.std(counts) / math.sqrt(len(counts))
    assert abs(rate.expected(window, history) - np.mean(counts)) < 4 * error


# -- cycles --------------------------------------------------------------------------------------------------------


def test_the_hats_of_each_cycle_are_positive_and_sum_to_one() -> None:
    columns = cycle_columns(np.random.default_rng(0).uniform(-100, 20_000, 500))
    assert columns.shape == (500, CYCLES) == (500, sum(HATS.values()))
    assert columns.min() >= 0
    for part in np.split(columns, np.cumsum(list(HATS.values()))[:-1], axis=1):
        np.testing.assert_allclose(part.sum(axis=1), 1, atol=1e-10)


def test_each_hat_peaks_at_its_own_phase_and_repeats() -> None:
    columns = cycle_columns(np.array([0.0, 1 / 6, 3.0, 3.5, 10.0]))
    np.testing.assert_allclose(columns[0, :6], [1, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(columns[1, :6], [0, 1, 0, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(columns[2, 6:], [0, 0, 0, 1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(columns[3, 6:], [0, 0, 0, 0.5, 0.5, 0, 0], atol=1e-12)
    np.testing.assert_allclose(columns[4, 6:], columns[2, 6:], atol=1e-12)


def test_integrals_of_the_hats_are_exact() -> None:
    """Between all their corners the hats are straight lines, for which the trapezoid rule is exact."""
    edges = np.array([-9.3, -1.0, -0.97, 0.0, 0.05, 0.05, 3.4, 31.0])
    corners = np.arange(-10 * 42, 32 * 42) / 42  # multiples of 1/6 day and of 1 day
    for k, (a, b) in enumerate(itertools.pairwise(edges)):
        t = np.unique(np.concatenate([[a, b], corners[(corners > a) & (corners < b)]]))
        wanted = np.trapezoid(cycle_columns(t), t, axis=0) if b > a else np.zeros(CYCLES)
        np.testing.assert_allclose(cycle_integrals(edges)[k], wanted, atol=1e-10)
