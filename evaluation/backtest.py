"""Rolling-origin backtest: fit on the past, forecast the next window, score what came; one tidy table out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

from evaluation import scores
from evaluation.comparison import GainInterval, information_gain_intervals
from stpp.domain import MAX_GRID_DIMENSIONS, Array, Box, Grid
from stpp.events import Events, Window
from stpp.intensity import AnyForecast, Forecast, IntensityModel
from stpp.runs import peak_memory_mb

Progress = Callable[[str, int, int], None]
"""Called with (model, windows done, windows in all) after every window."""

PER_EVENT = ("fds", "log_score", "quadratic_fds", "spherical_fds", "overconfidence")
"""Score columns of the table that are per event, so that windows without events have none."""


@dataclass(frozen=True)
class Plan:
    """When to train, what to forecast and where to score.

    Parameters
    ----------
    train_start : days; likelihoods start here, earlier events serve as history only
    test : the time to forecast; windows that would end after it are left out
    step : days from one issue time to the next
    horizon : days that each forecast covers; None: the step
    history : days before its issue time that a fit and a forecast may see (sliding); None: everything (expanding)
    grid : cells per axis over the domain; above 3 dimensions there is none, and densities are evaluated at the events
    zoom : the box in which events are scored, None for the whole domain; training sees everything either way
    refit : fit anew every so many windows; None: once, before the first
    reference : the model that information gain is measured against

    Raises
    ------
    ValueError
        if a length is not positive, training does not start before the test, or no window fits the test time
    """

    train_start: float
    test: Window
    step: float
    horizon: float | None = None
    history: float | None = None
    grid: int = 100
    zoom: Box | None = None
    refit: int | None = None
    reference: str = "historical-average"

    def __post_init__(self) -> None:
        for name in ("step", "horizon", "history"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be longer than 0 days, got {value:g}: write it like 6h, 1d or 7d")
        if self.grid < 1:
            raise ValueError(f"a grid needs at least 1 cell per axis, got {self.grid}: --grid 100 is usual")
        if self.refit is not None and self.refit < 1:
            raise ValueError(f"refit counts windows and must be ≥ 1, got {self.refit}: leave it out to fit once")
        if not self.train_start < self.test.start:
            raise ValueError(
                f"training starts at day {self.train_start:g}, the test at day {self.test.start:g}: "
                "training must start before the test, move one of them"
            )
        if not self.windows:
            raise ValueError(
                f"the test time of {self.test.duration:g} days holds no window of {self.horizon or self.step:g} days: "
                "end the test later or shorten the horizon"
            )

    @property
    def windows(self) -> tuple[Window, ...]:
        """The forecast windows, in time order."""
        return tuple(self.test.rolling(self.step, self.horizon))

    @property
    def training(self) -> Window:
        """The time that the first fit trains on; the domain, where none is declared, comes from its events."""
        return self.past(self.test.start)

    @property
    def overlap(self) -> int:
        """How many successive windows share a point of time: ⌈horizon / step⌉."""
        return math.ceil((self.horizon or self.step) / self.step - 1e-9)

    def past(self, issue: float) -> Window:
        """The training time of a fit made at ``issue``."""
        start = self.train_start if self.history is None else max(self.train_start, issue - self.history)
        return Window(start, issue)

    def known(self, events: Events, issue: float) -> Events:
        """The events that a fit or a forecast made at ``issue`` may see: all before it, or the sliding last ones."""
        return events.before(issue) if self.history is None else events.between(Window(issue - self.history, issue))

    def domain(self, events: Events) -> Box:
        """The box around the TRAINING events, for when none is declared; test events never widen it.

        Raises
        ------
        ValueError
            if there are no training events
        """
        return Box.around(_training_events(events, self.training).x)


@dataclass(frozen=True)
class BacktestResult:
    """What a backtest found.

    Parameters
    ----------
    plan, domain : as run
    table : one row per model × window: ``model``, ``window`` (number), ``start``, ``end`` (UTC), ``events`` scored,
        ``outside`` (events that fell outside the domain: they have no relative density, so every score leaves them
        out), ``weight`` (Σ over scored events), ``expected_count`` (over the scored region), the scores,
        ``information_gain``, ``mean_square_error`` (Monte-Carlo standard error of mean(g²) in the FDS family; 0 on a
        grid), ``converged`` (whether the fit behind it met its tolerance), ``seconds`` (forecast, and the fit where
        one was made). Scores are missing in windows without weight,
        and ``poisson_log_likelihood`` above 3 dimensions, where there are no cells
    gains : model → information gain with its intervals
    peak_memory_mb : model → peak resident memory of the process by the end of its turn; the peak never falls, so for
        all but the first model it is an upper bound
    last : model → forecast of the last window with events
    last_events : the scored events of that window; they carry the epoch and the names of the axes
    """

    plan: Plan
    domain: Box
    table: pd.DataFrame
    gains: dict[str, GainInterval]
    peak_memory_mb: dict[str, float]
    last: dict[str, AnyForecast]
    last_events: Events

    @property
    def counts(self) -> dict[str, int]:
        """Windows ``planned``, ``scored`` and ``empty``; events ``events`` scored and ``outside`` the domain."""
        one = self.table[self.table["model"] == self.plan.reference]
        scored = int((one["weight"] > 0).sum())
        totals = {"events": int(one["events"].sum()), "outside": int(one["outside"].sum())}
        return {"planned": len(one), "scored": scored, "empty": len(one) - scored, **totals}

    def summary(self) -> pd.DataFrame:
        """One row per model, best information gain first.

        Every score per event as its mean over scored windows (the headline) and, as ``NAME_pooled``, weighted by the
        windows' event weights; ``information_gain`` with ``pooled``, ``low``, ``high`` (block bootstrap),
        ``hac_low``, ``hac_high``; ``poisson_log_likelihood`` as its mean over all windows, since a window without
        events is news to a forecast of counts; ``expected_count`` and ``events`` over all windows; ``seconds`` in all;
        ``peak_memory_mb``.
        """
        rows = {}
        for name, gain in self.gains.items():
            mine = self.table[self.table["model"] == name]
            scored = mine[mine["weight"] > 0]
            row: dict[str, Any] = {}
            for score in PER_EVENT:
                row[score] = scored[score].mean()
                row[f"{score}_pooled"] = np.average(scored[score], weights=scored["weight"])
            row["poisson_log_likelihood"] = mine["poisson_log_likelihood"].mean()
            row |= {"information_gain": gain.mean, "low": gain.low, "high": gain.high, "pooled": gain.pooled}
            row |= {"hac_low": gain.hac_low, "hac_high": gain.hac_high}
            row |= {"expected_count": mine["expected_count"].sum(), "events": int(mine["events"].sum())}
            row |= {"seconds": mine["seconds"].sum(), "peak_memory_mb": self.peak_memory_mb[name]}
            rows[name] = row
        frame = pd.DataFrame.from_dict(rows, orient="index")
        frame.index.name = "model"
        return frame.sort_values("information_gain", ascending=False, kind="stable")

    def to_json_dict(self) -> dict[str, Any]:
        """The object that ``stpp evaluate --json`` prints; a number that is not finite is None (JSON has none)."""
        models: dict[str, Any] = {}
        for name, row in self.summary().iterrows():
            entry: dict[str, Any] = {
                s: _finite(row[s]) for s in ("fds", "log_score", "quadratic_fds", "overconfidence")
            }
            bounds = {"mean": row["information_gain"], "low": row["low"], "high": row["high"], "pooled": row["pooled"]}
            entry["information_gain"] = {k: _finite(v) for k, v in bounds.items()}
            models[str(name)] = entry | {k: _finite(row[k]) for k in ("seconds", "peak_memory_mb")}
        counts = self.counts
        totals = {"windows": counts["scored"], "events": counts["events"]}
        return {"reference": self.plan.reference, **totals, "models": models}


def backtest(
    events: Events,
    models: Mapping[str, IntensityModel],
    plan: Plan,
    *,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> BacktestResult:
    """Fit every model on the past, forecast every window, score all of them on the same events.

    The models' common domain is where events count: those outside it feed no model and get no score, and the table
    says how many there were. A forecast of a window sees nothing at or after the window's start.

    Parameters
    ----------
    events : all of them, history and test
    models : name → model to fit; all on one domain, which the caller declared or took from :meth:`Plan.domain`
    plan : what to do
    rng : source of the bootstrap
    progress : told about every finished window

    Raises
    ------
    ValueError
        if the reference is unknown, the domains differ or do not fit the events or the zoom box, there are no
        training events, no test window has events, or the reference rules out an event that happened
    """
    domain = _check(events, models, plan)
    inside = events.inside(domain)
    grid = Grid.over(domain, plan.grid) if domain.d <= MAX_GRID_DIMENSIONS else None
    windows, rows = plan.windows, []
    seen = [inside.between(w) for w in windows]
    scored = [e if plan.zoom is None else e.inside(plan.zoom) for e in seen]
    outside = [len(events.between(w)) - len(e) for w, e in zip(windows, seen, strict=True)]
    weight = np.array([e.weight.sum() for e in scored])
    if not (weight > 0).any():
        raise ValueError(
            f"none of the {len(windows)} test windows has events to score: move the test dates or widen the box or zoom"
        )
    shown = int(np.flatnonzero(weight > 0)[-1])
    last: dict[str, AnyForecast] = {}
    peak_memory = {}
    for name, model in models.items():
        clock = time.perf_counter()
        issued = _forecasts(model, inside, plan, grid)
        for k, (window, (converged, forecast)) in enumerate(zip(windows, issued, strict=True)):
            seconds = time.perf_counter() - clock
            row = {"model": name, "window": k, "start": events.date(window.start), "end": events.date(window.end)}
            row |= {"events": len(scored[k]), "outside": outside[k], "weight": weight[k]}
            row |= _scores(forecast, scored[k], plan.zoom)
            rows.append(row | {"converged": converged, "seconds": seconds})
            if k == shown:
                last[name] = forecast
            if progress is not None:
                progress(name, k + 1, len(windows))
            clock = time.perf_counter()
        peak_memory[name] = peak_memory_mb()
    table = pd.DataFrame(rows)
    gains = _information_gains(table, plan.reference)
    table.insert(list(table.columns).index("log_score") + 1, "information_gain", np.concatenate(list(gains.values())))
    intervals = information_gain_intervals(gains, weight, overlap=plan.overlap, rng=rng)
    return BacktestResult(plan, domain, table, intervals, peak_memory, last, scored[shown])


def _check(events: Events, models: Mapping[str, IntensityModel], plan: Plan) -> Box:
    """The models' common domain, once everything fits together."""
    if plan.reference not in models:
        raise ValueError(
            f"the reference '{plan.reference}' is not among the models ({', '.join(models) or 'none'}): "
            "add it to them or name another reference"
        )
    domain = models[plan.reference].domain
    for name, model in models.items():
        if model.domain != domain:
            raise ValueError(f"'{name}' has another domain than '{plan.reference}': give all models the same box")
    if domain.d != events.d:
        raise ValueError(f"the domain has {domain.d} dimensions, the events {events.d}: declare a box of {events.d}")
    zoom = plan.zoom
    if zoom is not None and not (zoom.d == domain.d and domain.contains([zoom.low, zoom.high]).all()):
        raise ValueError(
            f"the zoom box {zoom.to_list()} does not lie in the domain {domain.to_list()}: shrink it to that"
        )
    _training_events(events.inside(domain), plan.training)
    return domain


def _training_events(events: Events, window: Window) -> Events:
    """The events in a training window.

    Raises
    ------
    ValueError
        if there are none
    """
    inside = events.between(window)
    if not len(inside):
        raise ValueError(
            f"no training events from {events.date(window.start):%Y-%m-%d %H:%M} to "
            f"{events.date(window.end):%Y-%m-%d %H:%M}: move the training start or the test start, or widen the box"
        )
    return inside


def _forecasts(
    model: IntensityModel, events: Events, plan: Plan, grid: Grid | None
) -> Iterator[tuple[bool, AnyForecast]]:
    """One forecast per window in order, each from what is known at the window's start; and if its fit converged."""
    windows = plan.windows
    every = plan.refit or len(windows)
    for first in range(0, len(windows), every):
        batch = windows[first : first + every]
        issue, past = batch[0].start, plan.past(batch[0].start)
        _training_events(events, past)
        fitted = model.fit(plan.known(events, issue), past)
        converged = fitted.result is None or fitted.result.converged
        if plan.history is None:
            issued = fitted.rolling_forecasts(events.before(batch[-1].start), batch, grid)
        else:
            issued = (fitted.forecast(w, plan.known(events, w.start), grid) for w in batch)
        yield from ((converged, forecast) for forecast in issued)


def _scores(forecast: AnyForecast, events: Events, zoom: Box | None) -> dict[str, float]:
    """Everything about one forecast and the events that came, bar what needs the other models."""
    g, mean_square, error, share = _relative(forecast, zoom, events.x)
    row = dict.fromkeys((*PER_EVENT, "poisson_log_likelihood"), math.nan)
    m = events.weight
    if m.sum() > 0:
        row["fds"] = scores.fds(g, m)
        row["log_score"] = scores.log_score(g, m)
        row["quadratic_fds"] = scores.quadratic_fds(g, m, mean_square)
        row["spherical_fds"] = scores.spherical_fds(g, m, mean_square)
        row["overconfidence"] = scores.overconfidence(g, m, mean_square)
    if isinstance(forecast, Forecast):
        expected = forecast.counts if zoom is None else forecast.counts * _cell_share(forecast.grid, zoom)
        row["poisson_log_likelihood"] = scores.poisson_log_likelihood(expected, forecast.grid.histogram(events.x))
    return {"expected_count": forecast.total * share, **row, "mean_square_error": error}


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


def _information_gains(table: pd.DataFrame, reference: str) -> dict[str, Array]:
    """Model → (W,) log score less the reference's in the same window; NaN where the window has no score."""
    by_model = {str(name): part["log_score"].to_numpy() for name, part in table.groupby("model", sort=False)}
    base = by_model[reference]
    impossible = np.isneginf(base)
    if impossible.any():
        start = table.loc[table["model"] == reference, "start"].iloc[int(np.argmax(impossible))]
        raise ValueError(
            f"the reference '{reference}' gave density 0 to an event in the window from {start:%Y-%m-%d %H:%M}, "
            "so no gain over it is defined: give it a floor > 0"
        )
    return {name: np.asarray(log_score - base) for name, log_score in by_model.items()}


def _finite(value: float) -> float | None:
    """The number, or None where it is infinite or missing."""
    return float(value) if math.isfinite(value) else None
