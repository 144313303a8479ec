"""Consistency tests: could what came be a draw from the model? CSEP's tests from simulated catalogues [1]_.

The model simulates the window many times, and the observation is ranked among its own draws. Clustering is in the
draws, so the number test is as wide as the model's own spread; the tests of :mod:`evaluation.diagnosis.poisson_tests`,
which take counts as Poisson, are narrower, and a self-exciting model fails them however right it is.

A test that is passed does not show that a model is right, only that this window cannot tell it from the truth. A right
model fails one window in twenty; over many windows, the quantiles of a right model are uniform (:func:`calibration`).

References
----------
.. [1] Savran, Werner, Marzocchi, Rhoades, Jackson, Milner, Field & Michael (2020), Pseudoprospective evaluation of
   UCERF3-ETAS forecasts during the 2019 Ridgecrest sequence, BSSA 110:1799.
.. [2] Czado, Gneiting & Held (2009), Predictive model assessment for count data, Biometrics 65:1254.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from evaluation.comparison import LEVEL
from stpp.domain import Array, Grid
from stpp.events import Events, Window
from stpp.intensity import Forecast, IntensityModel

SIMULATIONS = 1000
"""Catalogues drawn per test."""

MARK_BINS = 10
"""Bins of the mark test: equally many of the marks known before the window in each."""

TIE = 1e-12
"""Relative difference below which two values are the same sum in another order."""

Cells = NDArray[np.int64]

_MEANING = {
    "number": ("events", "fewer came than the model allows", "more came than the model allows"),
    "spatial": ("log density of the places, nats per event", "they fell where the model expects few", ""),
    "mark": ("distance of the marks' histogram from the forecast's", "", "the marks are distributed differently"),
    "pseudo-likelihood": ("pseudo-log-likelihood, nats", "less likely than the model's own draws", ""),
    "Poisson number": ("events", "fewer came than the model allows", "more came than the model allows"),
    "spatial likelihood": ("log-likelihood of the places, nats", "they fell where the model expects few", ""),
    "mark likelihood": ("log-likelihood of the marks, nats", "they lie where the model expects few", ""),
    "likelihood": ("log-likelihood, nats", "less likely than the model's own draws", ""),
    "conditional likelihood": ("log-likelihood given the number, nats", "less likely than the model's own draws", ""),
}
"""Test → what its statistic is, and what it means to be too low or too high."""


@dataclass(frozen=True, eq=False)
class ConsistencyResult:
    """One test of one window.

    Parameters
    ----------
    test : ``number``, ``spatial``, ``mark`` or ``pseudo-likelihood``; of Poisson counts ``Poisson number``,
        ``spatial likelihood``, ``mark likelihood``, ``conditional likelihood`` or ``likelihood``
    observed : value of the statistic on what came
    expected : its mean under the model
    low, high : the values with which the test is passed; infinite on the side that is not tested
    at_least, at_most : quantile scores δ₁ = P(statistic ≥ observed) and δ₂ = P(statistic ≤ observed) under the model
    simulated : (J,) values of the statistic in simulated catalogues; empty where the distribution is known
    note : what a reader must know beside it
    """

    test: str
    observed: float
    expected: float
    low: float
    high: float
    at_least: float
    at_most: float
    simulated: Array
    note: str = ""

    @property
    def p_value(self) -> float:
        """One-sided where only one side is tested, else twice the smaller of δ₁ and δ₂, at most 1."""
        if math.isinf(self.high):
            return self.at_most
        return self.at_least if math.isinf(self.low) else min(1.0, 2 * min(self.at_least, self.at_most))

    @property
    def consistent(self) -> bool:
        """Whether the observation is among the 95 % that the model finds likeliest."""
        return self.p_value >= 1 - LEVEL

    def pit(self, share: float) -> float:
        """The observation's place in the model's distribution, ties split at ``share``: uniform if that is right [2]_.

        Parameters
        ----------
        share : a uniform draw from [0, 1]
        """
        below, tied = 1 - self.at_least, max(self.at_least + self.at_most - 1, 0.0)
        if not len(self.simulated):
            return below + share * tied
        n = len(self.simulated)
        return (below * n + share * (tied * n + 1)) / (n + 1)

    @property
    def words(self) -> str:
        """One sentence."""
        what, too_low, too_high = _MEANING[self.test]
        observed, expected, low, high = map(_short, (self.observed, self.expected, self.low, self.high))
        within = f"{low} to {high}" if math.isfinite(self.low) and math.isfinite(self.high) else ""
        within = within or (f"at least {low}" if math.isfinite(self.low) else f"at most {high}")
        if what == "events":
            came = f"{observed} event{'' if self.observed == 1 else 's'} came"
        else:
            came = f"{what}: {observed}"
        verdict = "consistent" if self.consistent else "INCONSISTENT"
        if not self.consistent:
            verdict += f": {too_low if self.at_most < self.at_least else too_high}"
        end = f" ({self.note})" if self.note else ""
        return f"{came}, the model expects {expected} (95 %: {within}): {verdict}{end}"

    def to_json_dict(self) -> dict[str, Any]:
        """Everything but the simulated values; infinite numbers are None."""
        names = ("observed", "expected", "low", "high", "at_least", "at_most", "p_value")
        values = {name: float(getattr(self, name)) for name in names}
        out: dict[str, Any] = {"test": self.test} | {k: v if math.isfinite(v) else None for k, v in values.items()}
        return out | {"simulations": len(self.simulated), "consistent": self.consistent, "note": self.note}


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def consistency(
    model: IntensityModel,
    window: Window,
    history: Events,
    observed: Events,
    grid: Grid | None,
    *,
    simulations: int = SIMULATIONS,
    mark: str | None = None,
    rng: np.random.Generator,
) -> list[ConsistencyResult]:
    """Number, spatial, pseudo-likelihood and, with a mark, mark test of one window, from simulated catalogues [1]_.

    Parameters
    ----------
    model : fitted
    window : of the forecast
    history : events known at the window's start; later ones are ignored
    observed : what came; events outside the window or the model's domain are ignored
    grid : over the model's domain: cells of the spatial tests, which take the model's forecast for the expected counts.
        None (above 3 dimensions) leaves these tests out
    simulations : catalogues to draw
    mark : name of a numeric mark to test. Where the model does not simulate it, simulated events draw theirs from those
        known before the window, and the result says so
    rng : source of the catalogues

    Returns
    -------
    one result per test; only the number test where nothing came, or nothing was simulated: the others compare events.
    No mark test where no event before the window, or none in it, has the mark

    Raises
    ------
    ValueError
        if the grid covers another box, or the mark is missing or not a number
    """
    past = history.before(window.start)
    if grid is not None and grid.box != model.domain:
        raise ValueError("the grid covers another box than the model's domain: lay it over the domain")
    came = observed.between(window).inside(model.domain)
    draws = [model.simulate(window, past, rng) for _ in range(simulations)]
    out = [catalogue_number_test([len(draw) for draw in draws], len(came))]
    if not (len(came) and any(len(draw) for draw in draws)):
        return out
    if grid is not None:
        forecast = model.forecast(window, past, grid)
        assert isinstance(forecast, Forecast)  # which it is wherever there is a grid
        out += catalogue_spatial_tests([grid.index(d.x) for d in draws], grid.index(came.x), forecast.counts)
    if mark is not None and (tested := _mark_test(draws, came, past, mark, rng)):
        out.append(tested)
    return out


def catalogue_number_test(counts: ArrayLike, observed: int) -> ConsistencyResult:
    """Number test: the observed number among the simulated ones.

    Parameters
    ----------
    counts : (J,) events per simulated catalogue
    observed : events that came
    """
    return ranked("number", np.asarray(counts, dtype=float), float(observed), sides="both")


def catalogue_spatial_tests(cells: Sequence[Cells], observed: Cells, rate: ArrayLike) -> list[ConsistencyResult]:
    """Spatial and pseudo-likelihood tests: how likely the places are under the expected counts λ per cell [1]_.

    The spatial statistic is the mean of ln(λ_c/Σλ) over events, the pseudo-log-likelihood the sum of ln λ_c less Σλ.

    Parameters
    ----------
    cells : per simulated catalogue, (n_j,) the flat cell index of each event
    observed : (n,) those of the events that came, n ≥ 1
    rate : (cells,) λ. pyCSEP takes the mean of the catalogues by default; unless it is very many catalogues, these then
        fit it better than anything new does, and a right model fails

    Returns
    -------
    spatial, pseudo-likelihood; empty where all events came in cells of rate 0. Such events are left out of the
    statistic, and the note counts them
    """
    expected = np.asarray(rate, dtype=float).ravel()
    reached = observed[expected[observed] > 0]
    if not len(reached):
        return []
    missed = len(observed) - len(reached)
    note = f"{missed:,} events in cells where none is expected are left out" if missed else ""
    total = float(expected.sum())
    with np.errstate(divide="ignore"):
        log_rate = np.log(expected)
    density = np.array([log_rate[c].mean() - math.log(total) for c in cells if len(c)])
    pseudo = np.array([log_rate[c].sum() - total for c in cells])
    spatial = ranked("spatial", density, float(log_rate[reached].mean() - math.log(total)), sides="low")
    likelihood = ranked("pseudo-likelihood", pseudo, float(log_rate[reached].sum() - total), sides="low")
    return [replace(spatial, note=note), replace(likelihood, note=note)]


def catalogue_mark_test(histograms: ArrayLike, observed: ArrayLike) -> ConsistencyResult:
    """Mark (magnitude) test: distance of a histogram from the mean one, both scaled to the observed number [1]_.

    D = Σ over bins of (log₁₀(counts + 1) − log₁₀(mean counts + 1))².

    Parameters
    ----------
    histograms : (J, bins) per simulated catalogue; those without events are left out
    observed : (bins,) of the events that came, n ≥ 1
    """
    simulated, came = np.asarray(histograms, dtype=float), np.asarray(observed, dtype=float)
    n, sizes = came.sum(), simulated.sum(axis=1)
    mean = simulated.sum(axis=0)
    target = np.log10(mean * (n / mean.sum()) + 1)
    scaled = simulated[sizes > 0] * (n / sizes[sizes > 0])[:, None]
    distance = ((np.log10(scaled + 1) - target) ** 2).sum(axis=1)
    return ranked("mark", distance, float(((np.log10(came + 1) - target) ** 2).sum()), sides="high")


def _mark_test(
    draws: Sequence[Events], came: Events, past: Events, mark: str, rng: np.random.Generator
) -> ConsistencyResult | None:
    known, seen = _numbers(past, mark), _numbers(came, mark)
    if not (len(known) and len(seen)):
        return None
    edges = np.unique(np.quantile(known, np.arange(1, MARK_BINS) / MARK_BINS))
    own = all(d.marks is not None and mark in d.marks.column_names for d in draws)

    def histogram(values: Array) -> Array:
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
        return np.asarray(counts, dtype=float)

    drawn = (_numbers(d, mark) if own else rng.choice(known, len(d)) for d in draws)
    result = catalogue_mark_test(np.array([histogram(values) for values in drawn]), histogram(seen))
    source = "as the model simulates it" if own else "as before the window, for the model does not simulate it"
    return replace(result, note=f"{mark} {source}")


def _numbers(events: Events, mark: str) -> Array:
    """The mark's finite values."""
    try:
        values: Array = np.asarray(events.mark(mark), dtype=float)
    except KeyError as error:
        raise ValueError(str(error.args[0])) from None
    except (TypeError, ValueError):
        raise ValueError(f"mark '{mark}' is not a number: name a numeric mark") from None
    return np.asarray(values[np.isfinite(values)])


def ranked(test: str, simulated: Array, observed: float, *, sides: Literal["both", "low", "high"]) -> ConsistencyResult:
    """The observed value among the simulated ones; values equal but for rounding are ties."""
    tail = (1 - LEVEL) / (2 if sides == "both" else 1)
    tie = TIE * abs(observed) if math.isfinite(observed) else 0.0
    low, high = np.quantile(simulated, [tail, 1 - tail], method="inverted_cdf")
    return ConsistencyResult(
        test=test,
        observed=observed,
        expected=float(simulated.mean()),
        low=-math.inf if sides == "high" else float(low),
        high=math.inf if sides == "low" else float(high),
        at_least=float((simulated >= observed - tie).mean()),
        at_most=float((simulated <= observed + tie).mean()),
        simulated=simulated,
    )


# -- over many windows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CalibrationResult:
    """Whether one test's quantiles over many windows are uniform, as those of a right model are.

    Parameters
    ----------
    test : name
    windows : how many
    failed : windows in which the test was failed; a right model fails one in twenty
    ks : largest distance of the quantiles' distribution function from the uniform one
    p_value : of that distance, were the windows independent
    """

    test: str
    windows: int
    failed: int
    ks: float
    p_value: float

    @property
    def words(self) -> str:
        """One sentence."""
        verdict = "uniform, as a right model's are" if self.p_value >= 1 - LEVEL else "NOT uniform"
        return (
            f"{self.test} test: failed in {self.failed} of {self.windows} windows; its quantiles are {verdict} "
            f"(KS {self.ks:.3f}, p = {self.p_value:.3g})"
        )


def calibration(results: Sequence[ConsistencyResult], rng: np.random.Generator) -> list[CalibrationResult]:
    """Kolmogorov–Smirnov test of each test's quantiles over windows against the uniform distribution.

    As pyCSEP's calibration test, but ties are split at random: without it the quantiles of small counts are not uniform
    even for a right model.

    Parameters
    ----------
    results : of any number of windows and tests
    rng : splits the ties

    Returns
    -------
    one result per test, in order of first appearance
    """
    out = []
    for test in dict.fromkeys(result.test for result in results):
        mine = [result for result in results if result.test == test]
        shares = rng.uniform(size=len(mine))
        found = stats.kstest([result.pit(share) for result, share in zip(mine, shares, strict=True)], "uniform")
        failed = sum(not result.consistent for result in mine)
        out.append(CalibrationResult(test, len(mine), failed, float(found.statistic), float(found.pvalue)))
    return out
