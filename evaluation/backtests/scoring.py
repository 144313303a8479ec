"""One forecast against the events that came: every score of a window, in the whole domain or in a zoom box."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

from evaluation import scores
from stpp.domain import Array, Box, Grid
from stpp.events import Events
from stpp.intensity import AnyForecast, Forecast

PER_EVENT = (
    "fds",
    "log_score",
    "quadratic_fds",
    "spherical_fds",
    "energy_score",
    "kl_divergence",
    "overconfidence",
)
"""Scores that are means over events, so that windows without events have none."""


def score_window(forecast: AnyForecast, events: Events, zoom: Box | None) -> tuple[dict[str, float], Array]:
    """Everything about one forecast and the events that came, bar what needs the other models.

    Parameters
    ----------
    forecast : for the window
    events : n that came in it, in the domain and in the zoom box if there is one
    zoom : the box in which events are scored, None for the whole domain

    Returns
    -------
    ``expected_count`` over the scored region, the scores, ``mean_square_error`` (Monte-Carlo standard error of the mean
    square behind the FDS family; 0 on a grid), and (n,) ln g at the events

    Raises
    ------
    ValueError
        if the forecast has nothing in the zoom box
    """
    # a place on the zoom box's upper side counts to the cell below it, as on the domain's
    x = events.x if zoom is None else np.minimum(events.x, np.nextafter(zoom.high, zoom.low))
    g, mean_square, error, share = _relative(forecast, zoom, x)
    row = dict.fromkeys((*PER_EVENT, "poisson_log_likelihood"), math.nan)
    m, some = events.weight, events.weight.sum() > 0
    if some:
        row["fds"] = scores.fds(g, m)
        row["log_score"] = scores.log_score(g, m)
        row["quadratic_fds"] = scores.quadratic_fds(g, m, mean_square)
        row["spherical_fds"] = scores.spherical_fds(g, m, mean_square)
        row["overconfidence"] = scores.overconfidence(g, m, mean_square)
    if isinstance(forecast, Forecast):
        grid = forecast.grid
        expected = forecast.counts if zoom is None else forecast.counts * _cell_share(grid, zoom)
        row["poisson_log_likelihood"] = scores.poisson_log_likelihood(expected, grid.histogram(x))
        if some:
            observed = grid.histogram(x, m)
            row["energy_score"] = scores.energy_score(expected, observed, grid.spacing)
            row["kl_divergence"] = scores.kl_divergence(expected, observed)
    with np.errstate(divide="ignore"):
        log_density = np.log(g)
    return {"expected_count": forecast.total * share, **row, "mean_square_error": error}, log_density


def _relative(forecast: AnyForecast, zoom: Box | None, x: Array) -> tuple[Array, float, float, float]:
    """Relative density g at places x, mean(g²) and its standard error, the scored region's share of the total.

    In a zoom box g is divided by its mean over the box, so that 1 is again what a forecast uniform over the scored
    region gets, and scores compare WHERE in the box models expect events; how MANY they expect there is in
    ``expected_count`` and ``poisson_log_likelihood``. A cell that the box cuts counts by the part inside; without a
    grid, the share of the forecast's own draws that fall inside is the share of its mass there.
    """
    g = forecast.relative_at(x)
    if zoom is None:
        return g, *forecast.mean_square(), 1.0
    if isinstance(forecast, Forecast):
        part = _cell_share(forecast.grid, zoom)
        share, volume = float((forecast.counts * part).sum()) / forecast.total, forecast.grid.box.volume
        square, error = float(np.average(forecast.density**2, weights=part)), 0.0
    else:
        inside, volume = zoom.contains(forecast.draws), forecast.box.volume
        share, values = float(inside.mean()), np.where(inside, forecast.relative_at(forecast.draws), 0.0)
        square = float(values.mean()) * volume / zoom.volume
        # Delta method for E[g 1]/E[1]²: both come from the same draws.
        slope = values - 2 * values.mean() / max(share, 1e-300) * inside
        error = float(slope.std() / math.sqrt(len(slope))) * volume / zoom.volume
    if not share > 0:
        raise ValueError(f"'{forecast.model}' forecasts nothing in the zoom box: give it a floor > 0 or widen the zoom")
    mean = share * volume / zoom.volume
    return g / mean, square / mean**2, error / mean**2, share


def _cell_share(grid: Grid, zoom: Box) -> Array:
    """``grid.shape`` share of each cell's volume that lies in the zoom box."""
    axes = []
    for edges, low, high in zip(grid.edges, zoom.low, zoom.high, strict=True):
        overlap = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
        axes.append(np.clip(overlap / np.diff(edges), 0, 1))
    return np.asarray(reduce(np.multiply.outer, axes))
