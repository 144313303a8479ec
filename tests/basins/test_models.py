"""Rates over regions: what they contain, what they recover, and tick as the oracle; conformance is tested elsewhere."""

from __future__ import annotations

import dataclasses
import math
from functools import cache

import numpy as np
import pytest

from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.fitting.concave import GAP
from stpp.influence.regions import _moments
from stpp.intensity import PointForecast
from stpp.models.basins import BasinRates
from stpp.models.kde import HistoricalAverage
from stpp.models.rates import RegionRates
from stpp.models.regions import HawkesRegions, design, pooled_excitation, sparse_rates
from stpp.simulation.branching import simulate_hawkes

BOX = Box((0.0, 0.0), (1.0, 1.0))
TRAINING, NEXT = Window(0, 30), Window(30, 33)
HALVES = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
"""Memberships of the lower and the upper half of the first axis on 4 × 1 cells."""


@cache
def world() -> Events:
    events, _ = simulate_hawkes(500, seed=3, d=2, bandwidth=0.05, duration=40.0)
    return events


def two_regions(law: type[RegionRates] = HawkesRegions, **fields: object) -> RegionRates:
    """Known rates over the two halves: posts in the lower half excite both, those in the upper one nothing."""
    parameters: dict[str, object] = {
        "membership": HALVES,
        "cell_shape": (4, 1),
        "place_bandwidths": np.array([0.04]),
        "place_shares": np.array([0.999]),
        "rates": np.array([4.0, 4.0]),
        "decays": np.array([3.0]),
        "excitation": np.array([[[0.5], [0.0]], [[0.4], [0.0]]]),
        "spill": np.eye(2),
    }
    return law(domain=BOX, **(parameters | fields))  # type: ignore[arg-type]


def clumps(n: int, seed: int) -> Events:
    """A first few posts in the middle of each half, so that its density is known and falls into no other half."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0.25, 0.5], [0.75, 0.5]])[rng.integers(0, 2, n)]
    return Events(np.sort(rng.uniform(-1, 0, n)), np.clip(rng.normal(centres, 0.04), 0, 1))


def simulated(model: RegionRates, duration: float, seed: int) -> Events:
    past = clumps(200, seed)
    return past.then(model.simulate(Window(0, duration), past, np.random.default_rng(seed)))


# -- what the models contain --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_constant_rates_over_basins_are_the_historical_average(seed: int) -> None:
    events, grid = world(), Grid.over(BOX, 16)
    average = HistoricalAverage(domain=BOX).fit(events, TRAINING)
    model = BasinRates(domain=BOX, seed=seed).fit(events, TRAINING)
    constant = dataclasses.replace(
        model, even_rate=average.rate, decays=np.zeros(0), excitation=np.zeros((*model.spill.shape, 0))
    )
    rng = np.random.default_rng(0)
    t, x = rng.uniform(0, 40, 60), rng.uniform(size=(60, 2))
    np.testing.assert_allclose(constant.intensity(t, x, events), average.intensity(t, x, events), rtol=1e-12)
    ours, theirs = (m.compensator(NEXT, events, grid) for m in (constant, average))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    ours, theirs = (m.forecast(NEXT, events, grid).counts for m in (constant, average))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_rates_in_proportion_to_the_regions_shares_are_the_historical_average_too() -> None:
    past = clumps(300, 1)
    model = two_regions()
    shares = model.members(past.x).sum(axis=0) / len(past)
    constant = dataclasses.replace(model, rates=7.0 * shares, excitation=np.zeros((2, 2, 1)))
    x = np.random.default_rng(0).uniform(size=(50, 2))
    density = model.place.at(np.full(50, 0.5), x, past)
    np.testing.assert_allclose(constant.intensity(np.full(50, 0.5), x, past), 7.0 * density, rtol=1e-3, atol=1e-5)


def test_in_sample_rates_over_basins_are_never_worse_than_the_historical_average() -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        events = Events(np.sort(rng.uniform(0, 30, 200)), rng.uniform(size=(200, 2)))
        average, model = (cls(domain=BOX).fit(events, TRAINING) for cls in (HistoricalAverage, BasinRates))
        assert model.result.log_likelihood >= average.result.log_likelihood - 1e-6
    average, model = (cls(domain=BOX).fit(world(), TRAINING) for cls in (HistoricalAverage, BasinRates))
    assert model.result.log_likelihood > average.result.log_likelihood + 10


def test_what_given_memberships_leave_over_is_one_more_region() -> None:
    model = two_regions(membership=0.6 * HALVES)
    members = model.members(np.array([[0.1, 0.5], [0.9, 0.5], [1.5, 0.5]]))
    np.testing.assert_allclose(members, [[0.6, 0, 0.4], [0, 0.6, 0.4], [0, 0, 0]])
    fitted = BasinRates(domain=BOX, membership=0.6 * HALVES, cell_shape=(4, 1)).fit(world(), TRAINING)
    assert fitted.spill.shape == (3, 3)
    np.testing.assert_allclose(fitted.spill.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.membership, 0.6 * HALVES)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"membership": np.ones((1, 3)), "cell_shape": (4, 1)}, "a column for each of 4 cells"),
        ({"membership": np.ones((2, 4)), "cell_shape": (4, 1)}, "sum to at most 1"),
        ({"membership": -np.ones((1, 4)), "cell_shape": (4, 1)}, "must be ≥ 0"),
        ({"regions": 0}, "at least one region"),
    ],
)
def test_regions_that_cannot_be_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BasinRates(domain=BOX, **fields)  # type: ignore[arg-type]


# -- simulation, forecast and fit agree ---------------------------------------------------------------------------


def test_the_forecast_of_known_rates_is_the_mean_of_simulations() -> None:
    model, past = two_regions(), clumps(200, 2)
    window = Window(0, 4)
    _, born = model.expected(window, past)
    rng = np.random.default_rng(1)
    draws = np.array([model.members(model.simulate(window, past, rng).x).sum(axis=0) for _ in range(400)])
    error = draws.std(axis=0) / math.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - born) < 4 * error).all()


def test_a_model_that_explodes_is_refused_in_words() -> None:
    model = two_regions(decays=np.array([500.0]), excitation=np.full((2, 2, 1), 1e6))
    with pytest.raises(ValueError, match="grows too fast"):
        model.forecast(Window(0, 30), clumps(50, 1), Grid.over(BOX, 4))
    with pytest.raises(ValueError, match="grows too fast"):
        model.simulate(Window(0, 30), clumps(50, 1), np.random.default_rng(0))


def test_planted_rates_are_recovered() -> None:
    truth = two_regions()
    events = simulated(truth, 300.0, 5)
    found = HawkesRegions(domain=BOX, membership=HALVES, cell_shape=(4, 1)).fit(events, Window(0, 300))
    np.testing.assert_allclose(found.excitation.sum(axis=2), [[0.5, 0.0], [0.4, 0.0]], atol=0.12)
    np.testing.assert_allclose(found.rates, truth.rates, rtol=0.25)
    assert found.branching_ratio == pytest.approx(0.5, abs=0.12)
    assert found.result.converged
    assert found.result.log_likelihood > HistoricalAverage(domain=BOX).fit(events, Window(0, 300)).result.log_likelihood


def test_regions_with_few_posts_share_their_excitation() -> None:
    quiet = two_regions(rates=np.array([6.0, 0.02]), excitation=np.array([[[0.5], [0.0]], [[0.0], [0.2]]]))
    events = simulated(quiet, 150.0, 3)
    found = HawkesRegions(domain=BOX, membership=HALVES, cell_shape=(4, 1)).fit(events, Window(0, 150))
    members = np.ascontiguousarray(found.members(events.x).T)
    decays, shared = pooled_excitation(events, members, Window(0, 150))
    assert members[1, events.t >= 0].sum() < 30
    assert found.excitation[1, 0].sum() == 0
    assert found.excitation[1, 1].sum() == pytest.approx(shared.sum())
    assert set(found.decays) <= set(decays)


def test_without_excitation_a_penalty_leaves_none_across() -> None:
    quiet = two_regions(excitation=np.zeros((2, 2, 1)))
    found = HawkesRegions(domain=BOX, membership=HALVES, cell_shape=(4, 1)).fit(
        simulated(quiet, 200.0, 1), Window(0, 200)
    )
    assert found.branching_ratio < 0.25
    assert found.excitation.sum(axis=2)[0, 1] < 0.1


def test_above_three_dimensions_forecasts_are_point_forecasts() -> None:
    events, _ = simulate_hawkes(300, seed=1, d=5, bandwidth=0.05, duration=40.0)
    model = HawkesRegions(domain=Box((0.0,) * 5, (1.0,) * 5)).fit(events, TRAINING)
    forecast = model.forecast(NEXT, events, None)
    assert isinstance(forecast, PointForecast)
    assert forecast.total > model.total_compensator(NEXT, events.before(30))  # offspring of offspring
    assert (forecast.relative_at(forecast.draws) > 0).all()


# -- tick as the oracle -------------------------------------------------------------------------------------------


def labelled(seed: int) -> tuple[Array, Array]:
    """Sorted times and (n, 2) labels of a short two-region history."""
    events = simulated(two_regions(), 40.0, seed).between(Window(0, 40))
    return events.t, two_regions().members(events.x)


def test_the_contrast_is_that_of_tick() -> None:
    pytest.importorskip("tick.hawkes", reason="tick is not installed")
    from tick.hawkes.model import ModelHawkesSumExpKernLeastSq

    t, members = labelled(0)
    decays = np.array([1.0, 6.0])
    gram, cross, between, sums = _moments(t, members, np.array([0.0, 40.0]), np.ones((1, 1)), decays)
    whole = np.block([[gram, cross], [cross.T, between]])
    moments = np.column_stack([members.sum(axis=0), members.T @ sums])
    theta = np.linalg.solve(whole, moments.T).T  # (R, 1 + R C), each row a region's background and kernels
    model = ModelHawkesSumExpKernLeastSq(decays)
    model.fit([np.ascontiguousarray(t[members[:, r] == 1]) for r in range(2)], end_times=40.0)
    best = np.concatenate([theta[:, 0], theta[:, 1:].ravel()])
    assert np.abs(model.grad(best)).max() < 1e-9 * np.abs(model.grad(0 * best)).max() + 1e-9
    assert model.loss(best) < model.loss(1.05 * best)


def test_rates_of_maximum_likelihood_are_those_of_tick_and_no_worse() -> None:
    """By our likelihood: the one of tick leaves out hundredths of a day of 40, so that its optimum is a bit higher."""
    pytest.importorskip("tick.hawkes", reason="tick is not installed")
    from scipy.optimize import minimize
    from tick.hawkes.model import ModelHawkesSumExpKernLogLik

    t, members = labelled(1)
    decays, window = np.array([1.0, 6.0]), Window(0, 40)
    events, rows = Events(t, np.zeros((len(t), 1))), np.ascontiguousarray(members.T)
    designs = [design(events, rows, window, decays, r) for r in range(2)]
    ours = np.array([sparse_rates(given, slice(0, 0), 0.0) for given in designs])
    model = ModelHawkesSumExpKernLogLik(decays)
    model.fit([np.ascontiguousarray(t[members[:, r] == 1]) for r in range(2)], end_times=40.0)
    best = minimize(model.loss_and_grad, np.full(10, 0.1), jac=True, bounds=[(1e-12, None)] * 10).x
    theirs = np.column_stack([best[:2], best[2:].reshape(2, -1)])
    for given, mine, other in zip(designs, ours, theirs, strict=True):
        value, bar = (np.log(given.columns @ w).sum() - given.masses @ w for w in (mine, other))
        assert bar - GAP * len(t) <= value < bar + 0.1  # a fit has converged once it can gain no more than that
    np.testing.assert_allclose(ours[:, 1:], theirs[:, 1:], atol=0.02)
    np.testing.assert_allclose(ours[:, 0], theirs[:, 0], atol=0.2)
