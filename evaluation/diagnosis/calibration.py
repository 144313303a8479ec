"""Calibration: do forecasts get what they claim, cell by cell and in FDS?

References
----------
.. [1] Dimitriadis, Gneiting & Jordan (2021), Stable reliability diagrams for probabilistic classifiers, PNAS 118.
.. [2] Brehmer, Kraus, Gneiting, Herrmann & Marzocchi (2024), Enhancing the statistical evaluation of earthquake
   forecasts: an application to Italy, arXiv:2405.10712.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.special import gammaln, xlogy

from evaluation.comparison import information_gain_intervals
from stpp.domain import Array

RESAMPLES = 100
"""Draws under the forecast behind the consistency band."""

BAND = 0.9
"""Share of calibrated forecasts that the consistency band covers, at each point of the curve."""

CURVE_POINTS = 200
"""Points at which the curve and its band are kept."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Isotonic reliability of expected counts, and what it makes of their Poisson score.

    Parameters
    ----------
    expected : (m,) expected counts per cell at which the curve is kept, evenly spaced in their logarithm
    realised : (m,) mean observed count where that was expected, by isotonic regression; calibrated = ``expected``
    low, high : (m,) 90 % consistency band of ``realised``: what calibrated forecasts of Poisson counts would show.
        Clustered counts spread wider, so that leaving the band is no proof where events excite each other
    score : sum over cells and windows of the Poisson score λ − n ln λ + ln n!, in nats per event; lower is better
    miscalibration : how much the curve, used to correct the forecast, would lower the score; 0 = calibrated
    discrimination : how much lower the corrected forecast scores than a constant one; 0 = it tells no cells apart
    uncertainty : score of the best constant; ``score = miscalibration − discrimination + uncertainty``
    p_value : of the miscalibration, among those of resampled Poisson counts; too small where counts are clustered
    """

    expected: Array
    realised: Array
    low: Array
    high: Array
    score: float
    miscalibration: float
    discrimination: float
    uncertainty: float
    p_value: float


def reliability(expected: ArrayLike, observed: ArrayLike, rng: np.random.Generator) -> Reliability:
    """Isotonic (CORP) reliability of expected counts, and the decomposition of their Poisson score [1]_, [2]_.

    Observed counts are regressed on expected ones, the only assumption being that more expected means no less
    observed. The Poisson score judges cell means whatever the distribution of the counts.

    Parameters
    ----------
    expected : expected counts of cells, of any shape; pooled over windows and cells
    observed : what came, same shape
    rng : draws the consistency band

    Raises
    ------
    ValueError
        if shapes differ, values are negative or not finite, nothing was observed, or an event fell where none was
        possible
    """
    forecast, counts = np.asarray(expected, dtype=float).ravel(), np.asarray(observed, dtype=float).ravel()
    if forecast.shape != counts.shape:
        raise ValueError(f"expected and observed counts differ in number: {len(forecast)} and {len(counts)}")
    if not all(np.isfinite(v).all() and (v >= 0).all() for v in (forecast, counts)):
        raise ValueError("expected and observed counts must be finite and ≥ 0")
    if not counts.sum() > 0:
        raise ValueError("no events in any cell, so nothing to calibrate against: choose a longer time")
    if (counts[forecast == 0] > 0).any():
        raise ValueError("an event fell where the forecast expected 0: give the forecast a floor > 0")
    values, inverse, cells = np.unique(forecast, return_inverse=True, return_counts=True)
    positive = values[values > 0]
    points = np.geomspace(positive[0], positive[-1], CURVE_POINTS)
    mass = values * cells

    def regressed(came: NDArray[Any]) -> tuple[Array, float, float]:
        """The curve at ``points``, and the sums over cells of the forecast's and the corrected forecast's score."""
        fit = isotonic_regression(came / cells, weights=cells)
        in_block = np.add.reduceat(came, fit.blocks[:-1])
        rate = fit.x[fit.blocks[:-1]]
        at = np.minimum(np.searchsorted(values, points * (1 + 1e-12), side="right") - 1, len(values) - 1)
        total = came.sum()
        return fit.x[at], float(mass.sum() - xlogy(came, values).sum()), float(total - xlogy(in_block, rate).sum())

    came = np.bincount(inverse, weights=counts, minlength=len(values))
    curve, raw, corrected = regressed(came)
    total, constant = float(counts.sum()), float(gammaln(counts + 1).sum())
    best_constant = total - float(xlogy(total, total / len(counts)))
    running = np.cumsum(mass)
    curves, excess = np.empty((RESAMPLES, len(points))), np.empty(RESAMPLES)
    for b in range(RESAMPLES):  # Poisson counts of all cells: a Poisson total, each event then falls where it may
        fell = np.searchsorted(running, rng.uniform(0, running[-1], rng.poisson(running[-1])), side="right")
        drawn = np.bincount(np.minimum(fell, len(values) - 1), minlength=len(values)).astype(float)
        curves[b], drawn_raw, drawn_corrected = regressed(drawn)
        excess[b] = drawn_raw - drawn_corrected
    low, high = np.quantile(curves, [(1 - BAND) / 2, (1 + BAND) / 2], axis=0)
    return Reliability(
        points,
        curve,
        low,
        high,
        score=(raw + constant) / total,
        miscalibration=(raw - corrected) / total,
        discrimination=(best_constant - corrected) / total,
        uncertainty=(best_constant + constant) / total,
        p_value=(1 + int((excess >= raw - corrected).sum())) / (RESAMPLES + 1),
    )


def claimed_fds(table: pd.DataFrame, *, overlap: int, rng: np.random.Generator) -> pd.DataFrame:
    """The FDS that forecasts claim, mean(g²), against the FDS they realise.

    Parameters
    ----------
    table : one row per model × window in time order: columns ``model``, ``weight``, ``fds``, ``overconfidence``, as
        in a backtest's table; windows without weight are left out
    overlap : windows that share a point of time, ⌈horizon / step⌉
    rng : source of the bootstrap

    Returns
    -------
    one row per model: ``windows``, ``claimed`` and ``realised`` (means over scored windows), ``overconfidence``
    (claimed − realised) with ``low`` and ``high`` of its block-bootstrap interval, ``slope`` of realised on claimed
    over windows (1: a forecast that claims more gets as much more; missing where claims do not vary)

    Raises
    ------
    ValueError
        if no window has weight, or models have other windows
    """
    parts = {str(name): part for name, part in table.groupby("model", sort=False)}
    weight = next(iter(parts.values()))["weight"].to_numpy(dtype=float)
    if not all(np.array_equal(part["weight"], weight) for part in parts.values()):
        raise ValueError("the models were not scored on the same windows: take a table from one backtest")
    series = {name: part["overconfidence"].to_numpy(dtype=float) for name, part in parts.items()}
    intervals = information_gain_intervals(series, weight, overlap=overlap, rng=rng)
    rows = {}
    for name, part in parts.items():
        scored = part[part["weight"] > 0]
        realised = scored["fds"].to_numpy(dtype=float)
        claimed = realised + scored["overconfidence"].to_numpy(dtype=float)
        spread = claimed - claimed.mean()
        varies = np.ptp(claimed) > 1e-9 * claimed.mean()
        interval = intervals[name]
        rows[name] = {
            "windows": len(scored),
            "claimed": claimed.mean(),
            "realised": realised.mean(),
            "overconfidence": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "slope": float(spread @ realised / (spread @ spread)) if varies else math.nan,
        }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index.name = "model"
    return frame
