"""The models without triggering kernels: uniform, historical average, decaying KDE."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.neighbors import KernelDensity

from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.models import DecayingKDE, HistoricalAverage, Uniform
from stpp.simulation.branching import simulate_hawkes

UNIT = Box((0.0, 0.0), (1.0, 1.0))
WIDE = Box((-10.0, -10.0), (10.0, 10.0))


def blob(n: int, seed: int = 0, days: float = 50.0) -> Events:
    rng = np.random.default_rng(seed)
    x = 0.5 + 0.12 * rng.normal(size=(n, 2)).clip(-4, 4)
    return Events(np.sort(rng.uniform(0, days, n)), x, rng.gamma(2, 1, n))


# -- uniform ------------------------------------------------------------------------------------------------------


def test_uniform_by_hand() -> None:
    """Six events in the window of 4 days on a box of volume 400: rate 1.5, log-likelihood 6 ln(1.5/400) − 6."""
    events = Events([0.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.5, 9.0], np.zeros((8, 2)))
    model = Uniform(domain=WIDE).fit(events, Window(1, 5))
    assert model.rate == 1.5
    assert model.result is not None
    assert model.result.log_likelihood == pytest.approx(6 * math.log(1.5 / 400) - 6)
    assert model.result.parameters["rate"].standard_error == pytest.approx(math.sqrt(6) / 4)
    assert model.log_likelihood(events, Window(1, 5)) == pytest.approx(model.result.log_likelihood)
    forecast = model.forecast(Window(5, 7), events, Grid(WIDE, (4, 5)))
    np.testing.assert_allclose(forecast.counts, 1.5 * 2 / 20)
    np.testing.assert_allclose(forecast.density, 1.0)
    assert forecast.mean_square() == (pytest.approx(1.0), 0.0)


# -- historical average -------------------------------------------------------------------------------------------


def kernel_density(x: Array, centres: Array, weight: Array, h: float, box: Box) -> Array:
    """Σ w_j φ_h(x − x_j)/M_j over Σ w_j, written out."""
    square = ((x[:, None, :] - centres) ** 2).sum(axis=2)
    kernel = np.exp(-square / (2 * h * h)) / (2 * math.pi * h * h)
    return np.asarray(kernel @ (weight / box.kernel_mass(centres, h)) / weight.sum())


def test_one_bandwidth_without_memory_loss_is_scikit_learns_kernel_density() -> None:
    events, places = blob(500), np.random.default_rng(1).uniform(0.1, 0.9, (300, 2))
    model = HistoricalAverage(domain=WIDE, rate=1.0, decays=np.zeros(1), bandwidths=np.array([0.07]), shares=np.ones(1))
    unweighted = replace(events, weight=np.ones(500))
    for history, weight in ((events, events.weight), (unweighted, None)):
        theirs = np.exp(KernelDensity(bandwidth=0.07).fit(events.x, sample_weight=weight).score_samples(places))
        ours = model.intensity(np.full(300, 60.0), places, history)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.max())
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0)), (50, 50))
    inner = replace(model, domain=UNIT, floor=0.0).forecast(Window(60, 61), events, grid)
    centres = np.exp(
        KernelDensity(bandwidth=0.07).fit(events.x, sample_weight=events.weight).score_samples(grid.points())
    )
    # a cell holds the mean over it, not the value at its centre
    np.testing.assert_allclose(inner.density.ravel(), centres, rtol=0.02, atol=0.01 * centres.max())


def test_the_intensity_is_the_formula() -> None:
    events, rng = blob(300), np.random.default_rng(3)
    model = HistoricalAverage(domain=UNIT).fit(events, Window(0, 50))
    t, x = np.sort(rng.uniform(5, 50, 40)), rng.uniform(size=(40, 2))
    for k in range(40):
        past = events.before(t[k])
        expected = 1 - model.shares.sum()
        for h, share in zip(model.bandwidths, model.shares, strict=True):
            expected += share * kernel_density(x[[k]], past.x, past.weight, h, UNIT)[0]
        assert model.intensity(t[[k]], x[[k]], events)[0] == pytest.approx(model.rate * expected, rel=1e-3, abs=1e-3)


def test_the_density_integrates_to_one_over_the_box_near_its_edges_too() -> None:
    events = Events(np.arange(20.0), np.tile([[0.0, 1.0], [0.02, 0.5]], (10, 1)))
    model = HistoricalAverage(domain=UNIT, rate=2.0, decays=np.zeros(1), bandwidths=np.array([0.1]), shares=np.ones(1))
    centres = Grid.over(UNIT, 200)
    value = model.intensity(np.full(centres.cells, 30.0), centres.points(), events)
    assert value.mean() == pytest.approx(2.0, rel=1e-3)


def test_the_historical_average_forgets_nothing_and_knows_no_burst() -> None:
    events = blob(400)
    model = HistoricalAverage(domain=UNIT).fit(events, Window(0, 50))
    assert (model.decays == 0).all()
    assert model.rate == 400 / 50
    assert model.rate_share == 0
    assert model.forecast(Window(50, 53), events, Grid.over(UNIT, 5)).total == pytest.approx(24)
    assert model.result is not None
    assert model.result.parameters["rate"].standard_error == pytest.approx(math.sqrt(400) / 50)
    shares = [p.value for name, p in model.result.parameters.items() if name.startswith("share of")]
    assert sum(shares) == pytest.approx(1)


def test_a_heavy_event_draws_the_density_to_itself() -> None:
    here, there = [[0.2, 0.2]], [[0.8, 0.8]]
    events = Events(np.arange(40.0), np.repeat(here + there, 20, axis=0), np.repeat([9.0, 1.0], 20))
    model = HistoricalAverage(domain=UNIT, rate=1.0, decays=np.zeros(1), bandwidths=np.array([0.05]), shares=np.ones(1))
    a, b = model.intensity(np.full(2, 50.0), np.array(here + there), events)
    assert a / b == pytest.approx(9)


# -- decaying KDE -------------------------------------------------------------------------------------------------


def test_recent_posts_count_for_more_by_the_half_life() -> None:
    """One event of age 6 half-lives at one place, one of age 1 at another: 32 to 1."""
    events = Events([4.0, 14.0], [[0.2, 0.2], [0.8, 0.8]])
    model = DecayingKDE(
        domain=UNIT, rate=1.0, decays=np.array([math.log(2) / 2]), bandwidths=np.array([0.05]), shares=np.ones(1)
    )
    old, new = model.intensity(np.full(2, 16.0), events.x, events)
    assert new / old == pytest.approx(2.0**5)


def predictive(model: HistoricalAverage, events: Events, days: range) -> float:
    """Mean log density, over the box, of each day's events in the forecast of that day."""
    windows = [Window(day, day + 1.0) for day in days]
    forecasts = model.rolling_forecasts(events, windows, Grid.over(UNIT, 30))
    logs = [np.log(f.relative_at(events.between(w).x)) for w, f in zip(windows, forecasts, strict=True)]
    return float(np.concatenate(logs).mean())


def test_forgetting_pays_where_places_move_and_not_where_they_stay() -> None:
    still = blob(2_000, seed=4, days=60)
    moving = replace(still, x=(0.3 * (still.x - 0.5) + 0.5 + 0.3 * np.sin(still.t / 4)[:, None] * [1, 0]).clip(0, 1))
    gains = []
    for events in (still, moving):
        average, fading = (cls(domain=UNIT).fit(events, Window(0, 40)) for cls in (HistoricalAverage, DecayingKDE))
        gains.append(predictive(fading, events, range(40, 60)) - predictive(average, events, range(40, 60)))
    assert abs(gains[0]) < 0.01
    assert gains[1] > 0.3


def test_the_rate_leans_on_recent_days_as_far_as_the_data_do() -> None:
    bursty, truth = simulate_hawkes(2_000, seed=5, decay=1.0, branching=0.7, duration=200.0)
    model = DecayingKDE(domain=UNIT).fit(bursty, Window(0, 200))
    # λ = μ + η·recent rate is this very form: share η, decay β, mean μ/(1 − η)
    assert model.rate_share == pytest.approx(truth["branching"], abs=0.12)
    assert 0.4 < model.rate_decay / truth["decay"] < 2.5
    steady = blob(1_000)
    assert DecayingKDE(domain=UNIT).fit(steady, Window(0, 50)).rate_share < 0.1


def test_the_expected_number_relaxes_from_the_recent_rate_to_the_mean() -> None:
    """dR/dt = δ(λ − R) with λ = (1 − a)·m + a·R, stepped by hand."""
    events = Events(np.linspace(9, 10, 30), np.full((30, 2), 0.5))
    model = DecayingKDE(domain=UNIT, rate=5.0, rate_share=0.6, rate_decay=0.8)
    recent = 0.8 * np.exp(-0.8 * (10.5 - events.t)).sum()
    step, total = 1e-4, 0.0
    for _ in range(40_000):
        rate = 0.4 * 5.0 + 0.6 * recent
        total += rate * step
        recent += 0.8 * (rate - recent) * step
    forecast = model.forecast(Window(10.5, 14.5), events, Grid.over(UNIT, 3))
    assert forecast.total == pytest.approx(total, rel=1e-3)
    assert forecast.total > 1.2 * model.total_compensator(Window(10.5, 14.5), events)


def test_only_the_window_sets_the_rate_but_all_history_the_density() -> None:
    events = blob(500)
    late = HistoricalAverage(domain=UNIT).fit(events, Window(40, 50))
    assert late.rate == len(events.between(Window(40, 50))) / 10
    whole = HistoricalAverage(domain=UNIT).fit(events.between(Window(40, 50)), Window(40, 50))
    assert whole.rate == late.rate
    assert not np.array_equal(whole.bandwidths, late.bandwidths) or not np.array_equal(whole.shares, late.shares)
