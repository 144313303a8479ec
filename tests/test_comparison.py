"""Intervals for information gain: equal to naive versions of themselves, and honest about dependence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.comparison import block_length, block_means, information_gain_intervals, newey_west_error


def autoregressive(n: int, rho: float, rng: np.random.Generator, mean: float = 0.0) -> np.ndarray:
    """A stationary AR(1) series of unit variance."""
    noise = rng.normal(size=n) * math.sqrt(1 - rho**2)
    series = np.empty(n)
    series[0] = rng.normal()
    for k in range(1, n):
        series[k] = rho * series[k - 1] + noise[k]
    return series + mean


@given(n=st.integers(1, 23), length=st.integers(1, 9), seed=st.integers(0, 999))
def test_block_means_are_those_of_the_naive_resample(n: int, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    length = min(length, n)
    series = rng.normal(size=n)
    starts = rng.integers(0, n, size=(4, math.ceil(n / length)))
    naive = []
    for row in starts:
        indices = np.concatenate([(first + np.arange(length)) % n for first in row])[:n]
        naive.append(series[indices].mean())
    np.testing.assert_allclose(block_means(series, starts, length), naive, atol=1e-12)


def test_block_length_takes_the_longest_of_its_three_reasons() -> None:
    rng = np.random.default_rng(0)
    white = rng.normal(size=64)
    assert block_length(white, 1) == 4  # 64^⅓
    assert block_length(white, 9) == 9  # windows that overlap ninefold
    assert block_length(autoregressive(500, 0.95, rng), 1) > math.ceil(500 ** (1 / 3))  # memory longer than that
    assert block_length(np.arange(20.0), 1) <= 10  # a trend: never more than half
    assert block_length([0.3], 4) == 1
    assert block_length(np.zeros(27), 1) == 3  # no variance, no autocorrelation


def test_newey_west_error_by_hand() -> None:
    # centred (−1, 1, −1, 1): γ0 = 1, γ1 = −3/4, γ2 = 2/4
    # one lag, weight 1/2: 1 + 2·½·(−¾) = ¼; error = √(¼ / (4 − 1))
    # two lags, weights 2/3 and 1/3: 1 + 2·(−½ + 1/6) = 1/3; error = √(1/9)
    assert newey_west_error([0, 2, 0, 2], 1) == pytest.approx(math.sqrt(1 / 12))
    assert newey_west_error([0, 2, 0, 2], 2) == pytest.approx(1 / 3)
    # no lag: the ordinary standard error
    series = np.random.default_rng(3).normal(size=30)
    assert newey_west_error(series, 0) == pytest.approx(series.std(ddof=1) / math.sqrt(30))


def test_headline_is_the_mean_over_windows_and_pooled_weighs_them() -> None:
    # windows gain 1 and 0 with 3 and 1 events: mean ½, pooled 3/4; the third window has no event and no score
    gains = {"a": [1.0, 0.0, math.nan]}
    out = information_gain_intervals(gains, [3, 1, 0], overlap=1, rng=np.random.default_rng(0))["a"]
    assert (out.mean, out.pooled, out.windows, out.excluded) == (0.5, 0.75, 2, 1)
    assert out.low <= 0.5 <= out.high
    assert out.approximate


def test_pairs_share_their_blocks() -> None:
    """With the same resamples for every model, a model that is better by a constant is so in the interval too."""
    rng = np.random.default_rng(5)
    gain = rng.normal(size=60)
    out = information_gain_intervals({"a": gain, "b": gain + 0.5}, np.ones(60), overlap=1, rng=np.random.default_rng(1))
    assert out["b"].low - out["a"].low == pytest.approx(0.5)
    assert out["b"].high - out["a"].high == pytest.approx(0.5)
    assert out["a"].block_length == out["b"].block_length
    assert not out["a"].approximate


def test_same_seed_same_interval() -> None:
    gains = {"a": np.random.default_rng(2).normal(size=40)}
    first, second = (
        information_gain_intervals(gains, np.ones(40), overlap=1, rng=np.random.default_rng(9)) for _ in "ab"
    )
    assert first == second


def test_words_follow_the_interval() -> None:
    noise = np.random.default_rng(4).normal(size=100)
    gains = {"up": noise * 0.1 + 1, "down": noise * 0.1 - 1, "flat": noise - noise.mean()}
    out = information_gain_intervals(gains, np.ones(100), overlap=1, rng=np.random.default_rng(0))
    assert out["up"].verdict("base") == "better than base"
    assert out["down"].verdict("base") == "worse than base"
    assert out["flat"].verdict("base") == "no difference shown"


def test_one_window_claims_nothing() -> None:
    out = information_gain_intervals({"a": [0.7]}, [5], overlap=1, rng=np.random.default_rng(0))["a"]
    assert (out.mean, out.low, out.high, out.hac_low, out.hac_high) == (0.7, -math.inf, math.inf, -math.inf, math.inf)
    assert out.verdict("base") == "no difference shown"


def test_an_impossible_event_sinks_the_model() -> None:
    gains = {"a": [0.1, -math.inf, 0.3]}
    out = information_gain_intervals(gains, [1, 1, 1], overlap=1, rng=np.random.default_rng(0))["a"]
    assert (out.mean, out.low, out.high) == (-math.inf, -math.inf, -math.inf)
    assert out.verdict("base") == "worse than base"


def test_nothing_to_compare_is_an_error() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="none of the 2 windows has events"):
        information_gain_intervals({"a": [1.0, 1.0]}, [0, 0], overlap=1, rng=rng)
    with pytest.raises(ValueError, match="the gain of 'a' is NaN"):
        information_gain_intervals({"a": [1.0, math.nan]}, [1, 1], overlap=1, rng=rng)


def test_intervals_cover_dependent_windows_better_than_the_t_test() -> None:
    """AR(1) of 0.5 over 104 windows: the t interval that takes windows as independent covers about 0.75."""
    rng = np.random.default_rng(7)
    covered = np.zeros(3)
    repeats = 200
    for _ in range(repeats):
        gain = autoregressive(104, 0.5, rng, mean=0.2)
        out = information_gain_intervals({"a": gain}, np.ones(104), overlap=1, rng=rng)["a"]
        half = 1.98 * gain.std(ddof=1) / math.sqrt(104)
        covered += [out.low < 0.2 < out.high, out.hac_low < 0.2 < out.hac_high, abs(gain.mean() - 0.2) < half]
    bootstrap, hac, independent = covered / repeats
    assert bootstrap > 0.84
    assert hac > 0.84
    assert independent < 0.80
