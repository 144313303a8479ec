"""The Hawkes process: recovered from simulations with known truth, and true to its own formula."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.fitting.hawkes import _ExponentialLikelihood
from stpp.fitting.results import Parameter
from stpp.kernels.triggering import TriggeringKernel
from stpp.models import Hawkes, HistoricalAverage
from stpp.simulation.branching import simulate_branching, simulate_hawkes

NAMES = {
    "background rate": "background_rate",
    "branching ratio": "branching",
    "decay": "decay",
    "bandwidth": "bandwidth",
}
"""Parameter of the classical fit → its name in the truth of a simulation."""


def unit(d: int = 2) -> Box:
    return Box((0.0,) * d, (1.0,) * d)


def classical(events: Events, window: Window, d: int = 2) -> Hawkes:
    return Hawkes(domain=unit(d), kernel="exponential").fit(events, window)


def errors(model: Hawkes, truth: dict[str, Any]) -> dict[str, float]:
    """Distance of each parameter from the truth, in standard errors."""
    assert model.result is not None
    return {name: distance(model.result.parameters[name], truth[key]) for name, key in NAMES.items()}


def distance(parameter: Parameter, truth: float) -> float:
    assert parameter.standard_error is not None
    return (parameter.value - truth) / parameter.standard_error


@cache
def bursts() -> Events:
    """1,500 events over 60 days of which most are offspring, so that a week-ahead forecast must reckon with more."""
    return simulate_hawkes(1_500, seed=8, branching=0.75, decay=0.5, bandwidth=0.08, duration=60.0)[0]


@cache
def dictionary() -> Hawkes:
    return Hawkes(domain=unit()).fit(bursts(), Window(0, 60))


# -- the classical form -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("n", "d", "seed"), [(20_000, 1, 4), (20_000, 2, 5), (10_000, 3, 6), (100_000, 2, 7)])
def test_every_parameter_is_within_three_standard_errors_of_the_truth(n: int, d: int, seed: int) -> None:
    events, truth = simulate_hawkes(n, seed, d=d)
    model = classical(events, Window(0, 1000), d)
    assert model.result is not None
    assert model.result.converged
    found = errors(model, truth)
    assert max(abs(v) for v in found.values()) < 3, found
    relative = [p.standard_error / p.value for p in model.result.parameters.values() if p.standard_error]
    assert max(relative) < 5 / math.sqrt(n)  # and the standard errors are no excuse


@pytest.mark.slow
def test_about_95_of_100_intervals_hold_the_truth() -> None:
    """40 sets of 1,000; benchmarks/coverage.py does 100 sets of 5,000."""
    held = dict.fromkeys(NAMES, 0)
    for seed in range(40):
        events, truth = simulate_hawkes(1_000, seed, duration=200.0)
        for name, off in errors(classical(events, Window(0, 200)), truth).items():
            held[name] += abs(off) < 1.96
    assert min(held.values()) >= 34, held  # fewer has probability 0.003 per parameter
    assert sum(held.values()) <= 159, held


def test_edge_correction_or_a_wide_kernel_would_look_like_a_weak_one() -> None:
    events, truth = simulate_hawkes(10_000, seed=2, bandwidth=0.2, duration=500.0)
    model = classical(events, Window(0, 500))
    assert max(abs(v) for v in errors(model, truth).values()) < 3
    stays = float(unit().kernel_mass(events.x, 0.2).mean())
    assert model.result is not None
    error = model.result.parameters["branching ratio"].standard_error
    assert error is not None
    assert truth["branching"] * (1 - stays) > 2.5 * error  # what the fit would be short of without erf masses


def test_gradient_and_information_are_those_of_the_likelihood() -> None:
    events, _ = simulate_hawkes(1_000, seed=1, bandwidth=0.05, duration=100.0)
    likelihood = _ExponentialLikelihood(events, Window(20, 100), unit(), 1e-11)
    place = np.array([4.0, 0.5, 1.3, 0.06])

    def value(p: Array) -> float:
        return likelihood.at(p[2], p[3], p[:2], fixed=True).value

    def moved(*signs: tuple[int, float]) -> Array:
        p = place.copy()
        for k, step in signs:
            p[k] += step * place[k]
        return p

    step = 1e-4
    gradient = [(value(moved((k, step))) - value(moved((k, -step)))) / (2 * step * place[k]) for k in range(4)]
    at = likelihood.at(place[2], place[3], place[:2], fixed=True)
    np.testing.assert_allclose(at.gradient * place, np.array(gradient) * place, rtol=1e-5, atol=1e-3)

    step = 3e-3
    hessian = np.empty((4, 4))
    for j in range(4):
        for k in range(4):
            corners = [a * b * value(moved((j, a * step), (k, b * step))) for a in (1, -1) for b in (1, -1)]
            hessian[j, k] = sum(corners) / (4 * step**2)  # in units of the parameters
    information = likelihood.information(place[2], place[3], at) * np.outer(place, place)
    np.testing.assert_allclose(information, -hessian, rtol=2e-3, atol=2e-3 * np.abs(hessian).max())


def test_the_optimum_is_flat_and_history_before_the_window_only_excites() -> None:
    events, _ = simulate_hawkes(3_000, seed=9, duration=100.0)
    model = classical(events, Window(30, 100))
    assert model.result is not None
    assert model.result.n_events == len(events.between(Window(30, 100)))
    best = model.log_likelihood(events, Window(30, 100))
    for name in ("uniform_rate", "coefficients", "decays", "bandwidths"):
        for factor in (0.97, 1.03):
            other = replace(model, **{name: factor * getattr(model, name)})
            assert other.log_likelihood(events, Window(30, 100)) < best
    late = classical(events.between(Window(30, 100)), Window(30, 100))
    assert late.result is not None
    assert late.result.background_rate > model.result.background_rate  # offspring whose parents are hidden


@pytest.mark.slow
def test_without_self_excitation_the_branching_ratio_is_near_zero() -> None:
    rng = np.random.default_rng(3)
    events = Events(np.sort(rng.uniform(0, 300, 2_000)), rng.uniform(size=(2_000, 2)))
    assert classical(events, Window(0, 300)).branching_ratio < 0.05
    assert Hawkes(domain=unit()).fit(events, Window(0, 300)).branching_ratio < 0.1


def test_one_event_is_all_background() -> None:
    model = classical(Events([3.0], [[0.5, 0.5]]), Window(0, 10))
    assert model.branching_ratio == 0
    assert model.uniform_rate == pytest.approx(0.1, rel=1e-4)


# -- the dictionary -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_other_weights_are_likelier() -> None:
    model, window, rng = dictionary(), Window(0, 60), np.random.default_rng(0)
    assert model.result is not None
    assert model.result.converged
    best = model.result.log_likelihood
    assert best == pytest.approx(model.log_likelihood(bursts(), window), rel=1e-9)
    for scale in (0.01, 0.1, 1.0):
        for _ in range(10):
            factor = np.exp(scale * rng.normal(size=len(model.coefficients)))
            other = replace(
                model,
                uniform_rate=model.uniform_rate * float(np.exp(scale * rng.normal())),
                cycle_rates=model.cycle_rates * np.exp(scale * rng.normal(size=len(model.cycle_rates))),
                coefficients=model.coefficients * factor,
            )
            assert other.log_likelihood(bursts(), window) < best


def test_in_sample_it_can_only_beat_what_lies_inside_it() -> None:
    model, window = dictionary(), Window(0, 60)
    assert model.result is not None
    rates = np.zeros(len(model.cycle_rates))
    rates[0] = len(bursts()) / 60
    none = np.zeros(0)
    average = replace(
        model, uniform_rate=0.0, cycle_rates=rates, decays=none, bandwidths=none, exponents=none, coefficients=none,
        mean_productivity=none,
    )  # fmt: skip
    assert model.result.log_likelihood > average.log_likelihood(bursts(), window) + 20
    fitted = HistoricalAverage(domain=unit()).fit(bursts(), window).result
    assert fitted is not None
    assert model.result.log_likelihood > fitted.log_likelihood + 20


@pytest.mark.slow
def test_the_dictionary_finds_how_many_are_offspring() -> None:
    events, truth = simulate_hawkes(30_000, seed=3)
    model = Hawkes(domain=unit()).fit(events, Window(0, 1000))
    assert model.branching_ratio == pytest.approx(truth["branching"], abs=0.06)
    assert model.result is not None
    assert model.result.background_rate == pytest.approx(truth["background_rate"], rel=0.15)
    strongest = int(model.coefficients.argmax())
    assert model.bandwidths[strongest] == pytest.approx(truth["bandwidth"], rel=0.5)
    assert model.decays[strongest] == pytest.approx(truth["decay"], rel=0.6)


def test_the_intensity_is_the_formula() -> None:
    """λ against its definition, every pair of events written out."""
    model, events = dictionary(), bursts()
    rng = np.random.default_rng(4)
    t, x = np.sort(rng.uniform(20, 60, 30)), rng.uniform(size=(30, 2))
    value = model.intensity(t, x, events)
    before = events.t[None, :] < t[:, None]
    lag = np.where(before, t[:, None] - events.t, 0.0)
    square = ((x[:, None, :] - events.x) ** 2).sum(axis=2)

    def gaussian(h: float) -> Array:
        return np.asarray(np.exp(-square / (2 * h * h)) / (2 * math.pi * h * h))

    density = np.full(30, 1 - model.place_shares.sum())
    for decay, h, share in zip(model.place_decays, model.place_bandwidths, model.place_shares, strict=True):
        weight = before * np.exp(-decay * lag)
        density += share * (weight * gaussian(h) / unit().kernel_mass(events.x, h)).sum(axis=1) / weight.sum(axis=1)
    expected = model.uniform_rate + model.cycle(t) * density
    for c, decay, h in zip(model.coefficients, model.decays, model.bandwidths, strict=True):
        spread = density[:, None] if math.isinf(h) else gaussian(h)
        expected += (c * before * decay * np.exp(-decay * lag) * spread).sum(axis=1)
    np.testing.assert_allclose(value, expected, rtol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("period", [1, 7])
def test_a_planted_cycle_is_found(period: int) -> None:
    """Three quarters more at the peak and less at the trough: 20:00 of every day, or the first day of a week."""
    rng = np.random.default_rng(period)
    t = rng.uniform(0, 210, 12_000)
    peak = 20 / 24 if period == 1 else 0.0
    planted = 1 + 0.75 * np.cos(2 * math.pi * (t - peak) / period)
    t = np.sort(t[rng.uniform(0, 1.75, len(t)) < planted])
    events = Events(t, 0.5 + 0.1 * rng.normal(size=(len(t), 2)).clip(-4, 4))
    model = Hawkes(domain=unit()).fit(events, Window(0, 210))
    day = 7 * 10  # a Thursday in the middle of which nothing special happens
    at = day + np.arange(24) / 24 if period == 1 else day + np.arange(7.0)
    found = model.cycle(at) + model.uniform_rate
    truth = 12_000 / 210 / 1.75 * (1 + 0.75 * np.cos(2 * math.pi * (at - peak) / period))
    if period == 7:  # the mean over a day is what a week's hats are judged on
        found = found - model.cycle(day + np.arange(24) / 24).mean() + model.cycle(np.array([day + 0.0]))[0]
    assert int(found.argmax()) == int(truth.argmax())
    assert np.corrcoef(found, truth)[0, 1] > 0.97
    np.testing.assert_allclose(found, truth, atol=0.3 * truth.mean())


@pytest.mark.slow
def test_supercritical_data_are_reported_and_forecast() -> None:
    rng = np.random.default_rng(1)
    start = (np.zeros(30), rng.uniform(0.2, 0.8, (30, 2)))
    kernel = TriggeringKernel(1.0, 0.03)
    sample = simulate_branching(
        Window(0, 12), unit(), [(kernel, 1.3)], start, None, None, rng, allow_supercritical=True
    )
    events = Events(sample.t, sample.x)
    model = classical(events, Window(0, 12))
    assert model.branching_ratio > 1.1
    forecast = model.forecast(Window(12, 14), events, Grid.over(unit(), 8))
    assert forecast.total > 1.2 * model.total_compensator(Window(12, 14), events)
    assert len(model.simulate(Window(12, 14), events, rng)) > 0
    with pytest.raises(ValueError, match=r"grows too fast|max_events"):
        replace(model, coefficients=np.array([400.0])).simulate(Window(12, 14), events, rng)


# -- the forecast -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["dictionary", "exponential"])
def test_the_week_ahead_in_closed_form_is_the_mean_of_2000_simulations(kernel: str) -> None:
    model = replace(Hawkes(domain=unit(), kernel=kernel), floor=0.0).fit(bursts(), Window(0, 50))
    window, past = Window(50, 57), bursts().before(50)
    forecast = model.forecast(window, past, Grid.over(unit(), 40))
    counts = forecast.counts.reshape(5, 8, 5, 8).sum(axis=(1, 3))
    coarse, rng = Grid.over(unit(), 5), np.random.default_rng(11)
    draws = np.stack([coarse.histogram(model.simulate(window, past, rng).x) for _ in range(2_000)])
    z = (draws.mean(axis=0) - counts) / (draws.std(axis=0, ddof=1) / math.sqrt(2_000))
    assert np.abs(z).max() < 4, z
    total = draws.sum(axis=(1, 2))
    assert abs(total.mean() - counts.sum()) < 3.5 * total.std(ddof=1) / math.sqrt(2_000)
    # the offspring of events still to come: without them a quarter or more would be missing
    assert forecast.total > 1.3 * model.total_compensator(window, past)


# -- productivity by a mark ---------------------------------------------------------------------------------------


@cache
def productive() -> Events:
    """Offspring in proportion to 1 + likes, half an offspring per event on average."""
    likes = np.random.default_rng(0).poisson(np.random.default_rng(1).gamma(0.5, 8.0, 100_000))
    share = 0.5 / float(np.mean(1.0 + likes))
    rng = np.random.default_rng(2)
    immigrants = (rng.uniform(0, 300, 1_500), rng.uniform(size=(1_500, 2)))
    sample = simulate_branching(
        Window(0, 300), unit(), [(TriggeringKernel(1.0, 0.02), share)], immigrants, None,
        lambda n, g: 1.0 + g.choice(likes, (n, 1)), rng,
    )  # fmt: skip
    return Events(sample.t, sample.x, marks=pa.table({"likes": sample.productivity[:, 0] - 1}))


@pytest.mark.slow
def test_the_power_of_a_mark_is_recovered() -> None:
    events, window = productive(), Window(0, 300)
    model = Hawkes(domain=unit(), productivity="likes").fit(events, window)
    offspring = model.coefficients * model.mean_productivity
    assert model.branching_ratio == pytest.approx(0.5, abs=0.06)
    assert offspring @ model.exponents / offspring.sum() == pytest.approx(1.0, abs=0.15)
    none, many = model.productivities(Events([0, 1], np.zeros((2, 2)), marks=pa.table({"likes": [0, 19]}))).sum(axis=1)
    assert many / none > 8  # 20 in truth
    blind = Hawkes(domain=unit()).fit(events, window)
    assert model.result is not None
    assert blind.result is not None
    assert model.result.log_likelihood > blind.result.log_likelihood + 50


@pytest.mark.slow
def test_a_mark_that_means_nothing_gets_no_power() -> None:
    events = productive()
    shuffled = pa.table({"likes": np.random.default_rng(5).permutation(events.mark("likes"))})
    model = Hawkes(domain=unit(), productivity="likes").fit(replace(events, marks=shuffled), Window(0, 300))
    offspring = model.coefficients * model.mean_productivity
    assert offspring @ model.exponents / offspring.sum() < 0.25
    assert model.branching_ratio == pytest.approx(0.5, abs=0.08)


@pytest.mark.slow
def test_simulated_events_carry_the_mark_as_the_history_has_it() -> None:
    events = productive()
    model = Hawkes(domain=unit(), productivity="likes").fit(events, Window(0, 300))
    drawn = model.simulate(Window(300, 330), events, np.random.default_rng(0))
    likes = drawn.mark("likes")
    assert np.abs(likes - np.round(likes)).max() < 1e-6
    assert set(np.round(likes)) <= set(events.mark("likes").round())
    assert likes.mean() == pytest.approx(events.mark("likes").mean(), rel=0.4)


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        (None, "no mark column 'likes'"),
        ({"likes": ["a", "b"]}, "not a number"),
        ({"likes": [1.0, -3.0]}, "missing or negative in 1 rows"),
        ({"likes": [1.0, math.nan]}, "missing or negative in 1 rows"),
    ],
)
def test_a_mark_that_cannot_be_used_is_named(marks: dict[str, list[Any]] | None, message: str) -> None:
    events = Events([1.0, 2.0], [[0.1, 0.1], [0.2, 0.2]], marks=None if marks is None else pa.table(marks))
    with pytest.raises(ValueError, match=message):
        Hawkes(domain=unit(), productivity="likes").fit(events, Window(0, 3))


def test_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="no kernel 'cubic'; there are: dictionary, exponential"):
        Hawkes(domain=unit(), kernel="cubic")
    with pytest.raises(ValueError, match="no mark productivity"):
        Hawkes(domain=unit(), kernel="exponential", productivity="likes")
