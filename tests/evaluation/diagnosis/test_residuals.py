"""Residuals are pure chance under the truth, and are not where the model is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.diagnosis.residuals import (
    bootstrap_ks,
    clustered_uniformity,
    density_levels,
    join,
    rescaled_times,
    super_thinning,
    time_rescaling,
    uniformity,
)
from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.intensity import Forecast, PointForecast
from stpp.models import Hawkes, HistoricalAverage, Uniform

BOX = Box((0.0, 0.0), (2.0, 1.0))


def poisson(rate: float, window: Window, rng: np.random.Generator, box: Box = BOX) -> Events:
    t = np.sort(rng.uniform(window.start, window.end, rng.poisson(rate * window.duration)))
    return Events(t, box.sample(len(t), rng))


def hawkes(branching: float = 0.6, decay: float = 5.0, rate: float = 2.0) -> Hawkes:
    """A self-exciting truth: one kernel, bandwidth 0.05, over a uniform background."""
    one = np.ones(1)
    return Hawkes(
        domain=BOX,
        uniform_rate=rate,
        decays=decay * one,
        bandwidths=0.05 * one,
        exponents=0 * one,
        coefficients=branching * one,
        mean_productivity=one,
    )


@pytest.fixture(scope="module")
def excited() -> Events:
    """A draw of :func:`hawkes` over 400 days."""
    return hawkes().simulate(Window(0.0, 400.0), Events([], np.empty((0, 2))), np.random.default_rng(3))


# -- times ----------------------------------------------------------------------------------------------------


def test_held_out_p_values_are_uniform_under_the_truth() -> None:
    truth, window, rng = Uniform(domain=BOX, rate=8.0), Window(0.0, 25.0), np.random.default_rng(0)
    found = [time_rescaling(rescaled_times(truth, poisson(8.0, window, rng), window, rng)) for _ in range(400)]
    assert stats.kstest([f.ks.p_value for f in found], "uniform").pvalue > 0.01
    assert stats.kstest([f.lag.p_value for f in found], "uniform").pvalue > 0.01
    assert np.mean([f.ks.value > f.ks_band for f in found]) == pytest.approx(0.05, abs=0.03)


@pytest.mark.slow
def test_in_sample_ks_hardly_ever_rejects_and_the_bootstrap_repairs_it() -> None:
    """A fitted rate alone: the nominal 5 % test rejects the truth in under 2 %; refitting replicates gives 5 %."""
    window, rng = Window(0.0, 10.0), np.random.default_rng(1)
    naive, repaired = [], []
    for _ in range(160):
        events = poisson(5.0, window, rng)
        model = Uniform(domain=BOX).fit(events, window)
        naive.append(time_rescaling(rescaled_times(model, events, window, rng)).ks.p_value)
        repaired.append(bootstrap_ks(model, events, window, 19, rng)[0].p_value)
    assert np.mean(np.array(naive) < 0.05) < 0.02
    assert np.mean(naive) > 0.6  # uniform p-values: 0.5
    # B = 19: p takes the values 1/20, 2/20, … with equal chance
    counts = np.bincount(np.rint(np.array(repaired) * 20).astype(int), minlength=21)[1:]
    assert stats.chisquare(counts).pvalue > 0.01


def test_bootstrap_still_rejects_a_wrong_model(excited: Events) -> None:
    window = Window(0.0, 60.0)
    model = Uniform(domain=BOX).fit(excited, window)
    found, simulated = bootstrap_ks(model, excited, window, 39, np.random.default_rng(0))
    assert found.p_value == 1 / 40
    assert found.value > 2 * simulated.max()


def test_self_excitation_is_seen_by_poisson_and_explained_by_hawkes(excited: Events) -> None:
    window, rng = Window(200.0, 400.0), np.random.default_rng(0)
    wrong = time_rescaling(rescaled_times(Uniform(domain=BOX, rate=5.0), excited, window, rng))
    right = time_rescaling(rescaled_times(hawkes(), excited, window, rng))
    assert right.n == wrong.n > 700
    assert wrong.ks.p_value < 1e-6
    assert wrong.ks.value > 3 * wrong.ks_band
    assert wrong.lag.p_value < 1e-6
    assert wrong.variation > 1.3
    assert right.expected == pytest.approx(right.n, abs=3 * right.n**0.5)
    assert right.variation == pytest.approx(1, abs=0.1)


def test_p_values_are_uniform_under_a_self_exciting_truth() -> None:
    window, rng = Window(40.0, 140.0), np.random.default_rng(4)
    found = []
    for _ in range(60):
        events = hawkes().simulate(Window(0.0, window.end), Events([], np.empty((0, 2))), rng)
        times = time_rescaling(rescaled_times(hawkes(), events, window, rng))
        thinned = super_thinning(hawkes(), events, window, rng)
        found.append([times.ks.p_value, times.lag.p_value, thinned.cells.p_value, thinned.times.p_value])
    for p_values in np.transpose(found):
        assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_rescaled_times_use_only_events_inside_the_domain(excited: Events) -> None:
    window, rng = Window(200.0, 220.0), np.random.default_rng(0)
    stray = Events([205.0, 210.0], [[9.0, 9.0], [-3.0, 0.5]])
    both = Events(np.append(excited.t, stray.t), np.vstack([excited.x, stray.x]))
    np.testing.assert_array_equal(
        rescaled_times(hawkes(), both, window, rng), rescaled_times(hawkes(), excited, window, rng)
    )


@pytest.mark.parametrize("per_tick", [0.1, 1.0, 8.0])
def test_a_ticking_clock_is_no_misfit(per_tick: float) -> None:
    """Times rounded up to ticks of 0.01 days: without spreading, every tied event would have an increment of 0."""
    rng, tick = np.random.default_rng(7), 0.01
    window = Window(0.0, 1500 / per_tick * tick)
    rate = per_tick / tick
    exact = poisson(rate, window, rng)
    rounded = replace(exact, t=np.minimum(np.ceil(exact.t / tick) * tick, np.nextafter(window.end, 0)))
    model = Uniform(domain=BOX, rate=rate)
    tied = model.compensator_increments(window, rounded)
    assert (tied[:-1] == 0).sum() > 20
    spread = rescaled_times(model, rounded, window, rng)
    assert spread.shape == tied.shape
    assert spread.min() >= 0
    assert spread.sum() == pytest.approx(tied.sum())
    found = time_rescaling(spread)
    assert found.ks.p_value > 0.05
    assert found.lag.p_value > 0.05
    if per_tick >= 1:
        assert time_rescaling(tied).ks.p_value < 1e-6


def test_without_ties_nothing_is_drawn(excited: Events) -> None:
    window = Window(200.0, 220.0)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(
        rescaled_times(hawkes(), excited, window, rng), hawkes().compensator_increments(window, excited)
    )
    assert rng.uniform() == np.random.default_rng(0).uniform()


def test_windows_join_to_one(excited: Events) -> None:
    rng = np.random.default_rng(0)
    parts = [rescaled_times(hawkes(), excited, w, rng) for w in Window(200.0, 230.0).rolling(10.0)]
    whole = rescaled_times(hawkes(), excited, Window(200.0, 230.0), rng)
    np.testing.assert_allclose(join(parts), whole, atol=1e-9)
    np.testing.assert_allclose(join([np.array([0.5]), np.array([1.0, 2.0])]), [1.5, 2.0])  # an empty window first


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=40))
def test_time_rescaling_agrees_with_scipy(gaps: list[float]) -> None:
    found = time_rescaling([*gaps, 0.25])
    other = stats.kstest(gaps, "expon")
    assert found.ks.value == pytest.approx(other.statistic, abs=1e-9)
    assert found.ks.p_value == pytest.approx(other.pvalue, abs=1e-9)
    assert found.expected == pytest.approx(sum(gaps) + 0.25)
    theory, sample = found.quantiles()
    assert (np.diff(theory) > 0).all()
    assert (np.diff(sample) >= 0).all()


def test_too_few_events_for_a_lag_say_so() -> None:
    found = time_rescaling([0.3, 0.9, 0.1])
    assert np.isnan(found.lag.value)
    assert np.isnan(found.lag.p_value)
    with pytest.raises(ValueError, match="no events in the held-out time"):
        time_rescaling([3.0])
    with pytest.raises(ValueError, match="finite and ≥ 0"):
        time_rescaling([1.0, np.inf, 1.0])


# -- super-thinning -------------------------------------------------------------------------------------------


def test_super_thinned_residuals_of_the_truth_are_homogeneous() -> None:
    """Uniform p-values over draws of a strongly inhomogeneous truth, and as many points as the rate says."""
    past = Events(np.zeros(60), np.random.default_rng(5).normal(0.5, 0.08, (60, 2)))
    truth = HistoricalAverage(
        domain=BOX, rate=40.0, decays=np.zeros(1), bandwidths=np.array([0.2]), shares=np.array([0.9])
    )
    window, rng = Window(1.0, 11.0), np.random.default_rng(2)
    cells, times, total = [], [], []
    for _ in range(150):
        drawn = truth.simulate(window, past, rng)
        # λ grows with the events that come: simulate() holds the density as it is at the start, so does the judge
        found = super_thinning(_Frozen.of(truth, past), past.then(drawn), window, rng, rate=10.0)
        cells.append(found.cells.p_value)
        times.append(found.times.p_value)
        total.append(len(found.x))
    assert found.expected == pytest.approx(10.0 * BOX.volume * 10)
    assert 0 < found.added.sum() < len(found.x)
    assert stats.kstest(cells, "uniform").pvalue > 0.01
    assert stats.kstest(times, "uniform").pvalue > 0.01
    assert np.mean(total) == pytest.approx(found.expected, abs=4 * (found.expected / 150) ** 0.5)


class _Frozen(Uniform):
    """A Poisson process with the density that another model has at a given time."""

    @classmethod
    def of(cls, model: HistoricalAverage, past: Events) -> _Frozen:
        frozen = cls(domain=model.domain, rate=1.0)
        object.__setattr__(frozen, "at", lambda x: model.intensity(np.full(len(x), 1.0), x, past))
        return frozen

    def intensity(self, t: np.ndarray, x: np.ndarray, history: Events) -> np.ndarray:
        return np.asarray(self.at(x))  # type: ignore[attr-defined]


def test_super_thinning_sees_what_a_poisson_model_misses(excited: Events) -> None:
    window, rng = Window(200.0, 400.0), np.random.default_rng(0)
    wrong = super_thinning(Uniform(domain=BOX, rate=5.0), excited, window, rng)
    right = super_thinning(hawkes(), excited, window, rng)
    assert wrong.cells.p_value < 1e-6
    assert right.cells.p_value > 0.02
    assert right.times.p_value > 0.02
    assert right.rate == wrong.rate == pytest.approx(len(excited.between(window)) / (BOX.volume * 200))
    # the Poisson model's λ is the same everywhere, so nothing but chance thins or adds
    assert abs(wrong.added.sum()) < 0.1 * len(wrong.x)
    assert (np.diff(right.elapsed) >= 0).all()
    assert right.elapsed.max() < 200


def test_pooled_residuals_follow_one_another(excited: Events) -> None:
    rng = np.random.default_rng(0)
    first, second = (super_thinning(hawkes(), excited, w, rng, 2.0) for w in Window(200.0, 240.0).rolling(20.0))
    both = first.then(second)
    assert both.duration == 40
    assert len(both.x) == len(first.x) + len(second.x)
    assert both.expected == pytest.approx(first.expected + second.expected)
    assert (np.diff(both.elapsed) >= 0).all()


def test_super_thinning_in_one_and_in_five_dimensions() -> None:
    rng, window = np.random.default_rng(0), Window(0.0, 10.0)
    for d in (1, 5):
        box = Box((0.0,) * d, (1.0,) * d)
        found = super_thinning(Uniform(domain=box, rate=60.0), poisson(60.0, window, rng, box), window, rng)
        assert found.cells.p_value > 0.01
        assert found.x.shape[1] == d


def test_super_thinning_needs_a_rate() -> None:
    empty = Events([], np.empty((0, 2)))
    with pytest.raises(ValueError, match="needs a rate > 0"):
        super_thinning(Uniform(domain=BOX, rate=1.0), empty, Window(0.0, 1.0), np.random.default_rng(0))


# -- places ---------------------------------------------------------------------------------------------------


def peaked(power: float = 1.0) -> Forecast:
    """A peak with a flat foot, so that many cells tie; ``power`` > 1 sharpens it."""
    grid = Grid.over(BOX, 20)
    x = grid.points() - [1.0, 0.5]
    counts = (np.maximum(np.exp(-(x**2).sum(axis=1) / 0.1), 0.05) ** power).reshape(grid.shape)
    return Forecast.of(Window(0.0, 1.0), grid, counts, "peaked")


def draws_from(forecast: Forecast, n: int, rng: np.random.Generator) -> np.ndarray:
    cell = rng.choice(forecast.grid.cells, n, p=forecast.counts.ravel() / forecast.total)
    return forecast.grid.points()[cell] + rng.uniform(-0.5, 0.5, (n, 2)) * forecast.grid.spacing


def test_density_levels_are_uniform_under_the_truth_and_lean_when_it_is_not() -> None:
    rng = np.random.default_rng(0)
    x = draws_from(peaked(), 3000, rng)
    right, sharp, wide = (density_levels(peaked(p), x, rng) for p in (1.0, 1.5, 0.6))
    assert uniformity(right).p_value > 0.05
    assert uniformity(sharp).p_value < 1e-6
    assert sharp.mean() > 0.53
    assert uniformity(wide).p_value < 1e-6
    assert wide.mean() < 0.47
    assert right.min() >= 0
    assert right.max() <= 1


def test_density_levels_by_hand() -> None:
    # counts 4, 3, 3 of 10: the first cell's events take levels (0, .4), those of the two tied cells (.4, 1)
    grid = Grid(Box((0.0,), (3.0,)), (3,))
    forecast = Forecast.of(Window(0.0, 1.0), grid, np.array([4.0, 3.0, 3.0]), "by hand", 0.0)
    rng = np.random.default_rng(0)
    peak = density_levels(forecast, np.full((2000, 1), 0.5), rng)
    foot = density_levels(forecast, np.full((2000, 1), 2.5), rng)
    assert 0 <= peak.min() < 0.01
    assert 0.39 < peak.max() <= 0.4
    assert 0.4 <= foot.min() < 0.41
    assert 0.99 < foot.max() <= 1


def test_density_levels_without_a_grid() -> None:
    """Four dimensions: a Gaussian bump drawn from is uniform, a narrower one is not."""
    box = Box((-5.0,) * 4, (5.0,) * 4)

    def bump(sd: float) -> PointForecast:
        return PointForecast(
            Window(0.0, 1.0),
            box,
            10.0,
            lambda x: np.exp(-(x**2).sum(axis=1) / (2 * sd**2)) / (2 * np.pi * sd**2) ** 2,
            lambda n, rng: rng.normal(0, sd, (n, 4)),
            "bump",
        )

    rng = np.random.default_rng(1)
    x = rng.normal(size=(1000, 4))
    assert uniformity(density_levels(bump(1.0), x, rng)).p_value > 0.01
    assert density_levels(bump(0.7), x, rng).mean() > 0.7


@pytest.mark.slow
def test_windows_of_shared_luck_do_not_fake_a_misfit() -> None:
    """Uniform values, correlated by 0.2 inside windows: the usual p-value cries wolf, the resampled one does not."""
    rng = np.random.default_rng(2)
    naive, clustered = [], []
    for _ in range(120):
        luck = np.sqrt(0.2) * rng.normal(size=(60, 1)) + np.sqrt(0.8) * rng.normal(size=(60, 15))
        u = stats.norm.cdf(luck)
        naive.append(uniformity(u.ravel()).p_value < 0.05)
        clustered.append(clustered_uniformity(list(u), 4, rng).p_value < 0.05)
    assert np.mean(naive) > 0.25
    assert np.mean(clustered) < 0.12


def test_clustered_uniformity_has_power_and_knows_nothing_of_nothing() -> None:
    rng = np.random.default_rng(3)
    bent = [rng.beta(1.6, 1.6, 20) for _ in range(60)]  # the mean is 1/2 all the same
    found = clustered_uniformity(bent, 4, rng)
    assert found.p_value < 0.01
    assert found.value == pytest.approx(uniformity(np.concatenate(bent)).value, abs=0.01)
    assert np.isnan(clustered_uniformity([np.zeros(0)], 1, rng).value)
