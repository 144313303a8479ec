"""Thinning: a draw from any intensity model, slow and exact, where it has no faster sampler of its own."""

from __future__ import annotations

import math

import numpy as np

from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.intensity import IntensityModel

MAX_PROPOSALS = 20_000_000
"""More proposals than this are refused."""

SURVEY = 2_048
"""Random points at which thinning looks at the intensity to choose its first bound."""

BATCH = 64
"""Proposals that thinning evaluates at once; those after an acceptance are evaluated again."""


def thinning(
    model: IntensityModel, window: Window, history: Events, rng: np.random.Generator, *, bound: float | None = None
) -> Events:
    """A draw of the events of any intensity model in a window, by thinning [1]_.

    Points of a unit-rate Poisson process in (t, x, y) are scanned in time order and kept where y < λ(t, x | H_t);
    each one kept joins the history. Points above ``bound`` are not drawn. Where λ is seen to exceed the bound, the
    points up to twice the bound are *added* and the scan starts again, so that the draw is exact wherever the final
    bound holds (drawing afresh would favour the catalogues that stay low).

    λ is compared with the bound at every point and just after every new event. The cost is about (1 + events) calls
    of ``intensity`` with up to 64 points: meant for small draws (up to thousands of events) and as a check on faster
    samplers. New events have weight 1 and no marks.

    Parameters
    ----------
    model : its ``intensity`` is called with the history and the events drawn so far
    window : events are drawn in [start, end)
    history : events before the window
    rng : the only source of randomness
    bound : first upper bound on λ, events per day per unit volume; by default twice the largest value at random
        points of the window and at the last places of the history

    Returns
    -------
    Events, with the history's epoch and axes

    Raises
    ------
    ValueError
        if λ is negative or not finite, or the bound asks for more than 2·10⁷ proposals

    References
    ----------
    .. [1] Ogata (1981), On Lewis' simulation method for point processes.
    """
    past = history.before(window.start)
    high = _first_bound(model, window, past, rng) if bound is None else float(bound)
    if not (math.isfinite(high) and high > 0):
        raise ValueError(f"the bound of the intensity must be finite and > 0; got {high:g}")
    points = _poisson_points(model.domain, window, 0.0, high, rng)
    while (kept := _scan(model, points, high, past)) is None:
        points = tuple(
            np.concatenate(pair)
            for pair in zip(points, _poisson_points(model.domain, window, high, 2 * high, rng), strict=True)
        )
        high *= 2
    return kept


def _first_bound(model: IntensityModel, window: Window, past: Events, rng: np.random.Generator) -> float:
    box = model.domain
    recent = past.inside(box).x[-SURVEY:]
    t = np.concatenate([rng.uniform(window.start, window.end, size=SURVEY), np.full(len(recent), window.start)])
    x = np.concatenate([rng.uniform(box.low, box.high, size=(SURVEY, box.d)), recent])
    order = np.argsort(t, kind="stable")
    highest = float(_intensity(model, t[order], x[order], past).max())
    return 2 * highest if highest > 0 else 1 / (box.volume * window.duration)


def _intensity(model: IntensityModel, t: Array, x: Array, history: Events) -> Array:
    value = model.intensity(t, x, history)
    if not (np.isfinite(value).all() and (value >= 0).all()):
        raise ValueError(f"the intensity of {model.name} is negative or not finite: it cannot be simulated")
    return value


def _poisson_points(box: Box, window: Window, low: float, high: float, rng: np.random.Generator) -> tuple[Array, ...]:
    """Unit-rate Poisson points (t, x, y) with y in [low, high)."""
    mean = (high - low) * box.volume * window.duration
    if mean > MAX_PROPOSALS:
        raise ValueError(
            f"thinning would need {mean:.2g} proposals (bound {high:.3g} per day per unit volume): shorten the window"
        )
    n = int(rng.poisson(mean))
    t = rng.uniform(window.start, window.end, size=n)
    return t, rng.uniform(box.low, box.high, size=(n, box.d)), rng.uniform(low, high, size=n)


def _scan(model: IntensityModel, points: tuple[Array, ...], bound: float, past: Events) -> Events | None:
    """The points under the intensity; None where the intensity exceeds the bound."""
    order = np.argsort(points[0], kind="stable")
    t, x, y = (column[order] for column in points)
    kept: list[int] = []
    first, known, events = 0, past, Events(t[:0], x[:0], epoch=past.epoch, axes=past.axes)
    fresh = slice(0, 0)  # the event kept last: λ is looked at just after it too, where excitation peaks
    while first < len(t) or fresh.stop > fresh.start:
        rows = slice(first, first + BATCH)
        times = np.concatenate([np.nextafter(t[fresh], np.inf), t[rows]])
        value = _intensity(model, times, np.concatenate([x[fresh], x[rows]]), known)
        peak, value = np.split(value, [len(value) - len(t[rows])])
        under = np.flatnonzero(y[rows] < value)
        stop = int(under[0]) + 1 if len(under) else len(value)
        if (peak > bound).any() or (value[:stop] > bound).any():
            return None
        first += stop
        fresh = slice(first - 1, first) if len(under) else slice(0, 0)
        if len(under):
            kept.append(first - 1)
            events = Events(t[kept], x[kept], epoch=past.epoch, axes=past.axes)
            known = past.then(events)
    return events
