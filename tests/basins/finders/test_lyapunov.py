"""Drift, diffusion and their basins of attraction: directions, rates, quasi-potentials, growth."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basins.basin import Basin, describe
from basins.finders.lyapunov import LyapunovFinder
from basins.space import Snapshot, Space
from basins.walks.diffusion import DriftDiffusion
from basins.walks.drift import SPREADS, estimate, growth_probability
from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition
from stpp.simulation.worlds import simulate_world

BOX = Box((-6.0, -6.0), (6.0, 6.0))


def a_space(box: Box = BOX, cells: int = 40, bandwidth: float = 0.5) -> Space:
    return Space(Partition.of_grid(Grid.over(box, cells)), bandwidth)


def on_a_line(log_density: Array, diffusion: float, half: float = 2.0) -> DriftDiffusion:
    n = len(log_density)
    density = np.exp(log_density)
    return DriftDiffusion(Grid.over(Box((-half,), (half,)), n), density, np.zeros((1, n)), np.zeros(n), diffusion, 0.0)


def double_well(n: int = 400, diffusion: float = 0.15) -> tuple[Array, DriftDiffusion]:
    """U = x⁴/4 − x²/2, with wells at ±1, a barrier of 1/4 at 0, U'' = 2 in the wells and −1 on top."""
    x = Grid.over(Box((-2.0,), (2.0,)), n).centres[0]
    return x, on_a_line(-(x**4 / 4 - x**2 / 2) / diffusion, diffusion)


def world(name: str, seed: int = 0, n: int = 20_000, weeks: int = 8) -> tuple[list[Snapshot], dict[str, Any]]:
    events, truth = simulate_world(name, n, seed)
    space = a_space(cells=48)
    return [space.see(events, Window(7.0 * k, 7.0 * (k + 1))) for k in range(weeks)], truth


def around(snapshot: Snapshot, centres: Array, radius: float = 1.5) -> tuple[Basin, ...]:
    apart = ((snapshot.space.partition.centres - centres[:, None]) ** 2).sum(axis=2)
    return describe(snapshot, (apart < radius**2).astype(float), np.ones(len(centres)))


# -- the generator -------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2**31))
def test_the_generator_keeps_mass_and_leads_to_its_density(d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid.over(Box((0.0,) * d, (1.0,) * d), 5)
    field = DriftDiffusion(grid, rng.uniform(0.1, 3, 5**d), np.zeros((d, 5**d)), np.zeros(5**d), 0.3, 0.0)
    moved = replace(field, velocity=rng.normal(0, 2, (d, 5**d)))
    for one in (field, moved):
        rates = one.generator.toarray()
        np.testing.assert_allclose(rates.sum(axis=1), 0, atol=1e-9)
        assert (rates - np.diag(np.diag(rates)) >= 0).all()
        np.testing.assert_allclose(one.stationary @ rates, 0, atol=1e-7 * np.abs(rates).max())
        assert one.stationary.sum() * grid.cell_volume == pytest.approx(1.0)
        assert one.ahead(np.ones(5**d), 0.7).sum() == pytest.approx(5**d)
    np.testing.assert_allclose(field.density @ field.generator, 0, atol=1e-9 * np.abs(field.generator).max())


def test_the_quasi_potential_is_the_potential_where_there_is_one() -> None:
    x, field = double_well()
    potential = field.potential - field.potential.min()
    np.testing.assert_allclose(potential, (x**4 / 4 - x**2 / 2) + 0.25, atol=1e-3)
    np.testing.assert_allclose(field.drift[0][5:-5], -(x**3 - x)[5:-5], atol=1e-2)


def test_a_constant_drift_tilts_the_potential() -> None:
    """On even ground with velocity v to the right, ρ_s ∝ exp(v x/D)."""
    flat = on_a_line(np.zeros(100), 0.5)
    tilted = replace(flat, velocity=np.full((1, 100), 0.8))
    slope = np.diff(np.log(tilted.stationary)) / flat.grid.spacing[0]
    np.testing.assert_allclose(slope, 0.8 / 0.5, rtol=1e-6)


def test_spreading_by_diffusion() -> None:
    """A point spreads to variance 2 D t (backward Euler keeps it exactly), and drifts by v t."""
    flat = replace(on_a_line(np.zeros(400), 0.02), velocity=np.full((1, 400), 0.1))
    start = np.zeros(400)
    start[150] = 1.0
    x = flat.grid.centres[0]
    ahead = flat.ahead(start, 3.0)
    mean = ahead @ x
    assert mean - x[150] == pytest.approx(0.3, abs=0.005)
    assert ahead @ (x - mean) ** 2 == pytest.approx(2 * 0.02 * 3.0 + 0.3**2 / 4, rel=0.05)  # v t √(1/steps) of Euler


# -- escape --------------------------------------------------------------------------------------------------------


def test_escape_from_a_double_well() -> None:
    """Against the dense eigenvalue, and against Kramers: √(2·1)/(2π) e^{−ΔU/D}, twice as often to the top only."""
    x, field = double_well(diffusion=0.05)
    left = (x < 0).astype(float)
    inside = left >= 0.5
    dense = np.linalg.eigvals(-field.generator.toarray()[np.ix_(inside, inside)]).real.min()
    assert field.escape_rate(left) == pytest.approx(dense, rel=1e-6)
    kramers = 2 * math.sqrt(2) / (2 * math.pi) * math.exp(-0.25 / 0.05)
    assert field.escape_rate(left) == pytest.approx(kramers, rel=0.2)


def test_deeper_wells_hold_longer() -> None:
    rates = [double_well(diffusion=d)[1].escape_rate((double_well()[0] < 0).astype(float)) for d in (0.05, 0.1, 0.2)]
    assert rates == sorted(rates)
    assert rates[2] > 5 * rates[0]


def test_regions_that_cannot_be_left_or_are_none() -> None:
    _, field = double_well(50)
    assert field.escape_rate(np.ones(50)) == 0.0
    with pytest.raises(ValueError, match="no cell of membership"):
        field.escape_rate(np.zeros(50))


# -- estimation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("velocity", [(0.1, 0.0), (0.0, -0.1)])
def test_density_that_moves_gives_drift_along_its_way(velocity: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0, 28, 8000))
    x = rng.normal(0, 0.9, (8000, 2)) + (t - 14)[:, None] * velocity
    space = a_space(cells=48)
    field = estimate([space.see(Events(t, x), Window(7.0 * k, 7.0 * (k + 1))) for k in range(4)])
    weight = field.density / field.density.sum()
    np.testing.assert_allclose(field.velocity @ weight, velocity, atol=0.03)
    assert field.time == 28.0


@pytest.mark.slow
def test_diffusion_is_how_fast_windows_forget() -> None:
    """Where nothing changes, what came before predicts nothing beyond the mean: the largest D that is tried. Where
    basins come and go over weeks the last window tells more than the mean: a small one.
    """
    still, changing = (estimate(world(name, 1, n=8000)[0]).diffusion for name in ("static", "lifecycle"))
    assert still >= (0.5 * SPREADS[-2]) ** 2 / (2 * 7.0) * 0.99
    assert changing < still / 10


def test_fewer_than_two_windows_with_posts_are_refused() -> None:
    space, rng = a_space(), np.random.default_rng(0)
    events = Events(np.linspace(0, 6.9, 50), rng.normal(size=(50, 2)))
    windows = [space.see(events, Window(7.0 * k, 7.0 * (k + 1))) for k in range(3)]
    with pytest.raises(ValueError, match="at least 2 windows with posts"):
        estimate(windows)
    landmarks = Space(Partition(BOX, rng.normal(size=(20, 2))), 1.0)
    with pytest.raises(ValueError, match="landmarks"):
        estimate([landmarks.see(events, Window(3.0 * k, 3.0 * (k + 1))) for k in range(2)])


# -- growth --------------------------------------------------------------------------------------------------------


def test_growth_is_likely_where_a_basin_grows_and_not_where_it_fades() -> None:
    snapshots, _ = world("lifecycle")
    basins = around(snapshots[4], np.array([[2.8, -1.8], [-0.2, 3.0], [-3.6, 1.4]]))
    found = growth_probability(
        estimate(snapshots[1:5]), snapshots[1:5], basins, horizon=7.0, simulations=20, rng=np.random.default_rng(0)
    )
    named = {round(float(basin.centre[0])): p for basin, p in zip(basins, found, strict=True)}
    assert named[3] > 0.7  # growing
    assert named[-4] > 0.9  # born on day 20, grows to day 35
    assert named[0] < 0.1  # fading


@pytest.mark.slow
def test_growth_is_even_odds_where_nothing_changes() -> None:
    odds = []
    for seed in range(2):
        snapshots, truth = world("static", seed)
        basins = around(snapshots[3], np.array([basin["centre"][0] for basin in truth["basins"]]))  # type: ignore[attr-defined]
        odds.append(
            growth_probability(
                estimate(snapshots[:4]),
                snapshots[:4],
                basins,
                horizon=7.0,
                simulations=20,
                rng=np.random.default_rng(0),
            )
        )
    assert 0.35 < np.mean(odds) < 0.65


def test_growth_where_draws_leave_next_to_nothing_in_a_basin() -> None:
    rng = np.random.default_rng(0)
    crowd, few = rng.normal(0, 0.3, (3000, 2)), np.array([[5.0, 5.0]])
    t = np.sort(rng.uniform(0, 9, 3001))
    events = Events(t, np.concatenate([crowd, few]), np.append(np.ones(3000), 1e7))
    space = Space(Partition.of_grid(Grid.over(BOX, 40)), 0.1)
    snapshots = [space.see(events, Window(3.0 * k, 3.0 * (k + 1))) for k in range(3)]
    basins = around(snapshots[2], np.array([[0.0, 0.0], [5.0, 5.0]]))
    how = {"horizon": 3.0, "simulations": 10}
    found = growth_probability(estimate(snapshots), snapshots, basins, rng=np.random.default_rng(1), **how)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.slow
def test_growth_same_seed_same_answer_and_bad_input() -> None:
    snapshots, _ = world("static", n=3000, weeks=3)
    basins = around(snapshots[2], np.array([[2.8, -1.8]]))
    one, two = (
        growth_probability(
            estimate(snapshots), snapshots, basins, horizon=7.0, simulations=5, rng=np.random.default_rng(3)
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)
    assert growth_probability(
        estimate(snapshots), snapshots, [], horizon=1.0, simulations=1, rng=np.random.default_rng(0)
    ).shape == (0,)
    with pytest.raises(ValueError, match="above 0"):
        growth_probability(
            estimate(snapshots), snapshots, basins, horizon=0.0, simulations=5, rng=np.random.default_rng(0)
        )


# -- the finder ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_planted_basins_are_attractors() -> None:
    events, truth = simulate_world("static", 30_000, 3)
    windows = [Window(14.0 * k, 14.0 * (k + 1)) for k in range(4)]
    finder = LyapunovFinder(windows=4, replicates=5).fit(events, windows[:3], BOX, np.random.default_rng(0))
    snapshot = finder.fixed.see(events, windows[3])
    found = finder.find(snapshot, np.random.default_rng(1))
    again = finder.find(snapshot, np.random.default_rng(1))
    assert len(found.basins) == len(truth["basins"])
    assert "nowhere beyond chance" in found.remark
    assert finder.diffusion > 0
    assert all(0 < basin.probability <= 1 for basin in found.basins)
    np.testing.assert_array_equal(found.basins[0].membership, again.basins[0].membership)


@pytest.mark.slow
def test_even_posts_have_no_attractor() -> None:
    events, _ = simulate_world("null", 6000, 1)
    windows = [Window(7.0 * k, 7.0 * (k + 1)) for k in range(8)]
    finder = LyapunovFinder(windows=8, replicates=2).fit(events, windows[:4], BOX, np.random.default_rng(0))
    for window in windows:
        assert not finder.find(finder.fixed.see(events, window), np.random.default_rng(0)).basins


def test_drift_beyond_chance_is_seen_and_said() -> None:
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0, 28, 20_000))
    events = Events(t, rng.normal(0, 0.6, (20_000, 2)) + ((t % 14) - 7)[:, None] * [0.2, 0.0])
    windows = [Window(0.0, 14.0), Window(14.0, 28.0)]
    finder = LyapunovFinder(windows=2, replicates=2).fit(events, windows[:1], BOX, np.random.default_rng(0))
    assert "beyond chance in" in finder.find(finder.fixed.see(events, windows[1]), np.random.default_rng(0)).remark


def test_bad_input_of_the_finder() -> None:
    rng = np.random.default_rng(0)
    events = Events(np.linspace(0, 13.9, 200), rng.normal(size=(200, 2)))
    windows = [Window(0.0, 7.0), Window(7.0, 14.0)]
    finder = LyapunovFinder(replicates=2).fit(events, windows, BOX, rng)
    assert not finder.find(finder.fixed.see(events, Window(20.0, 30.0)), rng).basins
    weightless = replace(events, weight=np.zeros(200))
    assert not finder.find(finder.fixed.see(weightless, windows[0]), rng).basins
    one_place = Events(events.t, np.ones((200, 2)))
    assert len(finder.find(finder.fixed.see(one_place, windows[0]), rng).basins) <= 1
    with pytest.raises(ValueError, match="markov"):
        LyapunovFinder().fit(Events(events.t, rng.normal(size=(200, 4))), windows, Box((-6.0,) * 4, (6.0,) * 4), rng)
    with pytest.raises(ValueError, match="no posts"):
        LyapunovFinder().fit(events, [Window(50.0, 60.0)], BOX, rng)
