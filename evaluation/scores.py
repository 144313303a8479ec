"""Scores of a forecast at the places where events fell: pure functions on arrays.

Notation throughout: ``g`` is the relative density of the forecast at each scored event (volume-weighted mean 1 over
the scored region, so 1 = uniform), ``weight`` the events' importance, ``mean_square`` the volume-weighted mean of g²
over the region. Scores of whole fields take ``expected``, the forecast's counts per cell of a grid in any number of
dimensions, and ``observed``, the weighted events in the same cells. Nothing is clipped here: an event
where g = 0 scores −inf in the log score. A floor belongs to the forecast, which declares it; clipping in the scorer
would hand out mass that the forecast does not have.

Every score called proper is strictly so for the expected weighted share of events per place (the Poisson
log-likelihood: for the expected counts per cell): in expectation the truth does best, and nothing else does as well.

References
----------
.. [1] Gneiting & Raftery (2007), Strictly proper scoring rules, prediction, and estimation, JASA 102:359.
.. [2] Rhoades et al. (2011), Efficient testing of earthquake forecasting models, Acta Geophysica 59:728.
.. [3] Brehmer, Gneiting, Herrmann, Marzocchi, Schlather & Strokorb (2021), Comparative evaluation of point process
   forecasts, arXiv:2103.11884.
.. [4] Székely & Rizzo (2013), Energy statistics: a class of statistics based on distances, J. Statist. Plann.
   Inference 143:1249.
.. [5] Kullback & Leibler (1951), On information and sufficiency, Ann. Math. Statist. 22:79.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft
from scipy.special import gammaln, rel_entr, xlogy

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


def _shares(expected: ArrayLike, observed: ArrayLike) -> tuple[Array, Array]:
    """Forecast and observed share of mass per cell."""
    forecast, events = np.asarray(expected, dtype=float), np.asarray(observed, dtype=float)
    if forecast.shape != events.shape:
        raise ValueError(f"forecast and observed cells differ in shape: {forecast.shape} and {events.shape}")
    for name, cells in (("forecast", forecast), ("observed", events)):
        if not (np.isfinite(cells).all() and (cells >= 0).all()):
            raise ValueError(f"{name} cells must be finite and ≥ 0")
    mass, weight = float(forecast.sum()), float(events.sum())
    if not mass > 0:
        raise ValueError("the forecast has no mass in any cell that counts: give it a floor > 0")
    if not weight > 0:
        raise ValueError("no score without events: the observed cells are all 0; leave such windows out")
    return forecast / mass, events / weight


@lru_cache(maxsize=2)
def _distance_transform(shape: tuple[int, ...], widths: tuple[float, ...]) -> tuple[tuple[int, ...], Array]:
    """Padded shape that lets no distance wrap around, and the Fourier transform of |x| on it (real: |x| is even)."""
    padded = tuple(fft.next_fast_len(2 * n - 1, real=True) for n in shape)
    squares: Array = np.zeros(())
    for size, width in zip(padded, widths, strict=True):
        steps = np.arange(size)
        squares = np.add.outer(squares, (np.minimum(steps, size - steps) * width) ** 2)
    transform = np.ascontiguousarray(fft.rfftn(np.sqrt(squares, out=squares)).real)
    transform.flags.writeable = False
    return padded, transform


def energy_score(expected: ArrayLike, observed: ArrayLike, widths: Sequence[float] | Array) -> float:
    """Energy score E‖X − x‖ − ½E‖X − X′‖ [4]_, [1]_, in map units, mean over events; LOWER is better.

    X and X′ are independent draws from the forecast, x is where an event fell, all of them at the centres of cells.
    It knows distance: a near miss costs less than a far one, and a cell of probability 0 is no catastrophe.

    Parameters
    ----------
    expected : grid-shaped expected counts (or probabilities: only shares matter) per cell, ≥ 0, not all 0; 0 in cells
        that do not count, such as those outside a zoom box
    observed : grid-shaped weighted events per cell, ≥ 0, not all 0
    widths : (d,) cell sides in map units

    Returns
    -------
    map units, ≥ 0; half the mean distance between two draws where the forecast is the truth

    Raises
    ------
    ValueError
        if shapes disagree, a value is negative or not finite, or forecast or events have no mass; the same in
        :func:`kl_divergence`, which has no widths

    Notes
    -----
    The mean distance D from every cell is one convolution, by FFT with zero padding: O(cells·log cells), and the
    transform of the distances is kept for the next window. The score is then Σ (o − ½p) D.
    """
    forecast, events = _shares(expected, observed)
    sides = tuple(float(width) for width in widths)
    if len(sides) != forecast.ndim or not all(0 < side < math.inf for side in sides):
        raise ValueError(f"cells in {forecast.ndim} dimensions need as many widths > 0, got {list(sides)}")
    padded, transform = _distance_transform(forecast.shape, sides)
    spectrum = fft.rfftn(forecast, s=padded)
    spectrum *= transform
    distance = fft.irfftn(spectrum, s=padded, overwrite_x=True)[tuple(slice(n) for n in forecast.shape)]
    return float(np.sum((events - forecast / 2) * distance))


def kl_divergence(expected: ArrayLike, observed: ArrayLike) -> float:
    """Kullback–Leibler divergence Σ o ln(o/p) [5]_ of the forecast shares p from the events', nats; LOWER is better.

    Within a window it is a constant of the events less the log score on the grid, so it ranks forecasts as the log
    score does. Its size says little: with few events per cell o is ragged, and even the truth is far from it. Read
    differences between forecasts of the same window. inf where an event met p = 0.

    Parameters
    ----------
    expected, observed : as in :func:`energy_score`

    Returns
    -------
    nats, ≥ 0
    """
    forecast, events = _shares(expected, observed)
    return float(np.sum(rel_entr(events, forecast)))


@dataclass(frozen=True)
class Score:
    """What a reader must know to use a score.

    Parameters
    ----------
    function : the scoring function
    orientation : whether higher, lower or nearest zero is best
    proper : whether the truth is the best forecast in expectation, strictly so
    units : of the value
    meaning : in one line
    citation : where it comes from

    Examples
    --------
    >>> SCORES["log_score"].proper, SCORES["fds"].proper
    (True, False)
    >>> SCORES["fds"].function([2.0, 4.0], [1.0, 1.0])
    3.0
    """

    function: Callable[..., float]
    orientation: Literal["higher", "lower", "zero"]
    proper: bool
    units: str
    meaning: str
    citation: str


_GNEITING = "Gneiting & Raftery 2007, JASA 102:359"

SCORES: dict[str, Score] = {
    "fds": Score(
        fds,
        "higher",
        False,
        "times uniform",
        "how much denser than uniform the forecast was where events fell; rewards sharpness for its own sake",
        "forecast density score, this project",
    ),
    "log_score": Score(
        log_score,
        "higher",
        True,
        "nats per event",
        "mean log density over uniform; −inf where an event was ruled out",
        _GNEITING,
    ),
    "information_gain": Score(
        information_gain,
        "higher",
        True,
        "nats per event",
        "log score less the reference's at the same events: the number to decide by",
        "Rhoades et al. 2011, Acta Geophysica 59:728",
    ),
    "quadratic_fds": Score(
        quadratic_fds, "higher", True, "times uniform", "FDS less overconfidence: FDS made proper", _GNEITING
    ),
    "spherical_fds": Score(
        spherical_fds,
        "higher",
        True,
        "dimensionless",
        "FDS over the root mean square of the density: blind to scale",
        _GNEITING,
    ),
    "energy_score": Score(
        energy_score,
        "lower",
        True,
        "map units",
        "mean distance from forecast to events less half that within the forecast; a near miss costs less",
        "Székely & Rizzo 2013, JSPI 143:1249; " + _GNEITING,
    ),
    "kl_divergence": Score(
        kl_divergence,
        "lower",
        True,
        "nats",
        "divergence of the forecast from the events' shares of cells; ranks as the log score does",
        "Kullback & Leibler 1951, Ann. Math. Statist. 22:79",
    ),
    "overconfidence": Score(
        overconfidence,
        "zero",
        False,
        "times uniform",
        "the FDS that the forecast claims for itself less the FDS it got",
        "mean(g²) − FDS, this project",
    ),
    "poisson_log_likelihood": Score(
        poisson_log_likelihood,
        "higher",
        True,
        "nats per window",
        "log-likelihood of the counts per cell: judges how many events are expected, not only where",
        "Brehmer et al. 2021, arXiv:2103.11884",
    ),
}


def scores_table() -> list[dict[str, Any]]:
    """One row per score: ``name``, ``best``, ``proper``, ``units``, ``meaning``, ``citation``."""
    return [
        {
            "name": name,
            "best": score.orientation,
            "proper": score.proper,
            "units": score.units,
            "meaning": score.meaning,
            "citation": score.citation,
        }
        for name, score in SCORES.items()
    ]


def describe_scores() -> str:
    """The same as text: three lines per score, then what proper means."""
    lines = []
    for row in scores_table():
        best = "nearest 0 is best" if row["best"] == "zero" else f"{row['best']} is better"
        proper = "strictly proper" if row["proper"] else "IMPROPER"
        lines += [f"{row['name']:<24}{proper}, {best}, {row['units']}"]
        lines += [f"{'':<24}{row['meaning']}", f"{'':<24}{row['citation']}"]
    return "\n".join([*lines, "", "proper: in expectation no forecast beats the truth; decide by proper scores only"])
