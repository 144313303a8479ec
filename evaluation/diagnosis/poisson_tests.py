"""Consistency tests of expected counts per cell, as if counts were independent and Poisson: CSEP's gridded tests.

They need no simulation of the model, but a self-exciting model fails the number test however right it is, since its
counts spread wider than Poisson: :mod:`evaluation.diagnosis.consistency` is the fair judge there. Quantiles equal
pyCSEP's ``csep.core.poisson_evaluations`` on the same random numbers.

References
----------
.. [1] Schorlemmer, Gerstenberger, Wiemer, Jackson & Rhoades (2007), Earthquake likelihood model testing, SRL 78:17.
.. [2] Zechar, Gerstenberger & Rhoades (2010), Likelihood-based tests for evaluating space-rate-magnitude earthquake
   forecasts, BSSA 100:1184.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import gammaln

from evaluation.comparison import LEVEL
from evaluation.diagnosis.consistency import SIMULATIONS, Cells, ConsistencyResult, ranked
from stpp.domain import Array
from stpp.events import Events
from stpp.intensity import Forecast

NOTE = "as if counts were Poisson"


def poisson_consistency(
    forecast: Forecast, observed: Events, *, simulations: int = SIMULATIONS, rng: np.random.Generator
) -> list[ConsistencyResult]:
    """Number, spatial, conditional likelihood and likelihood test of a forecast of counts, as if Poisson [2]_.

    Parameters
    ----------
    observed : what came; events outside the forecast's window or grid are ignored
    rng : source of the simulated counts

    Returns
    -------
    one result per test; where nothing came, number and likelihood only
    """
    counts = forecast.grid.histogram(observed.between(forecast.window).x)
    expected = forecast.counts
    out = [number_test(forecast.total, int(counts.sum()))]
    if counts.any():
        out.append(spatial_test(expected, counts, simulations=simulations, rng=rng))
        out.append(conditional_likelihood_test(expected, counts, simulations=simulations, rng=rng))
    return [*out, likelihood_test(expected, counts, simulations=simulations, rng=rng)]


def number_test(expected: float, observed: int) -> ConsistencyResult:
    """Poisson number test [2]_: δ₁ = P(N ≥ observed), δ₂ = P(N ≤ observed), N Poisson with the expected total."""
    law = stats.poisson(expected)
    low, high = law.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    at_least, at_most = float(law.sf(observed - 1)), float(law.cdf(observed))
    return ConsistencyResult(
        "Poisson number",
        float(observed),
        float(expected),
        float(low),
        float(high),
        at_least,
        at_most,
        np.zeros(0),
        NOTE,
    )


def spatial_test(
    expected: ArrayLike, observed: ArrayLike, *, simulations: int = SIMULATIONS, rng: np.random.Generator
) -> ConsistencyResult:
    """Poisson spatial test [2]_: the likelihood of the cells' counts, the forecast scaled to the observed number.

    Parameters
    ----------
    expected, observed : counts per cell, of one shape; observed whole and not all 0
    rng : of the simulated counts, one uniform number per event

    Raises
    ------
    ValueError
        if the shapes differ, counts are not as said, or nothing came; likewise in the tests below
    """
    rate, counts = _checked(expected, observed)
    n = int(counts.sum())
    if n == 0:
        raise ValueError("no event came, so there are no places to test: leave the window out")
    return _likelihood_test("spatial likelihood", rate * (n / rate.sum()), counts, n, simulations, rng)


def mark_test(
    expected: ArrayLike, observed: ArrayLike, *, simulations: int = SIMULATIONS, rng: np.random.Generator
) -> ConsistencyResult:
    """Poisson magnitude (mark) test [2]_: the spatial test's arithmetic on bins of a mark."""
    return replace(spatial_test(expected, observed, simulations=simulations, rng=rng), test="mark likelihood")


def conditional_likelihood_test(
    expected: ArrayLike, observed: ArrayLike, *, simulations: int = SIMULATIONS, rng: np.random.Generator
) -> ConsistencyResult:
    """Poisson conditional likelihood test [2]_: simulated counts all have the observed number of events."""
    rate, counts = _checked(expected, observed)
    return _likelihood_test("conditional likelihood", rate, counts, int(counts.sum()), simulations, rng)


def likelihood_test(
    expected: ArrayLike, observed: ArrayLike, *, simulations: int = SIMULATIONS, rng: np.random.Generator
) -> ConsistencyResult:
    """Poisson likelihood test [1]_: simulated counts have a Poisson number of events; it also judges the number."""
    rate, counts = _checked(expected, observed)
    return _likelihood_test("likelihood", rate, counts, None, simulations, rng)


def _checked(expected: ArrayLike, observed: ArrayLike) -> tuple[Array, Array]:
    rate, counts = np.asarray(expected, dtype=float).ravel(), np.asarray(observed, dtype=float).ravel()
    if np.shape(expected) != np.shape(observed):
        raise ValueError(f"expected and observed counts differ in shape: {np.shape(expected)} and {np.shape(observed)}")
    if not (np.isfinite(rate).all() and (rate >= 0).all() and rate.sum() > 0):
        raise ValueError("expected counts must be finite, ≥ 0 and not all 0")
    if not (np.isfinite(counts).all() and (counts >= 0).all() and (counts == np.floor(counts)).all()):
        raise ValueError("observed counts must be whole numbers ≥ 0")
    return rate, counts


def _likelihood_test(
    test: str, rate: Array, counts: Array, n: int | None, simulations: int, rng: np.random.Generator
) -> ConsistencyResult:
    """Σ (count · ln rate − ln count!) − Σ rate of the observed counts among those of simulated ones.

    Simulated events fall by inversion of the cumulative rates, ``n`` of them or a Poisson number where n is None.
    """
    total, share = float(rate.sum()), np.cumsum(rate) / np.sum(rate)
    with np.errstate(divide="ignore"):
        log_rate = np.log(rate)

    def log_likelihood(cell: Cells, count: Array) -> float:
        return float((log_rate[cell] * count).sum() - gammaln(count + 1).sum() - total)

    simulated = np.empty(simulations)
    for j in range(simulations):
        size = int(rng.poisson(total)) if n is None else n
        fell = np.minimum(np.searchsorted(share, rng.random(size), side="right"), len(rate) - 1)
        cell, count = np.unique(fell, return_counts=True)
        simulated[j] = log_likelihood(cell, count.astype(float))
    hit = np.flatnonzero(counts)
    result = ranked(test, simulated, log_likelihood(hit, counts[hit]), sides="low")
    return replace(result, note=NOTE)
