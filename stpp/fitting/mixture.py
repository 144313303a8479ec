"""What a fit reports, and the optimisers behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stpp.compute.progress import Progress, each
from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.fitting.concave import concave_weights
from stpp.kernels.background import KernelMixture, component_density

MAX_TARGETS = 100_000
"""Events that a mixture's shares are learned from; more only cost time."""


SCREEN_EVENTS = 100_000
"""Last events that decide which of a mixture's many candidates are worth computing over all events."""

LEAST_UNIFORM = 1e-6
"""Share of the uniform in every mixture, so that no place is impossible."""

BURN_IN = 0.2
"""Share of the training events that must have happened before one is used to judge a density."""


def spread_of(events: Events) -> float:
    """Root mean square of the axes' standard deviations, map units; 1 if all events are at one place."""
    spread = float(np.sqrt(events.x.var(axis=0).mean()))
    return spread if spread > 1e-12 * np.abs(events.x).max() else 1.0  # 0 but for rounding


def bandwidth_ladder(events: Events, step: float = math.sqrt(2)) -> Array:
    """Candidate bandwidths, a geometric ladder from the events' spread down to an eighth of Scott's rule.

    Scott's rule is spread·n^{−1/(d + 4)} (Scott 1992, Multivariate Density Estimation, eq. 6.42).
    """
    spread = spread_of(events)
    finest = spread * len(events) ** (-1 / (events.d + 4)) / 8
    count = math.ceil(math.log(spread / finest) / math.log(step))
    return spread * step ** -np.arange(count + 1.0)


def half_life_ladder(shortest: float, longest: float, step: float, most: int) -> Array:
    """Half-lives in days from the shortest to the longest, by factors of about ``step``, at most ``most`` of them."""
    ratio = max(longest / shortest, 1.0)
    return np.geomspace(shortest, shortest * ratio, min(most, 1 + round(math.log(ratio) / math.log(step))))


def memory_ladder(events: Events, horizon: float) -> list[float]:
    """Decays β that a density may forget at: never, and half-lives from a quarter of the horizon to the whole span."""
    span = max(float(events.t[-1] - events.t[0]), horizon)
    return [0.0, *(math.log(2) / half_life_ladder(horizon / 4, span, 3.0, 12))]


def window_numbers(t: Array, start: float, horizon: float) -> NDArray[np.int64]:
    """(n,) number k of the window [start + k·horizon, start + (k + 1)·horizon) that each time falls in.

    As the floats are: rounding puts no time outside its window, so none before its own issue time.
    """
    k = np.floor((t - start) / horizon).astype(np.int64)
    k -= start + k * horizon > t
    k += start + (k + 1) * horizon <= t
    return k


def issue_times(t: Array, start: float, horizon: float) -> Array:
    """(n,) start of the forecast window of length ``horizon`` that each time falls in, counted from ``start``."""
    return np.asarray(start + window_numbers(t, start, horizon) * horizon)


def training_targets(events: Events, window: Window) -> NDArray[np.int64]:
    """Rows of the events that a density is judged on: in the window, after the burn-in, at most ``MAX_TARGETS``.

    Raises
    ------
    ValueError
        if there are none
    """
    first = max(int(np.searchsorted(events.t, window.start)), int(BURN_IN * len(events)))
    rows = np.arange(first, len(events))
    if len(rows) < 2:
        raise ValueError(
            f"only {len(rows)} events to learn from between day {window.start:g} and {window.end:g}: "
            "start training earlier or take a longer window"
        )
    return rows[:: max(1, -(-len(rows) // MAX_TARGETS))]


def _screened(
    events: Events,
    window: Window,
    box: Box,
    pairs: list[tuple[float, float]],
    horizon: float,
    progress: Progress | None,
) -> list[tuple[float, float]]:
    """The candidates that the last events choose, and those they can't judge: memories longer than they span."""
    last = events.rows(len(events) - SCREEN_EVENTS, len(events))
    span = float(last.t[-1] - last.t[0])
    part = Window(max(window.start, float(last.t[0])), window.end)
    decays, bandwidths = sorted({b for b, _ in pairs}), sorted({h for _, h in pairs})
    chosen, _ = fit_mixture(last, part, box, decays, np.array(bandwidths), horizon, progress=progress)
    picked = set(zip(chosen.decays, chosen.bandwidths, strict=True))

    def beyond(decay: float, bandwidth: float) -> bool:
        return decay == 0 or (math.log(2) / decay > span and bandwidth in chosen.bandwidths)

    return [pair for pair in pairs if pair in picked or beyond(*pair)]


def fit_mixture(
    events: Events,
    window: Window,
    box: Box,
    decays: Sequence[float],
    bandwidths: Array,
    horizon: float,
    *,
    progress: Progress | None = None,
) -> tuple[KernelMixture, float]:
    """Shares of decayed kernel densities that maximise the predictive log score of the training events.

    Each event in the window is predicted from the history at the start of its own forecast window, ``horizon`` days
    long, as a forecast will be: cross-validation that respects time.

    Parameters
    ----------
    events : training events and those before, all before ``window.end``
    decays, bandwidths : every pair is one candidate
    progress : told of every density

    Returns
    -------
    the mixture without its empty components, and its mean predictive log density per event
    """
    pairs = [(float(b), float(h)) for b in decays for h in bandwidths]
    if len(events) > SCREEN_EVENTS:
        pairs = _screened(events, window, box, pairs, horizon, progress)
    rows = training_targets(events, window)
    t = issue_times(events.t[rows], window.start, horizon)
    x, weight = events.x[rows], events.weight[rows]
    if weight.sum() == 0:
        weight = np.ones(len(rows))
    columns = np.empty((len(rows), len(pairs) + 1))
    masses = {h: box.kernel_mass(events.x, h) for _, h in pairs}
    for k, (decay, bandwidth) in enumerate(each(pairs, "densities", progress)):
        columns[:, k] = component_density(events, t, x, decay, bandwidth, box, mass=masses[bandwidth])
    columns[:, -1] = 1 / box.volume
    fit = concave_weights(columns, np.full(len(pairs) + 1, weight.sum()), weight, progress=progress)
    shares = (1 - LEAST_UNIFORM) * fit.weights / fit.weights.sum()
    shares[-1] += LEAST_UNIFORM
    kept = np.flatnonzero(shares[:-1] > 1e-4)
    chosen = np.array([pairs[k] for k in kept]).reshape(-1, 2)
    score = float(weight @ np.log(columns @ shares) / weight.sum())
    return KernelMixture(box, chosen[:, 0], chosen[:, 1], shares[kept]), score
