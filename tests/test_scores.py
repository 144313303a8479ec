"""Scores against cases worked out by hand, scipy, and the definition of a proper score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.scores import (
    SCORES,
    fds,
    information_gain,
    log_score,
    overconfidence,
    poisson_log_likelihood,
    quadratic_fds,
    spherical_fds,
)

TRUTH = np.array([0.5, 0.3, 0.15, 0.05])  # probabilities of four equal cells; relative density g = 4·q
SQUARED = TRUTH**2 / np.sum(TRUTH**2)
SPIKE = np.array([1.0, 0.0, 0.0, 0.0])
UNIFORM = np.full(4, 0.25)


def expected_scores(q: np.ndarray) -> tuple[float, float, float, float]:
    """Expected FDS, log, quadratic and spherical score of the forecast q when events follow TRUTH."""
    g = q / q.mean()
    mean_square = float(np.mean(g**2))
    return (
        fds(g, TRUTH),
        log_score(g, TRUTH),
        quadratic_fds(g, TRUTH, mean_square),
        spherical_fds(g, TRUTH, mean_square),
    )


def test_truth_by_hand() -> None:
    # g = 4·(.5, .3, .15, .05) = (2, 1.2, .6, .2)
    # fds = .5·2 + .3·1.2 + .15·.6 + .05·.2 = 1 + .36 + .09 + .01 = 1.46
    # mean(g²) = (4 + 1.44 + .36 + .04)/4 = 1.46, so quadratic = 2·1.46 − 1.46 = 1.46 and spherical = √1.46 = 1.2083
    # log = .5·ln 2 + .3·ln 1.2 + .15·ln .6 + .05·ln .2
    #     = .346574 + .054696 − .076624 − .080472 = .244175
    assert expected_scores(TRUTH) == pytest.approx((1.46, 0.244175, 1.46, 1.208305), abs=1e-6)


def test_sharpened_truth_by_hand() -> None:
    # p² = (.25, .09, .0225, .0025), sum .365; g = 4·p²/.365 = (2.739726, .986301, .246575, .027397)
    # fds = 1.369863 + .295890 + .036986 + .001370 = 1.704110: more than the truth's 1.46, hence improper
    # mean(g²) = (7.506099 + .972790 + .060799 + .000751)/4 = 2.135110; quadratic = 3.408219 − 2.135110 = 1.273110
    # spherical = 1.704110/√2.135110 = 1.704110/1.461202 = 1.166238
    # log = .5·1.007858 + .3·(−.013794) + .15·(−1.400088) + .05·(−3.597312) = .503929 − .004138 − .210013 − .179866
    assert expected_scores(SQUARED) == pytest.approx((1.704110, 0.109912, 1.273110, 1.166238), abs=2e-6)


def test_spike_and_uniform_by_hand() -> None:
    # spike: g = (4, 0, 0, 0): fds = 2, mean(g²) = 4, quadratic = 4 − 4 = 0, spherical = 2/2 = 1, log = −inf
    assert expected_scores(SPIKE) == (2.0, -math.inf, 0.0, 1.0)
    assert expected_scores(UNIFORM) == (1.0, 0.0, 1.0, 1.0)


def test_weights_by_hand() -> None:
    # g = (1, 4), m = (3, 1): fds = (3·1 + 1·4)/4 = 1.75; log = (3·0 + ln 4)/4 = .346574
    assert fds([1, 4], [3, 1]) == 1.75
    assert log_score([1, 4], [3, 1]) == pytest.approx(math.log(4) / 4)
    # an event of weight 0 counts for nothing, even where the forecast was 0
    assert log_score([1, 4, 0], [3, 1, 0]) == pytest.approx(math.log(4) / 4)


def test_zero_density_is_minus_infinity_never_clipped() -> None:
    assert log_score([2.0, 0.0], [1, 1]) == -math.inf
    assert information_gain([2.0, 0.0], [1, 1], [1, 1]) == -math.inf
    with pytest.raises(ValueError, match="floor > 0"):
        information_gain([1, 1], [2.0, 0.0], [1, 1])


def test_overconfidence_splits_fds() -> None:
    g = SQUARED / SQUARED.mean()
    mean_square = float(np.mean(g**2))
    # claims 2.135, gets 1.704
    assert overconfidence(g, TRUTH, mean_square) == pytest.approx(2.135110 - 1.704110, abs=2e-6)
    difference = fds(g, TRUTH) - overconfidence(g, TRUTH, mean_square)
    assert quadratic_fds(g, TRUTH, mean_square) == pytest.approx(difference)


def test_information_gain_is_the_mean_log_ratio() -> None:
    rng = np.random.default_rng(1)
    g, reference, m = rng.gamma(2, size=(3, 50))
    assert information_gain(g, reference, m) == pytest.approx(np.sum(m * np.log(g / reference)) / m.sum(), rel=1e-12)


def test_poisson_log_likelihood_is_scipy_s() -> None:
    rng = np.random.default_rng(2)
    expected = rng.gamma(1, 3, size=(7, 5))
    observed = rng.poisson(expected)
    reference = stats.poisson.logpmf(observed, expected).sum()
    assert poisson_log_likelihood(expected, observed) == pytest.approx(reference, rel=1e-12)
    # an empty cell of no expectation costs nothing; an event there is impossible
    assert poisson_log_likelihood([0.0, 2.0], [0, 1]) == pytest.approx(math.log(2) - 2)
    assert poisson_log_likelihood([0.0, 2.0], [1, 1]) == -math.inf


@given(
    truth=st.lists(st.floats(0.01, 1), min_size=5, max_size=5),
    other=st.lists(st.floats(0.01, 1), min_size=5, max_size=5),
)
def test_no_forecast_beats_the_truth_in_a_proper_score(truth: list[float], other: list[float]) -> None:
    p = np.array(truth) / np.sum(truth)
    best, rival = p * 5, np.array(other) / np.mean(other)

    def proper(g: np.ndarray) -> np.ndarray:
        square = float(np.mean(g**2))
        return np.array([log_score(g, p), quadratic_fds(g, p, square), spherical_fds(g, p, square)])

    assert (proper(best) >= proper(rival) - 1e-9).all()


def test_registry_tells_which_scores_are_proper() -> None:
    assert {name for name, score in SCORES.items() if not score.proper} == {"fds", "overconfidence"}
    assert all(score.units and score.citation and score.function.__name__ == name for name, score in SCORES.items())


@pytest.mark.parametrize(
    ("g", "weight", "message"),
    [
        ([], [], "no score without events"),
        ([1.0], [0.0], "no score without events"),
        ([1.0], [math.nan], "no score without events"),
        ([math.nan, 1.0], [1.0, 1.0], "outside the domain"),
        ([-1.0], [1.0], "negative"),
        ([1.0, 2.0], [1.0], r"got \(2,\) and \(1,\)"),
    ],
)
def test_unusable_input_is_refused(g: list[float], weight: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fds(g, weight)


def test_unusable_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        poisson_log_likelihood([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="forecast counts must be finite"):
        poisson_log_likelihood([math.nan], [1.0])
    with pytest.raises(ValueError, match="observed counts must be finite"):
        poisson_log_likelihood([1.0], [-1.0])
