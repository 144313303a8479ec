"""Residuals of an intensity: what is left of the events once the model has explained them should be pure chance.

Three views. On the clock of the compensator the events of a right model are a unit-rate Poisson process (times);
thinned where the model expects many and filled up where it expects few they are a homogeneous one (times and places);
ranked by the forecast's own density they are uniform (places).

The p-values here are for events that the model was NOT fitted to. In-sample the Kolmogorov–Smirnov test is badly
conservative: a fitted rate alone makes a nominal 5 % test reject true models in under 1 % of cases, since the fit has
already bent the residuals towards uniform. For training data there is :func:`bootstrap_ks`.

References
----------
.. [1] Daley & Vere-Jones (2003), An Introduction to the Theory of Point Processes, theorem 7.4.I.
.. [2] Brown, Barbieri, Ventura, Kass & Frank (2002), The time-rescaling theorem and its application to neural spike
   train data analysis, Neural Computation 14:325.
.. [3] Clements, Schoenberg & Veen (2012), Evaluation of space-time point process models using super-thinning,
   Environmetrics 23:606.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.intensity import AnyForecast, Forecast, IntensityModel

EXPECTED_PER_CELL = 5
"""Least expected count per cell of a chi-square test, and with it the number of its cells."""

MOST_CELLS = 10
"""Cells per axis of that test, at most."""


LEVELS = 100
"""Levels at which the distribution of clustered values is looked at."""

RESAMPLES = 1_999
"""Block resamples of windows behind their p-value."""

ODD_GAPS = 0.01
"""Share of the gaps between time stamps that may be shorter than the clock's tick."""


@dataclass(frozen=True)
class Statistic:
    """A test statistic and its p-value; both NaN where there was too little to test."""

    value: float
    p_value: float


@dataclass(frozen=True, eq=False)
class TimeRescaling:
    """Event times on the clock of the compensator, judged.

    Parameters
    ----------
    n : events
    expected : events that the model expected along the way, ∫∫ λ
    gaps : (n,) the increments that an event ended; independent Exp(1) variables if the model is right
    ks : Kolmogorov–Smirnov distance D of ``u`` from uniform, and its p-value (for held-out events only)
    lag : correlation of successive ``u``, and its p-value: bursts and lulls that the model does not foresee
    """

    n: int
    expected: float
    gaps: Array
    ks: Statistic
    lag: Statistic

    @property
    def u(self) -> Array:
        """(n,) PIT 1 − exp(−gap), uniform if the model is right; too many small ones: tighter bursts than it knows."""
        return -np.expm1(-self.gaps)

    @property
    def variation(self) -> float:
        """Standard deviation over mean of the gaps: 1 if the model is right at any rate, more where events cluster."""
        return float(self.gaps.std() / self.gaps.mean())

    @property
    def ks_band(self) -> float:
        """The D that a right model stays under in 95 % of cases, about 1.36/√n."""
        return float(stats.kstwobign.ppf(0.95)) / math.sqrt(self.n)

    def quantiles(self) -> tuple[Array, Array]:
        """(n,) quantiles of Exp(1) and the (n,) sorted gaps, for a QQ plot."""
        levels = (np.arange(self.n) + 0.5) / self.n
        return -np.log1p(-levels), np.sort(self.gaps)


def rescaled_times(model: IntensityModel, events: Events, window: Window, rng: np.random.Generator) -> Array:
    """Compensator between the window's events: independent Exp(1) variables if the model is right [1]_, [2]_.

    A clock that ticks makes ties, and increments of 0 that no continuous model can explain. Where two events share a
    time stamp, each event of the window is moved, on the compensator's clock and by a draw from ``rng``, to a uniform
    place within the tick that ends at its stamp. The tick is taken to be the smallest gap between stamps, bar the odd
    1 % of smaller ones. Histories stay as they are, so that tied events do not excite each other here either.

    Parameters
    ----------
    model : fitted to other events; its domain says which count
    events : history and the window's events
    window : held out
    rng : spreads ties; not used where there are none

    Returns
    -------
    (n + 1,) increments from the window's start over its n events to its end; the last is cut off by the end, and no
    event ends it
    """
    inside = events.before(window.end).inside(model.domain)
    increments = model.compensator_increments(window, inside)
    return _spread_ties(increments, inside.between(window).t, window, rng)


def _spread_ties(increments: Array, t: Array, window: Window, rng: np.random.Generator) -> Array:
    """The increments once tied events are spread over the last tick before their stamp."""
    gaps = np.diff(t, prepend=window.start)
    if not len(t) or (gaps[1:] > 0).all():
        return increments
    first = np.flatnonzero(np.append(True, gaps[1:] > 0))  # rows at which a new stamp begins
    group = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(t))))
    between = np.diff(t[first])
    tick = float(np.quantile(between, ODD_GAPS, method="lower")) if len(between) else gaps[0]
    clock = np.cumsum(increments)
    share = np.minimum(1.0, tick / np.maximum(gaps[first], 1e-300))
    places = clock[first][group] - rng.uniform(size=len(t)) * (share * increments[first])[group]
    places.sort()
    return np.diff(np.concatenate([[0.0], places, clock[-1:]]))


def join(increments: Sequence[Array]) -> Array:
    """Rescaled times of several windows as those of one: the time cut off by one window's end runs on in the next.

    Parameters
    ----------
    increments : of windows in time order that do not overlap, as from :func:`rescaled_times`
    """
    ends = [np.cumsum(part) for part in increments]
    offsets = np.cumsum([0.0, *(float(end[-1]) for end in ends)])
    events = [end[:-1] + offset for end, offset in zip(ends, offsets[:-1], strict=True)]
    return np.diff(np.concatenate([[0.0], *events, offsets[-1:]]))


def time_rescaling(increments: ArrayLike) -> TimeRescaling:
    """Test that rescaled times are those of a unit-rate Poisson process.

    The p-values hold for HELD-OUT events. In-sample they are badly conservative: see the top of this module and
    :func:`bootstrap_ks`. With very many events every model is rejected; then read the size of D, not p.

    Parameters
    ----------
    increments : (n + 1,) as from :func:`rescaled_times`; the last belongs to no event

    Raises
    ------
    ValueError
        if there is no event, or an increment is negative or not finite
    """
    steps = np.asarray(increments, dtype=float)
    if len(steps) < 2:
        raise ValueError("no events in the held-out time, so no residuals: choose a longer one")
    if not (np.isfinite(steps).all() and (steps >= 0).all()):
        raise ValueError("compensator increments must be finite and ≥ 0: the model's intensity is not")
    u = -np.expm1(-steps[:-1])
    return TimeRescaling(len(u), float(steps.sum()), steps[:-1], uniformity(u), _lag_correlation(u))


def uniformity(u: Array) -> Statistic:
    """Kolmogorov–Smirnov distance of (n,) values from uniform on [0, 1], and its p-value if they are independent."""
    if not len(u):
        return Statistic(math.nan, math.nan)
    found = stats.kstest(u, "uniform")
    return Statistic(float(found.statistic), float(found.pvalue))


def clustered_uniformity(parts: Sequence[Array], length: int, rng: np.random.Generator) -> Statistic:
    """Kolmogorov–Smirnov distance of values from uniform on [0, 1], with a p-value where they are not independent.

    Events of one window share its luck. So windows are resampled, in circular blocks, and p is the share of resamples
    whose distribution is as far from the observed one as that is from uniform.

    Values correlated by 0.2 inside windows: a nominal 5 % test rejects in 8, 7 and 5 % of cases over 22, 60 and 125
    windows (300 simulations each); the usual p-value, which takes them as independent, in 25 %.

    Parameters
    ----------
    parts : per window in time order, its values
    length : windows per block
    rng : draws the blocks
    """
    n = len(parts)
    counts = np.array([np.histogram(u, LEVELS, (0.0, 1.0))[0] for u in parts])
    starts = rng.integers(0, n, (RESAMPLES, -(-n // length)))
    rows = ((starts[:, :, None] + np.arange(length)) % n).reshape(RESAMPLES, -1)[:, :n]
    times = np.bincount((rows + n * np.arange(RESAMPLES)[:, None]).ravel(), minlength=RESAMPLES * n)
    drawn = np.cumsum(times.reshape(RESAMPLES, n) @ counts, axis=1)
    observed = np.cumsum(counts.sum(axis=0))
    if not observed[-1]:
        return Statistic(math.nan, math.nan)
    distribution = observed / observed[-1]
    distance = float(np.abs(distribution - np.arange(1, LEVELS + 1) / LEVELS).max())
    resampled = np.abs(drawn / np.maximum(drawn[:, -1:], 1) - distribution).max(axis=1)
    return Statistic(distance, (1 + int((resampled >= distance).sum())) / (RESAMPLES + 1))


def _lag_correlation(u: Array) -> Statistic:
    if len(u) < 4 or np.ptp(u[1:]) == 0 or np.ptp(u[:-1]) == 0:
        return Statistic(math.nan, math.nan)
    found = stats.pearsonr(u[:-1], u[1:])
    return Statistic(float(found.statistic), float(found.pvalue))


def bootstrap_ks(
    model: IntensityModel, events: Events, window: Window, B: int, rng: np.random.Generator
) -> tuple[Statistic, Array]:
    """The Kolmogorov–Smirnov test of rescaled times for the window that the model was FITTED to.

    Parametric bootstrap: simulate the fitted model over the window, fit it anew to that, and compute D as before; D
    then feels the fit as much as the observed one does.

    Parameters
    ----------
    model : fitted to ``events`` over ``window``
    events : history and the window's events
    window : of the fit
    B : replicates; each costs a simulation and a fit
    rng : simulates

    Returns
    -------
    D and p = (1 + #{D_b ≥ D})/(B + 1), and the (B,) simulated D_b

    Raises
    ------
    ValueError
        if the window has no events, or a simulation of it
    """

    def distance(fitted: IntensityModel, known: Events) -> float:
        u = -np.expm1(-rescaled_times(fitted, known, window, rng)[:-1])
        return float(stats.kstest(u, "uniform", method="asymp").statistic)  # its own p-value would be costly, and wrong

    model.training_events(events, window)  # raises where there are none
    past = events.before(window.start)
    observed, simulated = distance(model, events), np.empty(B)
    for b in range(B):
        draw = past.then(model.simulate(window, past, rng))
        simulated[b] = distance(model.fit(draw, window), draw)
    return Statistic(observed, (1 + int((simulated >= observed).sum())) / (B + 1)), simulated


@dataclass(frozen=True, eq=False)
class SuperThinned:
    """What super-thinning leaves: a homogeneous Poisson process if the model is right.

    Parameters
    ----------
    box : the domain
    duration : days
    rate : expected points per day per unit volume if the model is right
    elapsed : (m,) days since the start, time outside the windows not counted
    x : (m, d) places
    added : (m,) bool; False = an event that was kept
    """

    box: Box
    duration: float
    rate: float
    elapsed: Array
    x: Array
    added: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @property
    def expected(self) -> float:
        """Points expected if the model is right."""
        return self.rate * self.box.volume * self.duration

    @cached_property
    def cells(self) -> Statistic:
        """χ² of counts over equal cells of the first two axes and of time, against the rate (known, not fitted)."""
        axes = min(self.box.d, 2)
        side = int((self.expected / EXPECTED_PER_CELL) ** (1 / (axes + 1)) + 1e-9)
        side = min(max(side, 1), MOST_CELLS)
        grid = Grid.over(Box((*self.box.low[:axes], 0.0), (*self.box.high[:axes], self.duration)), side)
        counts = grid.histogram(np.column_stack([self.x[:, :axes], self.elapsed]))
        each = self.expected / grid.cells
        statistic = float(((counts - each) ** 2).sum() / each)
        return Statistic(statistic, float(stats.chi2.sf(statistic, grid.cells)))

    @cached_property
    def times(self) -> Statistic:
        """Kolmogorov–Smirnov test that the points are spread evenly over time."""
        return uniformity(self.elapsed / self.duration)

    def then(self, later: SuperThinned) -> SuperThinned:
        """These residuals followed by those of a later window of the same domain and rate."""
        return SuperThinned(
            self.box,
            self.duration + later.duration,
            self.rate,
            np.concatenate([self.elapsed, self.duration + later.elapsed]),
            np.concatenate([self.x, later.x]),
            np.concatenate([self.added, later.added]),
        )


def super_thinning(
    model: IntensityModel, events: Events, window: Window, rng: np.random.Generator, rate: float | None = None
) -> SuperThinned:
    """Thin the events where the model expects more than ``rate``, and add points where it expects less [3]_.

    An event is kept with probability min(1, k/λ); points of rate max(k − λ, 0) are added, as those of a uniform
    sample of rate k that are kept with probability (k − λ)/k. Where λ is concentrated on a small part of the domain,
    most of what is left is added and the test has little power: clusters inside that part are hard to see.

    Parameters
    ----------
    model : fitted to other events; its domain says which count
    events : history and the window's events
    window : held out
    rng : thins and adds
    rate : k, points per day per unit volume; by default the mean rate of the window's events

    Raises
    ------
    ValueError
        if the rate is not positive, as by default in a window without events
    """
    box = model.domain
    known = events.before(window.end).inside(box)
    inside = known.between(window)
    k = len(inside) / (box.volume * window.duration) if rate is None else rate
    if not (math.isfinite(k) and k > 0):
        raise ValueError("super-thinning needs a rate > 0: the window has no events, choose a longer one")
    n = int(rng.poisson(k * box.volume * window.duration))
    t = np.concatenate([inside.t, rng.uniform(window.start, window.end, n)])
    x = np.concatenate([inside.x, box.sample(n, rng)])
    added = np.arange(len(t)) >= len(inside)
    intensity = model.intensity(t, x, known)
    share = np.where(added, 1 - intensity / k, k / np.maximum(intensity, 1e-300))
    kept = np.flatnonzero(rng.uniform(size=len(t)) < share)
    kept = kept[np.argsort(t[kept], kind="stable")]
    return SuperThinned(box, window.duration, k, t[kept] - window.start, x[kept], added[kept])


def density_levels(forecast: AnyForecast, x: Array, rng: np.random.Generator) -> Array:
    """Share of the forecast's mass that lies where it is denser than at each event: the spatial PIT.

    Uniform on [0, 1] if the forecast's density is right. Too many small values: events keep to the forecast's peaks
    more than it claims, it is too wide; too many near 1: it is too sharp, or its peaks are in the wrong place.

    Parameters
    ----------
    forecast : of the window in which the events came
    x : (n, d) their places, inside the domain
    rng : breaks ties, as between the events of one cell

    Returns
    -------
    (n,) mass of the cells denser than the event's, plus a random share of those as dense; above 3 dimensions, where
    there are no cells, the rank of the event's density among those of draws from the forecast
    """
    if isinstance(forecast, Forecast):
        values, cell, cells = np.unique(forecast.density, return_inverse=True, return_counts=True)
        mass = values * cells / forecast.grid.cells
        here = cell.ravel()[forecast.grid.index(x)]
        denser_mass = mass.sum() - np.cumsum(mass)[here]
        return np.asarray((denser_mass + rng.uniform(size=len(x)) * mass[here]) / mass.sum())
    drawn, own = np.sort(forecast.relative_at(forecast.draws)), forecast.relative_at(x)
    denser = len(drawn) - np.searchsorted(drawn, own, side="right")
    tied = len(drawn) - np.searchsorted(drawn, own, side="left") - denser
    return np.asarray((denser + rng.uniform(size=len(x)) * (tied + 1)) / (len(drawn) + 1))
