"""Scores of a forecast at the places where events fell: pure functions on arrays.

Notation throughout: ``g`` is the relative density of the forecast at each scored event (volume-weighted mean 1 over
the scored region, so 1 = uniform), ``weight`` the events' importance, ``mean_square`` the volume-weighted mean of g²
over the region. Nothing is clipped here: an event where g = 0 scores −inf in the log score. A floor belongs to the
forecast, which declares it; clipping in the scorer would hand out mass that the forecast does not have.

References
----------
.. [1] Gneiting & Raftery (2007), Strictly proper scoring rules, prediction, and estimation, JASA 102:359.
.. [2] Rhoades et al. (2011), Efficient testing of earthquake forecasting models, Acta Geophysica 59:728.
.. [3] Brehmer, Gneiting, Herrmann, Marzocchi, Schlather & Strokorb (2021), Comparative evaluation of point process
   forecasts, arXiv:2103.11884.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, xlogy

from stpp.domain import Array


def _checked(g: ArrayLike, weight: ArrayLike) -> tuple[Array, Array]:
    """Density and weight of the events that count (weight > 0)."""
    density, importance = np.asarray(g, dtype=float), np.asarray(weight, dtype=float)
    if density.ndim != 1 or density.shape != importance.shape:
        raise ValueError(f"scores need g (n,) and weight (n,); got {density.shape} and {importance.shape}")
    if not (np.isfinite(importance).all() and (importance >= 0).all() and importance.sum() > 0):
        raise ValueError("no score without events: weights must be finite, ≥ 0 and not all 0; leave such windows out")
    if not (density >= 0).all():
        raise ValueError(
            "g holds NaN or negative values: events outside the domain have none; count them, leave them out"
        )
    counted = importance > 0
    return density[counted], importance[counted]


def fds(g: ArrayLike, weight: ArrayLike) -> float:
    """Forecast density score Σ m g / Σ m: how much denser than uniform the forecast was where events fell.

    IMPROPER: linear in g, so it is best with all mass on the forecast's mode, and squaring a perfect forecast raises
    it. Read it beside :func:`overconfidence`; decide by :func:`log_score` or :func:`quadratic_fds`.

    Parameters
    ----------
    g : (n,) relative density at the events, ≥ 0
    weight : (n,) importance, ≥ 0, not all 0

    Returns
    -------
    1 = as good as uniform, higher = denser where events fell

    Raises
    ------
    ValueError
        if the shapes disagree, no weight is positive, or g is negative or NaN; the same in every score below
    """
    density, importance = _checked(g, weight)
    return float(np.average(density, weights=importance))


def log_score(g: ArrayLike, weight: ArrayLike) -> float:
    """Logarithmic score Σ m ln g / Σ m, nats per event over uniform [1]_; −inf where an event met g = 0."""
    density, importance = _checked(g, weight)
    with np.errstate(divide="ignore"):
        return float(np.average(np.log(density), weights=importance))


def information_gain(g: ArrayLike, g_reference: ArrayLike, weight: ArrayLike) -> float:
    """Log score less the reference's at the same events, nats per event [2]_ (eq. 17, equal expected numbers).

    Raises
    ------
    ValueError
        if the reference gave an event density 0: no finite gain is defined against it
    """
    reference = log_score(g_reference, weight)
    if math.isinf(reference):
        raise ValueError("the reference gave an event density 0, so no gain over it is defined: give it a floor > 0")
    return log_score(g, weight) - reference


def quadratic_fds(g: ArrayLike, weight: ArrayLike, mean_square: float) -> float:
    """Quadratic score 2·fds − mean(g²) [1]_, in FDS units: a calibrated forecast expects it to equal its FDS."""
    return 2 * fds(g, weight) - mean_square


def spherical_fds(g: ArrayLike, weight: ArrayLike, mean_square: float) -> float:
    """Spherical score fds / √mean(g²) [1]_; blind to the scale of g."""
    return fds(g, weight) / math.sqrt(mean_square)


def overconfidence(g: ArrayLike, weight: ArrayLike, mean_square: float) -> float:
    """mean(g²) − fds: the FDS that the forecast expects of itself less the FDS it got; 0 when calibrated."""
    return mean_square - fds(g, weight)


def poisson_log_likelihood(counts_forecast: ArrayLike, counts_observed: ArrayLike) -> float:
    """Σ over cells of n ln λ − λ − ln n!, for expected counts λ and observed counts n [3]_.

    Proper for the cells' expected counts whether or not the counts are Poisson. −inf where an event fell into a cell
    of λ = 0.

    Raises
    ------
    ValueError
        if the shapes disagree, or a value is negative or not finite
    """
    expected, observed = np.asarray(counts_forecast, dtype=float), np.asarray(counts_observed, dtype=float)
    if expected.shape != observed.shape:
        raise ValueError(f"forecast and observed counts differ in shape: {expected.shape} and {observed.shape}")
    for name, counts in (("forecast", expected), ("observed", observed)):
        if not (np.isfinite(counts).all() and (counts >= 0).all()):
            raise ValueError(f"{name} counts must be finite and ≥ 0")
    return float(np.sum(xlogy(observed, expected) - expected - gammaln(observed + 1)))


@dataclass(frozen=True)
class Score:
    """What a reader must know to use a score.

    Parameters
    ----------
    function : the scoring function
    orientation : whether higher, lower or nearest zero is best
    proper : whether the truth is the best forecast in expectation
    units : of the value
    citation : where it comes from
    """

    function: Callable[..., float]
    orientation: Literal["higher", "lower", "zero"]
    proper: bool
    units: str
    citation: str


_PROPER_SCORES = "Gneiting & Raftery 2007, JASA 102:359"

SCORES: dict[str, Score] = {
    "fds": Score(fds, "higher", False, "times uniform", "forecast density score, this project"),
    "log_score": Score(log_score, "higher", True, "nats per event", _PROPER_SCORES),
    "information_gain": Score(
        information_gain, "higher", True, "nats per event", "Rhoades et al. 2011, Acta Geophysica 59:728"
    ),
    "quadratic_fds": Score(quadratic_fds, "higher", True, "times uniform", _PROPER_SCORES),
    "spherical_fds": Score(spherical_fds, "higher", True, "1", _PROPER_SCORES),
    "overconfidence": Score(overconfidence, "zero", False, "times uniform", "mean(g²) − FDS, this project"),
    "poisson_log_likelihood": Score(
        poisson_log_likelihood, "higher", True, "nats per window", "Brehmer et al. 2021, arXiv:2103.11884"
    ),
}
