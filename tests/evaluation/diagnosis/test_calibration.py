"""Calibration: identities exact, curves those of other packages, p-values uniform where forecasts are right."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from evaluation.diagnosis.calibration import claimed_fds, reliability


def forecasts(rng: np.random.Generator, windows: int = 20, cells: int = 100) -> np.ndarray:
    """Expected counts from about 0.01 to 10."""
    return np.exp(rng.normal(-1, 1.3, (windows, cells)))


@pytest.mark.slow
@given(seed=st.integers(0, 10_000), size=st.integers(1, 60), tied=st.booleans())
def test_score_is_miscalibration_less_discrimination_plus_uncertainty(seed: int, size: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    expected = rng.uniform(0.1, 4, size)
    if tied:
        expected = np.ceil(expected)
    observed = rng.poisson(rng.uniform(0.5, 2, size))
    observed[0] += 1
    found = reliability(expected, observed, rng)
    score = -stats.poisson.logpmf(observed, expected).sum() / observed.sum()
    assert found.score == pytest.approx(score, abs=1e-12)
    assert found.score == pytest.approx(found.miscalibration - found.discrimination + found.uncertainty, abs=1e-12)
    assert found.miscalibration > -1e-12  # no monotone correction is better than the best one
    assert found.discrimination > -1e-12  # a constant is monotone too


def test_curve_is_scikit_learns_isotonic_regression() -> None:
    rng = np.random.default_rng(0)
    expected = np.round(forecasts(rng), 2) + 0.01  # with ties
    observed = rng.poisson(expected**1.3)
    found = reliability(expected, observed, rng)
    fit = IsotonicRegression().fit(expected.ravel(), observed.ravel())
    np.testing.assert_allclose(fit.predict(expected.ravel()).sum(), observed.sum())
    values = np.unique(expected)
    below = values[np.searchsorted(values, found.expected * (1 + 1e-12), side="right") - 1]
    np.testing.assert_allclose(found.realised, fit.predict(below), atol=1e-12)
    corrected = fit.predict(expected.ravel())
    gain = stats.poisson.logpmf(observed.ravel(), corrected) - stats.poisson.logpmf(observed.ravel(), expected.ravel())
    assert found.miscalibration == pytest.approx(gain.sum() / observed.sum(), abs=1e-10)


def test_decomposition_is_that_of_model_diagnostics() -> None:
    scoring = pytest.importorskip("model_diagnostics.scoring", reason="pip install model-diagnostics to compare")
    rng = np.random.default_rng(1)
    expected = forecasts(rng).ravel()
    observed = rng.poisson(expected * 1.4)
    observed[np.argmin(expected)] = 1  # theirs refuses a curve that starts at 0
    found = reliability(expected, observed, rng)
    other = scoring.decompose(observed, expected, scoring_function=scoring.PoissonDeviance())
    scale = 2 * observed.sum() / len(observed)  # deviance is twice the score's excess, theirs a mean over cells
    assert found.miscalibration * scale == pytest.approx(other["miscalibration"][0], rel=1e-9)
    assert found.discrimination * scale == pytest.approx(other["discrimination"][0], rel=1e-9)


def test_decomposition_by_hand() -> None:
    # Two cells, 1 and 3 expected, 2 and 4 came: the curve is 2, 4; the best constant is 3. All in nats per 6 events:
    # forecast: 4 − 4 ln 3; corrected: 6 − 2 ln 2 − 4 ln 4; constant: 6 − 6 ln 3; ln n! adds ln 2 + ln 24
    found = reliability([1.0, 3.0], [2, 4], np.random.default_rng(0))
    raw, corrected, constant = 4 - 4 * math.log(3), 6 - 10 * math.log(2), 6 - 6 * math.log(3)
    assert found.score == pytest.approx((raw + math.log(48)) / 6)
    assert found.miscalibration == pytest.approx((raw - corrected) / 6)
    assert found.discrimination == pytest.approx((constant - corrected) / 6)
    assert found.uncertainty == pytest.approx((constant + math.log(48)) / 6)
    assert (found.realised[0], found.realised[-1]) == (2, 4)


@pytest.mark.slow
def test_calibrated_counts_keep_to_the_band_and_p_values_are_uniform() -> None:
    rng = np.random.default_rng(2)
    p_values, inside = [], []
    for _ in range(100):
        expected = forecasts(rng, 5, 80)
        found = reliability(expected, rng.poisson(expected), rng)
        p_values.append(found.p_value)
        inside.append(np.mean((found.low <= found.realised) & (found.realised <= found.high)))
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(inside) > 0.85  # nominal 0.9, at least: many curves share a step with the band's edge


def test_miscalibration_is_found_and_said_how() -> None:
    rng = np.random.default_rng(3)
    expected = forecasts(rng)
    found = reliability(expected, rng.poisson(0.5 * expected**1.5), rng)
    assert found.p_value == 1 / 101
    assert found.miscalibration > 0.02
    high = found.expected > 6
    assert (found.realised[high] > found.high[high]).mean() > 0.8  # 0.5·λ^1.5 > λ from λ = 4 on
    middle = (found.expected > 0.3) & (found.expected < 1)
    assert (found.realised[middle] < found.low[middle]).mean() > 0.8
    constant = reliability(np.full(500, 0.7), rng.poisson(0.7, 500), rng)
    assert constant.discrimination == pytest.approx(0, abs=1e-12)


def test_same_seed_same_band() -> None:
    expected = forecasts(np.random.default_rng(0), 3, 30)
    first, second = (reliability(expected, np.ones_like(expected), np.random.default_rng(5)) for _ in "ab")
    np.testing.assert_array_equal(first.low, second.low)
    assert first.p_value == second.p_value


@pytest.mark.parametrize(
    ("expected", "observed", "message"),
    [
        ([1.0, 2.0], [1], "differ in number: 2 and 1"),
        ([1.0, np.nan], [1, 1], "finite and ≥ 0"),
        ([1.0, 2.0], [0, 0], "no events in any cell"),
        ([0.0, 2.0], [1, 1], "expected 0: give the forecast a floor"),
    ],
)
def test_what_cannot_be_judged_is_an_error(expected: list[float], observed: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reliability(expected, observed, np.random.default_rng(0))


def fds_table(claimed: np.ndarray, realised: np.ndarray, weight: np.ndarray, model: str) -> pd.DataFrame:
    return pd.DataFrame({"model": model, "weight": weight, "fds": realised, "overconfidence": claimed - realised})


def test_claimed_fds_against_realised() -> None:
    rng = np.random.default_rng(6)
    claimed, weight = rng.uniform(2, 6, 80), np.ones(80)
    weight[7] = 0
    fair, boastful = claimed + rng.normal(0, 0.3, 80), 1 + 0.25 * claimed + rng.normal(0, 0.3, 80)
    fair[7] = boastful[7] = np.nan
    flat = np.full(80, 3.0)
    table = pd.concat(
        [
            fds_table(claimed, fair, weight, "fair"),
            fds_table(claimed, boastful, weight, "boastful"),
            fds_table(flat, fair, weight, "flat"),
        ]
    )
    found = claimed_fds(table, overlap=1, rng=np.random.default_rng(0))
    assert list(found.index) == ["fair", "boastful", "flat"]
    assert (found["windows"] == 79).all()
    one = found.loc["fair"]
    assert one["low"] < 0 < one["high"]
    assert one["slope"] == pytest.approx(1, abs=0.1)
    assert one["claimed"] == pytest.approx(np.delete(claimed, 7).mean())
    assert one["overconfidence"] == pytest.approx(one["claimed"] - one["realised"])
    assert found.loc["boastful", "low"] > 1
    assert found.loc["boastful", "slope"] == pytest.approx(0.25, abs=0.1)
    assert math.isnan(found.loc["flat", "slope"])  # type: ignore[arg-type]


def test_claimed_fds_refuses_models_of_different_windows() -> None:
    table = pd.concat([fds_table(np.ones(3), np.ones(3), np.ones(3), "a"), fds_table(*np.ones((3, 4)), "b")])
    with pytest.raises(ValueError, match="not scored on the same windows"):
        claimed_fds(table, overlap=1, rng=np.random.default_rng(0))
