"""The optimisers and the ladders of candidates behind every fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.fitting.concave import concave_weights
from stpp.fitting.mixture import (
    bandwidth_ladder,
    fit_mixture,
    half_life_ladder,
    issue_times,
    memory_ladder,
    training_targets,
)
from stpp.fitting.results import FitResult, Parameter

UNIT = Box((0.0, 0.0), (1.0, 1.0))


# -- the concave fit ----------------------------------------------------------------------------------------------


def problem(seed: int, n: int = 200, k: int = 6) -> tuple[Array, Array, Array]:
    """Columns of very different scales, one of them all 0, two alike and one the sum of two others."""
    rng = np.random.default_rng(seed)
    columns = rng.gamma(0.3, 1.0, (n, k)) * 10.0 ** rng.integers(-3, 4, k)
    columns[:, 0] = rng.uniform(0.1, 1.0)
    if k > 5:
        columns[:, 2] = 0.0
        columns[:, 3] = columns[:, 4]
        columns[:, 5] = columns[:, 0] + columns[:, 1]
    return columns, rng.uniform(0.5, 2.0, k) * columns.mean(axis=0) * n + 1e-3, rng.gamma(2.0, 1.0, n)


def objective(columns: Array, masses: Array, m: Array, w: Array) -> float:
    return float(m @ np.log(columns @ w) - masses @ w)


def best_by_scipy(columns: Array, masses: Array, m: Array) -> float:
    scale = m.sum() / masses

    def loss(u: Array) -> tuple[float, Array]:
        rate = columns @ (u * scale)
        gradient = scale * (columns.T @ (m / rate) - masses)
        return -objective(columns, masses, m, u * scale), -gradient

    starts = (np.full(len(masses), 1 / len(masses)), np.random.default_rng(0).dirichlet(np.ones(len(masses))))
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 5000, "maxfun": 50_000}
    bounds = [(1e-12, None)] * len(masses)
    return max(-minimize(loss, s, jac=True, method="L-BFGS-B", bounds=bounds, options=options).fun for s in starts)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 9))
def test_no_general_optimiser_does_better(seed: int, k: int) -> None:
    columns, masses, m = problem(seed, k=k)
    fit = concave_weights(columns, masses, m)
    assert fit.converged
    assert (fit.weights >= 0).all()
    assert fit.log_likelihood == pytest.approx(objective(columns, masses, m, fit.weights), rel=1e-12)
    assert fit.log_likelihood >= best_by_scipy(columns, masses, m) - 1e-6 * m.sum()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 9))
def test_the_conditions_of_karush_kuhn_and_tucker_hold(seed: int, k: int) -> None:
    columns, masses, m = problem(seed, k=k)
    fit = concave_weights(columns, masses, m)
    gain = columns.T @ (m / (columns @ fit.weights)) / masses - 1  # per unit of explained events
    assert gain.max() < 1e-3  # no weight is worth raising
    assert np.abs(gain * fit.weights * masses).max() < 1e-3 * m.sum()  # and those above 0 are level
    assert masses @ fit.weights == pytest.approx(m.sum(), rel=1e-4)  # the expected number is the observed one


def test_one_column_and_two_disjoint_ones_have_their_solution_by_hand() -> None:
    one = concave_weights(np.full((8, 1), 3.0), np.array([4.0]))
    assert one.weights[0] == pytest.approx(2.0)  # 8 events / mass 4
    assert one.standard_errors()[0] == pytest.approx(2 / math.sqrt(8))  # information n/w²
    two = concave_weights(np.repeat(np.eye(2), [6, 2], axis=0), np.array([3.0, 4.0]))
    np.testing.assert_allclose(two.weights, [2.0, 0.5], rtol=1e-4)
    np.testing.assert_allclose(two.information, np.diag([6 / 2**2, 2 / 0.5**2]), rtol=1e-3, atol=1e-9)


def test_a_column_that_explains_nothing_gets_nothing() -> None:
    columns, masses, m = problem(3)
    fit = concave_weights(columns, masses, m)
    assert fit.weights[2] == 0
    assert np.isnan(fit.standard_errors()[2])
    assert np.isfinite(fit.standard_errors()[fit.weights > 0]).all()


@pytest.mark.parametrize("c", [1e-6, 7.0, 1e6])
def test_the_unit_of_a_column_is_the_unit_of_its_weight(c: float) -> None:
    columns, masses, m = problem(5, k=5)
    base = concave_weights(columns, masses, m)
    factor = np.array([1.0, c, 1.0, c, 1 / c])
    scaled = concave_weights(columns * factor, masses * factor, m)
    np.testing.assert_allclose(scaled.weights * factor, base.weights, rtol=1e-5, atol=1e-9 * base.weights.max())
    assert scaled.log_likelihood == pytest.approx(base.log_likelihood)


def test_a_whole_weight_is_a_repeated_event() -> None:
    columns, masses, _ = problem(6, k=5)
    m = np.random.default_rng(6).integers(0, 4, len(columns))
    once = concave_weights(columns, masses, m.astype(float))
    many = concave_weights(np.repeat(columns, m, axis=0), masses)
    assert once.log_likelihood == pytest.approx(many.log_likelihood, rel=1e-9)
    np.testing.assert_allclose(once.weights, many.weights, rtol=1e-4, atol=1e-6 * many.weights.max())


def test_where_it_starts_does_not_matter() -> None:
    columns, masses, m = problem(7, k=5)
    base = concave_weights(columns, masses, m)
    rng = np.random.default_rng(7)
    for _ in range(5):
        other = concave_weights(columns, masses, m, start=rng.gamma(0.2, 1.0, 5) / masses * 100 + 1e-9)
        assert other.log_likelihood == pytest.approx(base.log_likelihood, abs=1e-6 * m.sum())


def test_an_event_that_nothing_explains_is_refused() -> None:
    columns = np.ones((3, 2))
    columns[1] = 0.0
    with pytest.raises(ValueError, match="every dictionary element is 0"):
        concave_weights(columns, np.ones(2))


# -- what a fit reports -------------------------------------------------------------------------------------------


def test_the_summary_is_a_statisticians_table() -> None:
    parameters = {"rate": Parameter(2.0, 0.5, "events/day"), "share": Parameter(0.25)}
    result = FitResult(1234, -100.5, parameters, 3, 2.0, 0.625, False, 1.5)
    assert result.aic == 2 * 3 + 2 * 100.5
    lines = result.summary("a title").splitlines()
    assert lines[0] == "a title"
    for words in ("1,234", "-100.50", "207.00   (3 free parameters)", "2 events/day", "0.6250", "NO   in 1.50 s"):
        assert any(words in line for line in lines), words
    rate = next(line for line in lines if line.startswith("rate "))
    assert rate.split() == ["rate", "2", "0.5", "[1.02,", "2.98]", "events/day"]  # 2 ± 1.96 · 0.5
    assert next(line for line in lines if line.startswith("share")).split() == ["share", "0.25"]
    assert not any(line != line.rstrip() for line in lines)
    stored = {"value": 1.0, "standard_error": None, "unit": ""}
    assert FitResult(1, 0.0, {"a": stored}).parameters["a"] == Parameter(1.0)


# -- ladders ------------------------------------------------------------------------------------------------------


def test_bandwidths_run_from_the_spread_to_an_eighth_of_scotts_rule() -> None:
    events = Events(np.arange(400.0), np.random.default_rng(0).normal(0, [1.0, 3.0], (400, 2)))
    ladder = bandwidth_ladder(events)
    spread = math.sqrt(events.x.var(axis=0).mean())
    assert ladder[0] == pytest.approx(spread)
    assert ladder[-1] <= spread * 400 ** (-1 / 6) / 8 < ladder[-2]
    np.testing.assert_allclose(ladder[:-1] / ladder[1:], math.sqrt(2))
    scaled = bandwidth_ladder(Events(events.t, 5 * events.x))
    np.testing.assert_allclose(scaled, 5 * ladder)
    assert bandwidth_ladder(Events(np.arange(9.0), np.full((9, 2), 0.3)))[0] == 1.0


@settings(max_examples=50, deadline=None, derandomize=True)
@given(shortest=st.floats(1e-6, 10), ratio=st.floats(0.1, 1e6), step=st.floats(1.5, 5), most=st.integers(1, 12))
def test_half_lives_climb_from_the_shortest(shortest: float, ratio: float, step: float, most: int) -> None:
    ladder = half_life_ladder(shortest, shortest * ratio, step, most)
    assert 1 <= len(ladder) <= most
    assert ladder[0] == pytest.approx(shortest)
    assert (np.diff(ladder) > 0).all()
    assert ladder[-1] <= shortest * max(ratio, 1) * (1 + 1e-9)


def test_memories_run_from_a_quarter_of_the_horizon_to_never_forgetting() -> None:
    events = Events(np.linspace(0, 100, 11), np.zeros((11, 1)))
    decays = memory_ladder(events, 2.0)
    assert decays[0] == 0
    half_lives = math.log(2) / np.array(decays[1:])
    assert half_lives[0] == pytest.approx(0.5)
    assert 30 < half_lives[-1] <= 100 * (1 + 1e-9)


# -- the mixture --------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, derandomize=True)
@given(start=st.floats(-1e4, 1e4), horizon=st.floats(1e-3, 50), k=st.integers(0, 5000), part=st.floats(0, 1))
def test_no_event_is_judged_from_after_itself(start: float, horizon: float, k: int, part: float) -> None:
    t = np.array([start + k * horizon, start + (k + part) * horizon, np.nextafter(start + k * horizon, np.inf)])
    issue = issue_times(t, start, horizon)
    assert (issue <= t).all()
    assert (t - issue < horizon * (1 + 1e-6) + 1e-9).all()


def test_targets_are_in_the_window_and_after_the_burn_in() -> None:
    events = Events(np.arange(100.0), np.zeros((100, 1)))
    assert training_targets(events, Window(0, 100))[0] == 20  # a fifth must have happened
    assert training_targets(events, Window(50, 100))[0] == 50
    with pytest.raises(ValueError, match="only 1 events to learn from"):
        training_targets(events, Window(99, 100))


def clusters(n: int, sd: float, seed: int = 0) -> Events:
    """Events over 100 days, evenly spread over 12 Gaussian clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0.15, 0.85, (12, 2))
    x = centres[rng.integers(0, 12, n)] + sd * rng.normal(size=(n, 2))
    return Events(np.sort(rng.uniform(0, 100, n)), x.clip(0, 1))


def moving(n: int) -> Events:
    """A small cloud that goes round the box once in 25 days."""
    events = clusters(n, 0.03)
    angle = 2 * math.pi * events.t / 25
    return Events(events.t, 0.5 + 0.35 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * (events.x - 0.5))


def test_the_mixture_prefers_the_bandwidth_of_the_clusters() -> None:
    widths = np.array([0.3, 0.04, 0.004])
    mixture, score = fit_mixture(clusters(1_500, 0.08), Window(0, 100), UNIT, [0.0], widths, 1.0)
    assert mixture.bandwidths[mixture.shares.argmax()] == 0.04
    assert mixture.shares.max() > 0.8
    assert mixture.shares.sum() <= 1 + 1e-12
    assert mixture.uniform == pytest.approx(1 - mixture.shares.sum())
    for h in widths:  # at least as good as any one of them
        assert score >= fit_mixture(clusters(1_500, 0.08), Window(0, 100), UNIT, [0.0], np.array([h]), 1.0)[1] - 1e-9


def test_the_score_is_the_mean_log_density_a_horizon_ahead() -> None:
    events, window, horizon = moving(800), Window(0, 100), 5.0
    mixture, score = fit_mixture(events, window, UNIT, [0.0, 0.05], np.array([0.2, 0.05]), horizon)
    rows = training_targets(events, window)
    logs = []
    for k in rows:
        issue = math.floor(events.t[k] / horizon) * horizon
        logs.append(math.log(mixture.at(np.array([issue]), events.x[[k]], events.before(issue))[0]))
    assert score == pytest.approx(np.mean(logs), abs=1e-3)


def test_memory_is_learned_from_clusters_that_move() -> None:
    events, fading, widths = moving(3_000), [0.0, math.log(2) / 2.0], np.array([0.2, 0.05])
    mixture, score = fit_mixture(events, Window(0, 100), UNIT, fading, widths, 1.0)
    assert mixture.shares[mixture.decays > 0].sum() > 0.9
    assert score > fit_mixture(events, Window(0, 100), UNIT, [0.0], widths, 1.0)[1] + 0.3
    still, _ = fit_mixture(clusters(3_000, 0.03), Window(0, 100), UNIT, fading, widths, 1.0)
    assert still.shares[still.decays == 0].sum() > 0.8


def test_heavy_events_count_for_more() -> None:
    """Two clusters, a tight and a wide one: the shares of bandwidths follow the weight of each."""
    rng = np.random.default_rng(2)
    tight = np.arange(2_000) % 2 == 0
    x = np.where(tight[:, None], 0.25, 0.75) + np.where(tight, 0.01, 0.12)[:, None] * rng.normal(size=(2_000, 2))
    t, widths = np.sort(rng.uniform(0, 100, 2_000)), np.array([0.08, 0.006])
    fine = []
    for heavy in (tight, ~tight):
        events = Events(t, x.clip(0, 1), np.where(heavy, 10.0, 0.1))
        mixture, _ = fit_mixture(events, Window(0, 100), UNIT, [0.0], widths, 1.0)
        fine.append(float(mixture.shares[mixture.bandwidths == 0.006].sum()))
    assert fine[0] > 0.8
    assert fine[1] < 0.3
    unweighted, score = fit_mixture(Events(t, x.clip(0, 1), np.zeros(2_000)), Window(0, 100), UNIT, [0.0], widths, 1.0)
    assert math.isfinite(score)  # without any weight no place is likelier than another
    assert unweighted.shares.sum() <= 1 + 1e-12


def test_many_candidates_over_many_events_are_screened_first(monkeypatch: pytest.MonkeyPatch) -> None:
    events, widths, fading = clusters(4_000, 0.08), np.array([0.3, 0.08, 0.03, 0.01]), [0.0, 0.01, 1.0]
    whole, score = fit_mixture(events, Window(0, 100), UNIT, fading, widths, 1.0)
    monkeypatch.setattr("stpp.fitting.mixture.SCREEN_EVENTS", 2_000)
    screened, near = fit_mixture(events, Window(0, 100), UNIT, fading, widths, 1.0)
    assert near == pytest.approx(score, abs=2e-3)
    assert set(zip(screened.decays, screened.bandwidths, strict=True)) <= {(b, h) for b in fading for h in widths}
    assert whole.shares.sum() == pytest.approx(screened.shares.sum(), abs=0.2)


def test_an_element_without_compensator_gets_no_weight() -> None:
    columns = np.array([[1.0, 2.0, 0.5], [1.0, 1.0, 3.0]])
    with_it = concave_weights(columns, np.array([1.0, 0.0, 2.0]))
    without = concave_weights(columns[:, [0, 2]], np.array([1.0, 2.0]))
    assert with_it.weights[1] == 0
    np.testing.assert_allclose(with_it.weights[[0, 2]], without.weights)
    assert np.isnan(with_it.standard_errors()[1])
