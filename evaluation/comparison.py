"""How sure is a difference between two forecasts? Intervals for information gain that know windows are dependent.

The unit is the forecast window, never the event: events of one window share its luck. Neighbouring windows are
correlated, so windows are resampled in blocks [1]_, and the same blocks are drawn for every model. A second interval,
HAC-t, is the Diebold–Mariano test [2]_ with the Newey–West variance [3]_ turned into an interval.

Both run a little narrow. Of nominal 95 % intervals over 26, 52, 104 and 208 windows the block bootstrap covered 91, 92,
93 and 95 % where windows were independent and 79, 85, 88 and 89 % where they were AR(1) with correlation 0.5; HAC-t 93,
94, 93, 95 % and 82, 87, 91, 90 % (600 simulations each, standard error about 1 %).

References
----------
.. [1] Politis & Romano (1992), A circular block-resampling procedure for stationary data, in: Exploring the Limits of
   Bootstrap, Wiley.
.. [2] Diebold & Mariano (1995), Comparing predictive accuracy, JBES 13:253.
.. [3] Newey & West (1987), A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent
   covariance matrix, Econometrica 55:703.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from stpp.domain import Array

REPLICATES = 10_000
"""Bootstrap replicates."""

LEVEL = 0.95
"""Nominal coverage of every interval."""

ENOUGH_WINDOWS = 52
"""With fewer windows both intervals run narrow: they are called approximate."""


@dataclass(frozen=True)
class GainInterval:
    """Information gain over the reference, nats per event, with its 95 % intervals.

    Parameters
    ----------
    mean : over scored windows, each counting once: the headline
    low, high : paired circular block bootstrap of ``mean``; infinite with a single window, which says nothing about
        the spread
    pooled : over events, windows counting by their weight
    hac_low, hac_high : Newey–West / Diebold–Mariano t interval of ``mean``
    block_length : windows per block
    windows : how many were scored
    excluded : windows without events, which have no score
    """

    mean: float
    low: float
    high: float
    pooled: float
    hac_low: float
    hac_high: float
    block_length: int
    windows: int
    excluded: int

    @property
    def approximate(self) -> bool:
        """Whether there are too few windows to trust the 95 %."""
        return self.windows < ENOUGH_WINDOWS

    def verdict(self, reference: str) -> str:
        """In words: whether the bootstrap interval lies above, below or around 0."""
        if self.low > 0:
            return f"better than {reference}"
        return f"worse than {reference}" if self.high < 0 else "no difference shown"


def information_gain_intervals(
    gains: Mapping[str, ArrayLike], weight: ArrayLike, *, overlap: int, rng: np.random.Generator
) -> dict[str, GainInterval]:
    """Mean gain per model with paired block-bootstrap and HAC-t intervals.

    One block length L = max(⌈W^⅓⌉, autocorrelation cutoff, overlap), the largest that any model asks for, and one
    draw of blocks serve all models, so that their intervals can be compared.

    Parameters
    ----------
    gains : model → (W,) gain per window in time order, nats per event; read only where the window has weight
    weight : (W,) total event weight per window, the same for all models; 0 = no score, the window is excluded
    overlap : windows that share a point of time, ⌈horizon / step⌉; 1 = none do
    rng : source of the blocks

    Raises
    ------
    ValueError
        if no window has weight, or a gain there is NaN or +inf
    """
    importance = np.asarray(weight, dtype=float)
    scored = importance > 0
    if not scored.any():
        raise ValueError(f"none of the {len(importance)} windows has events, so there is nothing to compare")
    series = {name: np.asarray(gain, dtype=float)[scored] for name, gain in gains.items()}
    for name, gain in series.items():
        if not (gain < math.inf).all():
            raise ValueError(f"the gain of '{name}' is NaN or +inf in some window: give the reference a floor > 0")
    n = int(scored.sum())
    length = max((block_length(gain, overlap) for gain in series.values()), default=1)
    starts = rng.integers(0, n, size=(REPLICATES, math.ceil(n / length)))
    out = {}
    for name, gain in series.items():
        mean, pooled = float(gain.mean()), float(np.average(gain, weights=importance[scored]))
        low, high, hac_low, hac_high = -math.inf, math.inf, -math.inf, math.inf
        if math.isinf(mean):  # an event where the model said "impossible": the log score knows no excuse
            high = hac_high = mean
        elif n > 1:
            means = block_means(gain, starts, length)
            low, high = (float(q) for q in np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
            half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * newey_west_error(gain, length)
            hac_low, hac_high = mean - half, mean + half
        out[name] = GainInterval(mean, low, high, pooled, hac_low, hac_high, length, n, len(importance) - n)
    return out


def block_length(series: ArrayLike, overlap: int) -> int:
    """max(⌈W^⅓⌉, first lag with |autocorrelation| < 2/√W, overlap), at most half of the W values.

    Blocks longer than that would leave nothing to resample: with L = W every circular resample has the same mean.
    """
    values = np.asarray(series, dtype=float)
    n = len(values)
    longest = max(1, n // 2)
    cutoff = longest
    if np.isfinite(values).all():
        rho = _autocovariance(values, longest)
        below = np.abs(rho[1:]) < 2 / math.sqrt(n) * rho[0] if rho[0] > 0 else np.ones(longest, dtype=bool)
        cutoff = int(np.argmax(below)) + 1 if below.any() else longest
    cube_root = math.ceil(round(math.cbrt(n), 9))
    return min(max(cube_root, cutoff, overlap), longest)


def block_means(series: ArrayLike, starts: ArrayLike, length: int) -> Array:
    """(B,) means of circular block resamples of W values.

    Parameters
    ----------
    series : (W,) values in time order
    starts : (B, ⌈W / length⌉) first index of every block; the last block is cut so that W values are drawn
    length : values per block

    Notes
    -----
    Block sums are differences of one cumulative sum: O(B·W/length) instead of O(B·W).
    """
    values, first = np.asarray(series, dtype=float), np.asarray(starts, dtype=np.int64)
    n, blocks = len(values), first.shape[1]
    lengths = np.full(blocks, length)
    lengths[-1] = n - length * (blocks - 1)
    centred = values - values.mean()  # keeps the cumulative sum small, hence exact
    running = np.concatenate([[0.0], np.cumsum(np.tile(centred, 2))])
    return np.asarray(values.mean() + (running[first + lengths] - running[first]).sum(axis=1) / n)


def newey_west_error(series: ArrayLike, lags: int) -> float:
    """Standard error of the mean of an autocorrelated series [3]_: Bartlett weights to ``lags``, factor n/(n − 1)."""
    values = np.asarray(series, dtype=float)
    n = len(values)
    covariance = _autocovariance(values, min(lags, n - 1))
    bartlett = 1 - np.arange(1, len(covariance)) / (lags + 1)
    long_run = covariance[0] + 2 * float(bartlett @ covariance[1:])
    return math.sqrt(max(long_run, 0.0) / (n - 1))


def _autocovariance(values: Array, lags: int) -> Array:
    """(lags + 1,) autocovariances with divisor n."""
    centred, n = values - values.mean(), len(values)
    return np.array([centred[: n - k] @ centred[k:] / n for k in range(lags + 1)])
