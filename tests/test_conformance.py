"""What every model promises, whatever its kind: each registered model is walked through the same checks."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss

from stpp.compute.progress import Progress
from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.intensity import Forecast, IntensityModel, PointForecast
from stpp.models import MODELS, make_models
from stpp.models.flow import FlowModel
from stpp.models.stored import load_model
from stpp.simulation.branching import simulate_hawkes

OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {} for name in MODELS},
    "hawkes, exponential": {"kernel": "exponential"},
    "hawkes, productivity": {"productivity": "likes"},
    "drift": {"trials": 3},
    "transport": {"trials": 3},
    "ensemble": {"members": ("uniform", "decaying-kde", "hawkes")},
}
"""Every registered model as it comes, and the other forms of those that have any."""

TRAINING = Window(0, 30)
NEXT = Window(30, 33)
SELF_EXCITING = {"hawkes", "hawkes, exponential", "hawkes, productivity"}
"""Events to come raise the rate of those after them: a forecast is then no compensator along a frozen history."""

BY_THE_CLOCK = {"ensemble", "hawkes", "hawkes, productivity"}
"""Knows the hours of the day and the days of the week, so that its unit of time is no matter of taste."""

ON_A_GRID = {"drift", "transport"}
"""Needs a grid, so works in up to 3 dimensions."""

CASES = [(label, d) for label in OPTIONS for d in (1, 2, 3, 5) if d <= 3 or label not in ON_A_GRID]

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
every_model = pytest.mark.parametrize("label", OPTIONS)
in_every_grid_dimension = pytest.mark.parametrize("d", [1, 2, 3])
every_model_in_any_dimension = pytest.mark.parametrize(("label", "d"), CASES)
above_three_dimensions = pytest.mark.parametrize("label", [label for label, d in CASES if d > 3])


@cache
def world(d: int) -> Events:
    """About 450 self-exciting events on the unit box over 40 days: weighted, marked, many with the same time stamp."""
    events, _ = simulate_hawkes(450, seed=d, d=d, bandwidth=0.05, duration=40.0)
    rng = np.random.default_rng(d)
    marks = pa.table({"likes": rng.poisson(3, len(events))})
    weight = rng.gamma(2, 0.5, len(events))
    axes = tuple("uvwab"[:d])
    return Events(np.round(events.t, 2), events.x, weight, marks=marks, epoch="2020-01-01T00:00:00+00:00", axes=axes)


def unit(d: int) -> Box:
    return Box((0.0,) * d, (1.0,) * d)


def blank(label: str, d: int) -> IntensityModel:
    name = label.split(",")[0]
    return make_models([name], unit(d), options=OPTIONS[label])[name]


def fit(model: IntensityModel, events: Events, window: Window) -> IntensityModel:
    """The model fitted; nothing moves here, so that flow models are told to carry half of the density all the same."""
    found = model.fit(events, window)
    if isinstance(found, FlowModel):
        found = replace(found, carried_share=0.5, drift_scale=1.0, growth_scale=1.0, diffusion=found.diffusion / 2)
        found = found.reported(events.before(window.end), window, 0.0, 1, 0.0)
    return found


@cache
def fitted(label: str, d: int) -> IntensityModel:
    return fit(blank(label, d), world(d), TRAINING)


def content(value: object) -> Any:
    """All that a model or a set of events holds, in a form that compares; a clock's reading left out."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if f.name != "seconds"]
        return {name: content(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [content(v) for v in value]
    if isinstance(value, dict):
        return {name: content(v) for name, v in value.items()}
    return repr(float(value)) if isinstance(value, float) else repr(value)


def some_places(d: int, n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(size=(n, d))


def raw(model: IntensityModel) -> IntensityModel:
    """Without the floor, so that its forecasts are the model's own expectation."""
    return replace(model, floor=0.0)


# -- fitting ------------------------------------------------------------------------------------------------------


@every_model
def test_an_unfitted_model_says_to_fit_it_first(label: str) -> None:
    model, events, grid = blank(label, 2), world(2), Grid.over(unit(2), 4)
    assert not model.fitted
    assert "not fitted" in repr(model)
    rng = np.random.default_rng(0)
    for ask in (
        lambda: model.intensity(np.array([31.0]), np.array([[0.5, 0.5]]), events),
        lambda: model.compensator(NEXT, events, grid),
        lambda: model.simulate(NEXT, events, rng),
        lambda: model.forecast(NEXT, events, grid),
    ):
        with pytest.raises(ValueError, match=r"is not fitted yet: fit it first, model = model\.fit\(events, window\)"):
            ask()
    assert len(repr(fitted(label, 2))) < 150
    assert fitted(label, 2).fitted


@every_model
def test_a_fit_tells_how_far_it_is_and_finds_the_same(label: str) -> None:
    heard: dict[str, list[tuple[int, int]]] = {}

    def hear(stage: str, done: int, total: int) -> None:
        heard.setdefault(stage, []).append((done, total))

    told = fit_only(blank(label, 2), world(2), TRAINING, hear)
    quiet = fit_only(blank(label, 2), world(2), TRAINING, None)
    assert content(told) == content(quiet)
    assert heard or label == "uniform"
    for calls in heard.values():
        assert all(0 <= done <= total or total == 0 for done, total in calls)


def fit_only(model: IntensityModel, events: Events, window: Window, progress: Progress | None) -> IntensityModel:
    found = model.fit(events, window, progress=progress)
    assert found.result is not None
    return replace(found, result=replace(found.result, seconds=0.0))


@pytest.mark.slow
@every_model_in_any_dimension
def test_a_fit_returns_a_copy_and_changes_nothing_else(label: str, d: int) -> None:
    events, model = world(d), blank(label, d)
    before = content(events), content(model)
    first, second = fit(model, events, TRAINING), fit(model, events, TRAINING)
    assert (content(events), content(model)) == before
    assert model.result is None
    assert first is not model
    assert type(first) is type(model)
    assert content(first) == content(second)


@pytest.mark.slow
@every_model_in_any_dimension
def test_what_the_fit_reports_is_what_the_model_says(label: str, d: int) -> None:
    model = fitted(label, d)
    result = model.result
    assert result is not None
    assert result.converged
    assert result.n_events == len(world(d).between(TRAINING))
    assert result.free_parameters >= 1
    assert 0 <= result.branching_ratio < 1
    assert 0 < result.background_rate <= 1.01 * result.n_events / TRAINING.duration
    assert result.seconds < 30
    assert result.log_likelihood == pytest.approx(model.log_likelihood(world(d), TRAINING), rel=1e-5)
    assert "log-likelihood" in result.summary(label)


@pytest.mark.slow
@pytest.mark.parametrize("n", [0, 1, 2, 3])
@every_model
def test_too_few_events_are_refused_in_one_line_or_fitted(label: str, n: int) -> None:
    few, refused = world(2).take(np.arange(n)), ""
    try:
        model = fit(blank(label, 2), few, TRAINING)
    except ValueError as error:
        refused = str(error)
    if refused:
        assert n < 2
        assert "\n" not in refused
        assert "events" in refused
        return
    assert n > 0
    assert math.isfinite(model.log_likelihood(few, TRAINING))
    assert model.forecast(NEXT, few, Grid.over(unit(2), 4)).total == pytest.approx(n / 10, rel=1.5)


ONE_TIME = (np.full(50, 12.0), some_places(2, 50))
ONE_PLACE = (np.linspace(0, 29, 50), np.full((50, 2), 0.3))


@pytest.mark.slow
@every_model
@pytest.mark.parametrize(("t", "x"), [ONE_TIME, ONE_PLACE], ids=["time", "place"])
def test_events_all_at_one_time_or_one_place_can_be_fitted(label: str, t: Array, x: Array) -> None:
    events = Events(t, x, marks=pa.table({"likes": np.arange(50)}))
    model = fit(blank(label, 2), events, TRAINING)
    if label == "hawkes, exponential" and x is ONE_PLACE[1]:  # its likelihood grows without end as h goes to 0
        assert not model.result.converged
        with pytest.raises(ValueError, match="a field of bandwidth"):
            model.forecast(NEXT, events, Grid.over(unit(2), 6))
        return
    forecast = model.forecast(NEXT, events, Grid.over(unit(2), 6))
    assert np.isfinite(forecast.counts).all()
    assert forecast.total > 0


@pytest.mark.slow
@every_model_in_any_dimension
@pytest.mark.parametrize("c", [4.0, 3.0])
def test_the_unit_of_space_adds_exactly_its_logarithm(label: str, d: int, c: float) -> None:
    events, model = world(d), fitted(label, d)
    box = Box((0.0,) * d, (c,) * d)
    scaled = replace(events, x=c * events.x)
    there = fit(replace(blank(label, d), domain=box), scaled, TRAINING)
    here, n = model.log_likelihood(events, TRAINING), len(events.between(TRAINING))
    assert there.log_likelihood(scaled, TRAINING) == pytest.approx(here - n * d * math.log(c), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("label", "d"), [case for case in CASES if case[0] not in BY_THE_CLOCK])
def test_the_unit_of_time_adds_exactly_its_logarithm(label: str, d: int) -> None:
    events, model = world(d), blank(label, d)
    if hasattr(model, "horizon"):
        model = replace(model, horizon=24 * model.horizon)
    scaled, window = replace(events, t=24 * events.t), Window(24 * TRAINING.start, 24 * TRAINING.end)
    here, n = fitted(label, d).log_likelihood(events, TRAINING), len(events.between(TRAINING))
    there = fit(model, scaled, window).log_likelihood(scaled, window)
    assert there == pytest.approx(here - n * math.log(24), abs=1e-3)


# -- predictable --------------------------------------------------------------------------------------------------


def scrambled(events: Events, t: float) -> Events:
    """The same events before t; those from t on at other times, places, weights and marks."""
    past, n = events.before(t), len(events) - len(events.before(t))
    rng = np.random.default_rng(9)
    return replace(
        events,
        t=np.concatenate([past.t, [t], rng.uniform(t, 50, n - 1)]),
        x=np.concatenate([past.x, rng.uniform(size=(n, events.d))]),
        weight=np.concatenate([past.weight, rng.uniform(5, 9, n)]),
        marks=pa.table({"likes": np.concatenate([past.mark("likes"), rng.integers(50, 90, n)])}),
    )


@pytest.mark.slow
@every_model_in_any_dimension
def test_nothing_depends_on_what_comes_later(label: str, d: int) -> None:
    events, model, now = world(d), fitted(label, d), 20.0
    other = scrambled(events, now)
    past = events.before(now)
    t, x = np.linspace(0, now, 60), some_places(d, 60)
    value = model.intensity(t, x, events)
    for history in (other, past):
        # which engine runs, and where its grid lies, may depend on all events: hence not to the last digit
        np.testing.assert_allclose(model.intensity(t, x, history), value, rtol=1e-3, atol=1e-5 * value.max())
    grid = Grid.over(unit(d), 6) if d <= 3 else None
    ours, theirs, cut = (model.forecast(Window(now, now + 2), h, grid) for h in (events, other, past))
    assert ours.total == theirs.total == cut.total
    np.testing.assert_array_equal(ours.relative_at(x), theirs.relative_at(x))
    np.testing.assert_array_equal(ours.relative_at(x), cut.relative_at(x))
    draws = [model.simulate(Window(now, now + 2), h, np.random.default_rng(0)) for h in (events, other, past)]
    assert content(draws[0]) == content(draws[1]) == content(draws[2])
    assert content(fit(blank(label, d), other, Window(0, now))) == content(fit(blank(label, d), past, Window(0, now)))


@every_model_in_any_dimension
def test_events_with_the_same_time_stamp_share_a_history(label: str, d: int) -> None:
    events, model = world(d), fitted(label, d)
    ties = np.flatnonzero(np.diff(events.t) == 0) + 1
    assert len(ties) > 10
    k = int(ties[len(ties) // 2])
    t, x = events.t[[k, k]], events.x[[k - 1, k]]
    alone = model.intensity(t, x, events.before(t[0]))
    np.testing.assert_allclose(model.intensity(t, x, events), alone, rtol=1e-3)


# -- the compensator ----------------------------------------------------------------------------------------------


def quadrature(model: IntensityModel, window: Window, events: Events, low: Array, high: Array) -> float:
    """∫∫ λ over a cell by Gauss–Legendre sums, between any two times at which λ may jump or bend."""
    bends = np.arange(math.floor(window.start * 6), math.ceil(window.end * 6)) / 6  # the hats of the daily cycle
    inner = np.concatenate([events.t, bends])
    inner = inner[(inner > window.start) & (inner < window.end)]
    edges = np.unique(np.concatenate([[window.start], inner, [window.end]]))
    node, weight = leggauss(4)
    half = np.diff(edges)[:, None] / 2
    t, wt = ((edges[1:] + edges[:-1])[:, None] / 2 + half * node).ravel(), (half * weight).ravel()
    node, weight = leggauss(8)
    side = (high - low) / 2
    nodes = (lo + s + s * node for lo, s in zip(low, side, strict=True))
    x = np.stack([m.ravel() for m in np.meshgrid(*nodes)], axis=1)
    wx = np.prod([m.ravel() for m in np.meshgrid(*(s * weight for s in side))], axis=0)
    value = model.intensity(np.repeat(t, len(x)), np.tile(x, (len(t), 1)), events)
    return float(wt @ value.reshape(len(t), len(x)) @ wx)


@pytest.mark.slow
@in_every_grid_dimension
@every_model
@settings(max_examples=6, deadline=None, derandomize=True)
@given(start=st.floats(0, 36), duration=st.floats(0.05, 2), place=st.floats(0, 0.999))
def test_the_compensator_is_the_integral_of_the_intensity(
    label: str, d: int, start: float, duration: float, place: float
) -> None:
    events, model, grid = world(d), fitted(label, d), Grid.over(unit(d), 8)
    window = Window(start, start + duration)
    counts = model.compensator(window, events, grid)
    cell = np.unravel_index(int(place * grid.cells), grid.shape)
    fullest = np.unravel_index(int(counts.argmax()), grid.shape)
    for index in {cell, fullest}:
        low = np.array([edge[i] for edge, i in zip(grid.edges, index, strict=True)])
        exact = quadrature(model, window, events, low, low + grid.spacing)
        assert counts[index] == pytest.approx(exact, rel=1e-3, abs=1e-4 * counts.max())


@pytest.mark.slow
@in_every_grid_dimension
@every_model
def test_the_compensator_adds_up_over_cells_and_windows(label: str, d: int) -> None:
    events, model = world(d), fitted(label, d)
    fine, coarse = Grid.over(unit(d), 8), Grid.over(unit(d), 4)
    window = Window(10.3, 14.7)
    counts = model.compensator(window, events, fine)
    assert counts.shape == fine.shape
    assert (counts >= 0).all()
    merged = counts
    for axis in range(d):
        merged = np.add.reduceat(merged, np.arange(0, 8, 2), axis=axis)
    np.testing.assert_allclose(merged, model.compensator(window, events, coarse), rtol=1e-6)
    assert model.total_compensator(window, events) == pytest.approx(counts.sum(), rel=1e-3)
    parts = [model.compensator(Window(a, b), events, fine) for a, b in itertools.pairwise([10.3, 12.25, 14.7])]
    np.testing.assert_allclose(parts[0] + parts[1], counts, rtol=1e-6)


@every_model_in_any_dimension
def test_the_compensator_between_events_adds_up_and_equals_that_of_short_windows(label: str, d: int) -> None:
    events, model, window = world(d), fitted(label, d), Window(15.5, 15.9)
    inside = events.between(window)
    increments = model.compensator_increments(window, events)
    assert increments.shape == (len(inside) + 1,)
    assert len(inside) > 3
    assert increments.sum() == pytest.approx(model.total_compensator(window, events), rel=1e-9)
    one_by_one = IntensityModel.compensator_increments(model, window, events)
    np.testing.assert_allclose(increments, one_by_one, rtol=1e-7, atol=1e-9)


@pytest.mark.slow
@every_model_in_any_dimension
def test_the_log_likelihood_is_the_sum_of_log_intensities_less_the_compensator(label: str, d: int) -> None:
    events, model, window = world(d), fitted(label, d), Window(15.5, 19.0)
    inside = events.between(window)
    logs = sum(math.log(model.intensity(inside.t[[k]], inside.x[[k]], events)[0]) for k in range(len(inside)))
    expected = logs - model.total_compensator(window, events)
    assert model.log_likelihood(events, window) == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
@every_model_in_any_dimension
def test_times_may_come_in_any_order(label: str, d: int) -> None:
    t, x = np.linspace(1, 35, 40), some_places(d, 40)
    order = np.random.default_rng(1).permutation(40)
    value = fitted(label, d).intensity(t, x, world(d))
    assert (value > 0).all()
    np.testing.assert_allclose(fitted(label, d).intensity(t[order], x[order], world(d)), value[order], rtol=1e-9)


# -- forecasts ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@in_every_grid_dimension
@every_model
def test_a_forecast_is_finite_keeps_its_floor_and_says_a_density(label: str, d: int) -> None:
    model, grid = fitted(label, d), Grid.over(unit(d), 8)
    forecast = model.forecast(NEXT, world(d), grid)
    assert isinstance(forecast, Forecast)
    assert (forecast.window, forecast.grid, forecast.floor) == (NEXT, grid, model.floor)
    assert forecast.model == model.name
    assert forecast.counts.shape == grid.shape
    assert np.isfinite(forecast.counts).all()
    assert forecast.counts.min() >= model.floor * forecast.total / grid.cells > 0
    assert forecast.density.mean() == pytest.approx(1)
    assert raw(model).forecast(NEXT, world(d), grid).total == pytest.approx(forecast.total)


@pytest.mark.slow
@every_model_in_any_dimension
def test_rolling_forecasts_are_forecasts_one_by_one(label: str, d: int) -> None:
    events, model, x = world(d), fitted(label, d), some_places(d, 30)
    grid = Grid.over(unit(d), 6) if d <= 3 else None
    windows = [Window(0, 1), Window(12, 14), Window(13, 15), Window(25, 25.25), Window(39, 41), Window(60, 61)]
    for window, rolled in zip(windows, model.rolling_forecasts(events, windows, grid), strict=True):
        alone = model.forecast(window, events, grid)
        assert rolled.window == window
        assert rolled.total == pytest.approx(alone.total, rel=1e-10)
        np.testing.assert_allclose(rolled.relative_at(x), alone.relative_at(x), rtol=1e-10)


@pytest.mark.slow
@every_model_in_any_dimension
def test_rolling_forecasts_taken_up_again_in_the_middle_are_the_same_to_the_bit(label: str, d: int) -> None:
    events, model, x = world(d), fitted(label, d), some_places(d, 30)
    grid = Grid.over(unit(d), 6) if d <= 3 else None
    windows = [Window(s, s + 1) for s in range(20, 26)]
    whole = list(model.rolling_forecasts(events, windows, grid))
    resumed = list(model.rolling_forecasts(events, windows, grid, first=3))
    assert [f.window for f in resumed] == windows[3:]
    for one, other in zip(whole[3:], resumed, strict=True):
        assert one.total == other.total
        np.testing.assert_array_equal(one.relative_at(x), other.relative_at(x))


@in_every_grid_dimension
@every_model
def test_a_forecast_counts_the_offspring_of_events_still_to_come(label: str, d: int) -> None:
    """Unlike the compensator along the history as it is now, which a self-exciting process soon outgrows."""
    window, past = Window(30, 37), world(d).before(30)
    forecast = fitted(label, d).forecast(window, past, Grid.over(unit(d), 6)).total
    frozen = fitted(label, d).total_compensator(window, past)
    assert forecast > (1.15 if label in SELF_EXCITING else 1 - 1e-9) * frozen


def z_scores(draws: Array, expected: Array) -> Array:
    """Distance of the mean of draws (first axis) from what was expected, in standard errors of a Poisson at least."""
    variance = np.maximum(draws.var(axis=0, ddof=1), expected)
    return np.asarray((draws.mean(axis=0) - expected) / np.sqrt(variance / len(draws)))


@pytest.mark.slow
@in_every_grid_dimension
@every_model
def test_the_forecast_is_the_mean_of_simulations(label: str, d: int) -> None:
    events, model = world(d), raw(fitted(label, d))
    window, fine, coarse = Window(30, 33), Grid.over(unit(d), 16), Grid.over(unit(d), 4)
    counts = model.forecast(window, events, fine).counts
    for axis in range(d):
        counts = np.add.reduceat(counts, np.arange(0, 16, 4), axis=axis)
    rng = np.random.default_rng(5)
    draws = np.stack([coarse.histogram(model.simulate(window, events, rng).x) for _ in range(300)])
    assert abs(float(z_scores(draws.reshape(300, -1).sum(axis=1), np.array(counts.sum())))) < 4
    worst = np.abs(z_scores(draws, counts)).max()
    assert worst < 4.5 if d == 3 else worst < 4  # 64 cells in three dimensions


@pytest.mark.slow
@every_model_in_any_dimension
def test_simulated_events_are_reproducible_and_where_they_belong(label: str, d: int) -> None:
    events, model, window = world(d), fitted(label, d), Window(30.25, 36)
    first, second = (model.simulate(window, events, np.random.default_rng(4)) for _ in range(2))
    assert content(first) == content(second)
    other = model.simulate(window, events, np.random.default_rng(5))
    assert content(other) != content(first)
    assert len(first) > 20
    assert len(first.between(window)) == len(first)
    assert unit(d).contains(first.x).all()
    assert (first.epoch, first.axes) == (events.epoch, events.axes)
    assert np.isfinite(model.intensity(first.t, first.x, first)).all()  # they can be a history themselves


@every_model
def test_without_a_history_all_is_finite(label: str) -> None:
    events, model, grid = world(2), fitted(label, 2), Grid.over(unit(2), 5)
    for history in (events.before(-1), events.take([0])):
        now = Window(5, 8)
        assert (model.forecast(now, history, grid).counts > 0).all()
        assert (model.compensator(now, history, grid) >= 0).all()
        assert np.isfinite(model.intensity(np.full(3, 6.0), some_places(2, 3), history)).all()
        assert len(model.simulate(now, history, np.random.default_rng(0))) > 0
        assert model.log_likelihood(history, now) == pytest.approx(-model.total_compensator(now, history))
    assert len(model.intensity(np.zeros(0), np.zeros((0, 2)), events)) == 0


@pytest.mark.slow
@every_model
@pytest.mark.parametrize("silence", [200, 262, 270, 400, 5000])
def test_a_long_silence_leaves_nothing_undefined(label: str, silence: float) -> None:
    events, model, grid = world(2), fitted(label, 2), Grid.over(unit(2), 5)
    later = Window(40.0 + silence, 41.0 + silence)
    forecast = model.forecast(later, events, grid)
    assert np.isfinite(forecast.counts).all()
    assert np.isfinite(model.compensator(later, events, grid)).all()
    places = events.x[-20:]
    soon = model.forecast(Window(40, 41), events, grid)
    assert (model.intensity(np.full(20, later.start), places, events) > 0).all()
    if label == "decaying-kde":  # its density does not change while nothing happens
        np.testing.assert_allclose(forecast.density, soon.density, rtol=1e-6)


# -- above three dimensions ---------------------------------------------------------------------------------------


@pytest.mark.slow
@above_three_dimensions
def test_above_three_dimensions_a_forecast_is_a_density_that_draws_its_own_places(label: str) -> None:
    d, rng = 5, np.random.default_rng(3)
    forecast = fitted(label, d).forecast(NEXT, world(d), None)
    assert isinstance(forecast, PointForecast)
    assert math.isfinite(forecast.total)
    x = np.concatenate([forecast.draws, rng.uniform(size=forecast.draws.shape)])
    assert unit(d).contains(x).all()
    g = forecast.relative_at(x)
    assert (g >= forecast.floor).all()
    proposal = (1 + g) / 2  # half of the places from the forecast itself, half uniform
    one = g / proposal
    assert one.mean() == pytest.approx(1, abs=4 * one.std() / math.sqrt(len(x)) + 1e-9)
    value, error = forecast.mean_square()
    square = g**2 / proposal
    assert value == pytest.approx(square.mean(), abs=4 * (error + square.std() / math.sqrt(len(x))) + 1e-9)
    assert 0 <= error < 0.1 * value
    assert np.isnan(forecast.relative_at(np.full((1, d), 1.5))).all()


@pytest.mark.slow
@above_three_dimensions
def test_above_three_dimensions_the_total_is_the_mean_of_simulations(label: str) -> None:
    events, model = world(5), fitted(label, 5)
    rng = np.random.default_rng(6)
    sizes = np.array([len(model.simulate(NEXT, events, rng)) for _ in range(300)], dtype=float)
    assert abs(float(z_scores(sizes, np.array(model.forecast(NEXT, events, None).total)))) < 4


@pytest.mark.parametrize("label", sorted(ON_A_GRID))
def test_a_model_on_a_grid_says_how_many_dimensions_it_is_for(label: str) -> None:
    with pytest.raises(ValueError, match="for up to 3 dimensions, and these events have 5: use fewer --coords"):
        blank(label, 5).fit(world(5), TRAINING)


def test_a_grid_above_three_dimensions_is_refused_with_its_arithmetic() -> None:
    with pytest.raises(ValueError, match=r"9 × 9 × 9 × 9 = 6\.6e\+03 cells .* up to 3 dimensions"):
        Grid.over(unit(4), 9)


# -- saving -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_model_in_any_dimension
def test_a_model_comes_back_from_its_files_as_it_was(label: str, d: int, tmp_path: Path) -> None:
    model = fitted(label, d)
    model.save(tmp_path)
    back = load_model(tmp_path)
    assert type(back) is type(model)
    assert content(back) == content(model)
    t, x = np.linspace(30, 40, 25), some_places(d, 25)
    np.testing.assert_array_equal(back.intensity(t, x, world(d)), model.intensity(t, x, world(d)))


@pytest.mark.slow
@every_model
def test_the_same_fit_writes_the_same_bytes(label: str, tmp_path: Path) -> None:
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        blank(label, 2).fit(world(2), TRAINING).save(tmp_path / name)
        written.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) <= {"model.json", "model.npz"}


def broken(name: str, keep: int | None, insert: bytes = b"") -> Any:
    def harm(directory: Path) -> None:
        path = directory / name
        path.write_bytes(path.read_bytes()[:keep] + insert)

    return harm


HARM = {
    "model.json missing": lambda directory: (directory / "model.json").unlink(),
    "model.npz missing": lambda directory: (directory / "model.npz").unlink(),
    "model.json empty": broken("model.json", 0),
    "model.json cut off": broken("model.json", 90),
    "model.json of something else": broken("model.json", 0, b"[1, 2]"),
    "model.json of an unknown model": broken("model.json", 0, b'{"format": 1, "model": "oracle", "parameters": {}}'),
    "model.json no text": broken("model.json", 0, b"\xff\xfe\x00\x01"),
    "model.npz empty": broken("model.npz", 0),
    "model.npz cut off": broken("model.npz", 300),
    "model.npz of something else": broken("model.npz", 0, b"not an archive"),
    "model.npz half an archive": broken("model.npz", -40),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_model_is_refused_in_one_line(harm: str, tmp_path: Path) -> None:
    fitted("hawkes", 2).save(tmp_path)
    HARM[harm](tmp_path)
    with pytest.raises(ValueError, match="model") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_nothing_pickled_is_ever_loaded(tmp_path: Path) -> None:
    fitted("hawkes", 2).save(tmp_path)
    with np.load(tmp_path / "model.npz") as stored:
        arrays = dict(stored)
    arrays["decays"] = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(ValueError, match="not a model that stpp can read"):
        load_model(tmp_path)
