"""The temporal exponential Hawkes: against tick, finite differences, quadrature, and simulated truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import kstest

from stpp.events import Window
from stpp.fitting import temporal

Times = NDArray[np.float64]
TRUTH = {"background_rate": 1.0, "branching_ratio": 0.6, "decay": 2.0}


def cluster_process(end: float, mu: float, alpha: float, beta: float, rng: np.random.Generator) -> Times:
    """Events on [0, end) by generations: the independent oracle for this file."""
    generation = rng.uniform(0, end, rng.poisson(mu * end))
    events = [generation]
    while len(generation):
        parents = np.repeat(generation, rng.poisson(alpha, len(generation)))
        children = parents + rng.exponential(1 / beta, len(parents))
        generation = children[children < end]
        events.append(generation)
    return np.sort(np.concatenate(events))


def rate(at: float, t: Times, mu: float, alpha: float, beta: float) -> float:
    """λ written as its definition."""
    past = t[t < at]
    return mu + float(np.sum(alpha * beta * np.exp(-beta * (at - past))))


@pytest.fixture(scope="module")
def tied() -> Times:
    """400 clustered events, a third of them on shared time stamps."""
    t = cluster_process(200.0, 0.8, 0.6, 1.5, np.random.default_rng(5))
    t[::3] = np.round(t[::3])
    return np.sort(t)


def test_hand_worked() -> None:
    # events 1, 1, 2 on [0, 3), μ = 1, α = ½, β = ln 2, so that e^{−β} = ½:
    # λ(1) = 1 twice (a tie shares its history), λ(2) = 1 + ½ ln 2 (½ + ½) = 1 + ½ ln 2
    # ∫ λ = 3 + ½ [2 (1 − ¼) + (1 − ½)] = 4
    value = temporal.log_likelihood([1.0, 1.0, 2.0], Window(0, 3), 1.0, 0.5, math.log(2)).value
    assert value == pytest.approx(math.log(1 + math.log(2) / 2) - 4, abs=1e-14)


@pytest.mark.parametrize("start", [0.0, 61.0])
def test_log_likelihood_is_its_definition(tied: Times, start: float) -> None:
    window, theta = Window(start, 150.0), (0.8, 0.55, 1.7)
    inside = tied[(tied >= window.start) & (tied < window.end)]
    knots = [window.start, *np.unique(inside), window.end]
    integral = sum(quad(rate, a, b, (tied, *theta), epsabs=1e-12)[0] for a, b in itertools.pairwise(knots))
    direct = sum(math.log(rate(v, tied, *theta)) for v in inside) - integral
    assert temporal.log_likelihood(tied, window, *theta).value == pytest.approx(direct, rel=1e-10)
    assert temporal.compensator([window.end], tied, window.start, *theta)[0] == pytest.approx(integral, rel=1e-10)


@pytest.mark.parametrize("start", [0.0, 61.0])
@pytest.mark.parametrize("theta", [(0.8, 0.55, 1.7), (2.0, 0.05, 0.01), (0.1, 1.4, 30.0)])
def test_derivatives_are_central_differences(tied: Times, start: float, theta: tuple[float, float, float]) -> None:
    window = Window(start, 180.0)
    here = temporal.log_likelihood(tied, window, *theta)
    for k in range(3):
        step = np.zeros(3)
        step[k] = 1e-5 * theta[k]
        up = temporal.log_likelihood(tied, window, *(theta + step))
        down = temporal.log_likelihood(tied, window, *(theta - step))
        scale = np.abs(here.hessian[k]).max()
        assert (up.value - down.value) / (2 * step[k]) == pytest.approx(here.gradient[k], rel=1e-6, abs=1e-6)
        np.testing.assert_allclose((up.gradient - down.gradient) / (2 * step[k]), here.hessian[k], atol=1e-6 * scale)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")  # tick's own
def test_equals_tick() -> None:
    try:
        from tick.hawkes.model import ModelHawkesExpKernLogLik
    except Exception as error:  # a broken tick fails in many ways
        pytest.skip(f"tick cannot be imported: {error}")
    t = cluster_process(3000.0, 1.0, 0.6, 2.0, np.random.default_rng(11))
    end = t[-1]  # where tick ends the observation
    for beta in (0.3, 2.0, 20.0):
        model = ModelHawkesExpKernLogLik(beta)
        model.fit([[t]])
        for mu, alpha in ((1.0, 0.6), (0.3, 0.9), (3.0, 0.1)):
            # tick's loss is per event, and of the likelihood ratio to a Poisson process of rate 1: ∫ (λ − 1)
            theirs = -model.loss(np.array([mu, alpha])) * len(t) - end
            ours = temporal.log_likelihood(t, Window(0, np.nextafter(end, np.inf)), mu, alpha, beta).value
            assert ours == pytest.approx(theirs, rel=1e-8)


def test_history_excites_and_the_future_is_not_seen(tied: Times) -> None:
    window, theta = Window(50.0, 120.0), (0.8, 0.55, 1.7)
    value = temporal.log_likelihood(tied, window, *theta).value
    assert temporal.log_likelihood(tied[tied < 120], window, *theta).value == value
    assert temporal.log_likelihood(tied[tied >= 50], window, *theta).value != value
    two = [temporal.log_likelihood(tied, Window(a, b), *theta).value for a, b in ((50.0, 77.7), (77.7, 120.0))]
    assert sum(two) == pytest.approx(value, rel=1e-12)


def test_time_rescaling_gives_unit_exponentials() -> None:
    theta = (1.0, 0.6, 2.0)
    t = cluster_process(2000.0, *theta, np.random.default_rng(2))
    gaps = np.diff(temporal.compensator(t, t, 0.0, *theta), prepend=0.0)
    assert kstest(gaps, "expon").pvalue > 0.01
    assert kstest(gaps, "expon", args=(0, 1.1)).pvalue < 0.01  # the test has the power to see 10 %


def test_recovers_the_truth() -> None:
    end = 40_000.0
    t = cluster_process(end, *TRUTH.values(), np.random.default_rng(7))
    result = temporal.fit(t, Window(0, end))
    assert result.converged
    assert result.n_events == len(t)
    for name, parameter in result.parameters.items():
        assert parameter.standard_error is not None
        assert abs(parameter.value - TRUTH[name]) < 3 * parameter.standard_error
        assert 0 < parameter.standard_error < 0.05 * TRUTH[name]


def test_the_fit_is_a_stationary_point_and_beats_the_truth() -> None:
    window = Window(0, 60_000.0)  # enough events for the warm start
    t = cluster_process(window.end, *TRUTH.values(), np.random.default_rng(8))
    result = temporal.fit(t, window)
    values = [p.value for p in result.parameters.values()]
    at = temporal.log_likelihood(t, window, *values)
    assert result.log_likelihood == at.value >= temporal.log_likelihood(t, window, *TRUTH.values()).value
    np.testing.assert_allclose(at.gradient * values, 0, atol=1e-6 * len(t))
    information = np.linalg.inv(-at.hessian)
    errors = [p.standard_error for p in result.parameters.values()]
    np.testing.assert_allclose(np.sqrt(np.diag(information)), errors, rtol=1e-5)


def test_intervals_cover() -> None:
    rng = np.random.default_rng(20)
    end, sets = 2_000.0, 100  # 5,000 events each on average
    covered = dict.fromkeys(TRUTH, 0)
    for _ in range(sets):
        result = temporal.fit(cluster_process(end, *TRUTH.values(), rng), Window(0, end))
        for name, parameter in result.parameters.items():
            assert parameter.standard_error is not None
            covered[name] += abs(parameter.value - TRUTH[name]) < 1.96 * parameter.standard_error
    assert all(88 <= count <= 99 for count in covered.values()), covered


@given(st.sampled_from([1e-6, 1 / 86_400, 0.1, 24.0, 1e7]), st.floats(-1e3, 1e3))
def test_units_and_origin_of_time_do_not_matter(unit: float, origin: float) -> None:
    t = cluster_process(300.0, 1.0, 0.6, 2.0, np.random.default_rng(3))
    days = temporal.fit(t, Window(0, 300))
    other = temporal.fit((t + origin) * unit, Window(origin * unit, (origin + 300) * unit))
    scale = {"background_rate": 1 / unit, "branching_ratio": 1.0, "decay": 1 / unit}
    for name, parameter in days.parameters.items():
        got = other.parameters[name]
        assert got.value == pytest.approx(parameter.value * scale[name], rel=1e-5)
        assert got.standard_error == pytest.approx(parameter.standard_error * scale[name], rel=1e-4)
    # the likelihood is a density: n log(unit) is its Jacobian
    assert other.log_likelihood == pytest.approx(days.log_likelihood - len(t) * math.log(unit), rel=1e-9)


def test_an_explosive_estimate_is_reported_as_it_is() -> None:
    t = cluster_process(12.0, 2.0, 1.3, 2.0, np.random.default_rng(1))
    result = temporal.fit(t, Window(0, 12))
    assert result.converged
    assert result.branching_ratio > 1


def test_without_self_excitation_there_is_no_optimum() -> None:
    t = np.arange(1000.0) + 0.5
    result = temporal.fit(t, Window(0, 1000))
    assert not result.converged
    assert all(p.standard_error is None for p in result.parameters.values())
    assert result.log_likelihood == pytest.approx(-1000, abs=0.01)  # the Poisson process of rate 1


@given(st.lists(st.floats(0, 10, exclude_max=True, width=32), min_size=3, max_size=40, unique=True), st.booleans())
def test_any_times_give_a_finite_answer_no_worse_than_poisson(times: list[float], tied: bool) -> None:
    t = np.sort(np.repeat(times, 3) if tied else times)
    result = temporal.fit(t, Window(0, 10))
    values = [p.value for p in result.parameters.values()]
    assert np.isfinite([result.log_likelihood, *values]).all()
    assert result.converged == all(p.standard_error is not None for p in result.parameters.values())
    poisson = len(t) * math.log(len(t) / 10) - len(t)  # the model at α = 0
    assert result.log_likelihood >= poisson - 1e-6


def test_fit_is_deterministic_and_leaves_its_input_alone(tied: Times) -> None:
    before = tied.copy()
    a, b = temporal.fit(tied, Window(0, 200)), temporal.fit(list(tied), Window(0, 200))
    assert a.parameters == b.parameters
    assert a.log_likelihood == b.log_likelihood
    assert np.array_equal(tied, before)
    assert tied.flags.writeable


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([], "got 0 from 0 events"),
        ([1.0], "got 1 from 1 events"),
        ([1.0] * 50, "got 1 from 50 events"),
        ([20.0, 21.0, 22.0, 23.0], "got 0 from 0 events"),
        ([1.0, 3.0, 2.0], "row 2 is earlier"),
        ([1.0, math.nan, 2.0], "row 1 is nan: drop 1 rows"),
        ([[1.0, 2.0]], "one column"),
    ],
)
def test_bad_times_are_one_line(t: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        temporal.fit(t, Window(0, 10))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("theta", [(0.0, 0.5, 1.0), (1.0, -0.5, 1.0), (1.0, 0.5, math.inf), (math.nan, 0.5, 1.0)])
def test_bad_parameters_are_named(theta: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        temporal.log_likelihood([1.0, 2.0], Window(0, 3), *theta)
    with pytest.raises(ValueError, match="must be above 0"):
        temporal.compensator([1.0, 2.0], [1.0], 0.0, *theta)


def test_the_compensator_starts_at_its_start() -> None:
    with pytest.raises(ValueError, match="before that"):
        temporal.compensator([1.0], [0.5], 2.0, 1.0, 0.5, 1.0)
